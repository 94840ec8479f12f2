package engineio

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// pollWhileUpgrading is how long a poll waits while an upgrade is under way.
const pollWhileUpgrading = 50 * time.Millisecond

// servePoll answers a GET with what is queued for the client. If nothing is, it waits.
func (c *Conn) servePoll(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	if c.state.Load() == stateClosed || c.state.Load() == stateClosing && c.outbound == nil {
		c.mu.Unlock()
		if c.isDismissed.Load() {
			c.srv.serveDismissed(w, r)
			return
		}
		errUnknownSid.writeResponse(w)
		return
	}
	if c.isPongOverdue(time.Now()) && !c.isBlocked.Load() {
		c.mu.Unlock()
		c.beginClose(ReasonPingTimeout, false, normalClosure)
		errUnknownSid.writeResponse(w)
		return
	}
	if c.wire != nil {
		c.mu.Unlock()
		errBadRequest.writeResponse(w)
		return
	}
	if c.waitingPoll != nil { // two polls at once: the protocol ends both
		c.mu.Unlock()
		c.beginClose(ReasonTransportError, true, normalClosure)
		errBadRequest.writeResponse(w)
		return
	}
	wait := make(chan []byte, 1)
	c.waitingPoll = wait
	if c.isUpgrading { // the client must end its polls before it can switch to the websocket
		defer time.AfterFunc(pollWhileUpgrading, c.releasePoll).Stop()
	}
	c.answerPoll()
	c.mu.Unlock()
	select {
	case body, ok := <-wait:
		if !ok { // the connection ended, or has moved to its websocket
			errBadRequest.writeResponse(w)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Cache-Control", "no-store")
		if err := c.writePoll(w, body); err != nil {
			c.beginClose(ReasonTransportError, false, normalClosure)
		}
	case <-r.Context().Done():
		c.beginClose(ReasonTransportError, false, normalClosure)
	}
}

// writePoll writes a poll's answer. A client that does not take it within the time after which its
// pong would be overdue has failed.
func (c *Conn) writePoll(w http.ResponseWriter, body []byte) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(c.srv.cfg.PingInterval + c.srv.cfg.PingTimeout))
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_ = control.SetWriteDeadline(time.Time{})
	return nil
}

// answerAndEnd answers a POST that ends the connection. While a poll is open, the answer leaves
// before the poll ends, so that the client learns first what was wrong. Without one, the connection
// ends first, so that the client's next request finds it ended.
func (c *Conn) answerAndEnd(w http.ResponseWriter, answer, end func()) {
	c.mu.Lock()
	hasPoll := c.waitingPoll != nil
	c.mu.Unlock()
	if !hasPoll {
		end()
		answer()
		return
	}
	answer()
	_ = http.NewResponseController(w).Flush() // an error means that the client has left
	end()
}

// writeStatus writes an answer without a body.
func writeStatus(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

var bodyBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// bodyTimeout returns how long the body of a POST may take.
func (c *Conn) bodyTimeout() time.Duration {
	if c.isConfirmed.Load() {
		return c.srv.cfg.BodyTimeout
	}
	return min(c.srv.cfg.BodyTimeout, c.srv.cfg.ConnectTimeout/2)
}

// servePost handles the packets of a POST.
func (c *Conn) servePost(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(c.bodyTimeout()))
	if c.TransportName() != "polling" {
		c.srv.refuseBody(w, r)
		errBadRequest.writeResponse(w)
		return
	}
	if !c.Open() { // sent before the client learned of the end: it is discarded
		c.srv.refuseBody(w, r)
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "ok")
		return
	}
	if !c.hasPost.CompareAndSwap(false, true) {
		c.srv.refuseBody(w, r)
		c.beginClose(ReasonTransportError, true, normalClosure)
		errBadRequest.writeResponse(w)
		return
	}
	defer c.hasPost.Store(false)
	body := bodyBuffers.Get().(*bytes.Buffer)
	defer func() {
		if body.Cap() <= 64<<10 {
			body.Reset()
			bodyBuffers.Put(body)
		}
	}()
	limit := int64(c.messageLimit())
	err := ErrTooLarge
	if r.ContentLength <= limit {
		_, err = io.Copy(body, io.LimitReader(r.Body, limit+1))
		if err == nil && int64(body.Len()) > limit {
			err = ErrTooLarge
		}
	}
	err = c.markEarly(err)
	if err != nil {
		w.Header().Set("Connection", "close")
		_ = control.SetReadDeadline(time.Now().Add(time.Second))
		if errors.Is(err, ErrTooLarge) {
			c.answerAndEnd(w, func() { writeStatus(w, http.StatusRequestEntityTooLarge) }, func() { c.closeForViolation(err) })
			return
		}
		c.answerAndEnd(w, func() { writeStatus(w, http.StatusRequestTimeout) }, func() { c.beginClose(ReasonTransportError, true, normalClosure) })
		return
	}
	_ = control.SetReadDeadline(time.Time{})
	c.inbound.Lock()
	defer c.inbound.Unlock()
	if c.TransportName() != "polling" { // the client switched to its websocket while the body arrived
		errBadRequest.writeResponse(w)
		return
	}
	if err := splitPayload(body.Bytes(), c.srv.cfg.MaxPackets, c.handlePacket); err != nil {
		c.answerAndEnd(w, func() { errBadRequest.writeResponse(w) }, func() { c.closeForViolation(err) })
		return
	}
	c.Flush()
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "ok")
}
