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

// probingPoll is how long a poll waits while an upgrade is under way.
const probingPoll = 50 * time.Millisecond

// servePoll answers a GET with what waits for the client, or waits for it.
func (c *Conn) servePoll(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	if c.state.Load() == stateClosed || c.state.Load() == stateClosing && c.out == nil {
		c.mu.Unlock()
		errUnknownSid.write(w)
		return
	}
	if c.late(time.Now()) && !c.blocked.Load() {
		c.mu.Unlock()
		c.shut(ReasonPingTimeout, false, closeNormal)
		errUnknownSid.write(w)
		return
	}
	if c.wire != nil {
		c.mu.Unlock()
		errBadRequest.write(w)
		return
	}
	if c.poll != nil { // two polls at once: the protocol says that both are over
		c.mu.Unlock()
		c.shut(ReasonTransportError, true, closeNormal)
		errBadRequest.write(w)
		return
	}
	wait := make(chan []byte, 1)
	c.poll = wait
	if c.probing { // the client is on its way to the websocket: do not keep it long
		defer time.AfterFunc(probingPoll, c.releasePoll).Stop()
	}
	c.answerPoll()
	c.mu.Unlock()
	select {
	case body, ok := <-wait:
		if !ok { // the connection ended, or has moved to its websocket
			errBadRequest.write(w)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Cache-Control", "no-store")
		if err := c.writePoll(w, body); err != nil {
			c.shut(ReasonTransportError, false, closeNormal)
		}
	case <-r.Context().Done():
		c.shut(ReasonTransportError, false, closeNormal)
	}
}

// writePoll writes a poll's answer. A client that does not take it in the time in which it
// must be heard again is gone.
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

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// servePost takes a POST's packets.
func (c *Conn) servePost(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(c.srv.cfg.BodyTimeout))
	if c.TransportName() != "polling" {
		c.srv.refuseBody(w, r)
		errBadRequest.write(w)
		return
	}
	if !c.Open() { // what it sent before it heard of the end: nobody will look at it
		c.srv.refuseBody(w, r)
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "ok")
		return
	}
	if !c.posting.CompareAndSwap(false, true) {
		c.srv.refuseBody(w, r)
		c.shut(ReasonTransportError, true, closeNormal)
		errBadRequest.write(w)
		return
	}
	defer c.posting.Store(false)
	body := bodies.Get().(*bytes.Buffer)
	defer func() {
		if body.Cap() <= 64<<10 {
			body.Reset()
			bodies.Put(body)
		}
	}()
	limit := int64(c.srv.cfg.MaxPayload)
	err := ErrTooLarge
	if r.ContentLength <= limit {
		_, err = io.Copy(body, io.LimitReader(r.Body, limit+1))
		if err == nil && int64(body.Len()) > limit {
			err = ErrTooLarge
		}
	}
	if err != nil {
		w.Header().Set("Connection", "close")
		_ = control.SetReadDeadline(time.Now().Add(time.Second))
		if errors.Is(err, ErrTooLarge) {
			c.fail(err)
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		c.shut(ReasonTransportError, true, closeNormal)
		w.WriteHeader(http.StatusRequestTimeout)
		return
	}
	_ = control.SetReadDeadline(time.Time{})
	c.inbound.Lock()
	defer c.inbound.Unlock()
	if c.TransportName() != "polling" { // it moved on while the body arrived
		errBadRequest.write(w)
		return
	}
	if err := splitPayload(body.Bytes(), c.srv.cfg.MaxPackets, c.receive); err != nil {
		c.fail(err)
		errBadRequest.write(w)
		return
	}
	c.Flush()
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "ok")
}
