package engineio

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

var (
	probePacket = []byte("2probe")
	probeReply  = []byte{flagFin | opText, 6, '3', 'p', 'r', 'o', 'b', 'e'}

	errUpgraded = errors.New("engineio: upgraded")
)

// serveUpgrade moves a polling connection to a websocket. The new websocket first proves that
// it carries frames (2probe, 3probe); the client then lets its last poll end and sends 5.
// Until then polling goes on, and a websocket that fails changes nothing.
func (c *Conn) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	taken := c.wire != nil || c.isUpgrading || !c.Open()
	c.isUpgrading = c.isUpgrading || !taken
	c.mu.Unlock()
	wire, head, err := c.srv.hijackWebsocket(w, r)
	if err == nil {
		if err = wire.writeFrames(head); err != nil {
			wire.close()
		}
	}
	switch {
	case err == nil && taken:
		wire.close()
		return
	case err != nil && !taken:
		c.abandonUpgrade()
		return
	case err != nil:
		return
	}
	go c.runUpgrade(wire)
}

// abandonUpgrade ends an upgrade that failed.
func (c *Conn) abandonUpgrade() {
	c.mu.Lock()
	c.isUpgrading, c.probeWire = false, nil
	c.mu.Unlock()
}

// runUpgrade reads the new websocket until the client has switched to it, or the upgrade failed.
func (c *Conn) runUpgrade(w *wire) {
	c.mu.Lock()
	if c.probeWire = w; c.state.Load() == stateClosed {
		w.close()
	}
	c.mu.Unlock()
	timeout := time.AfterFunc(c.srv.cfg.UpgradeTimeout, w.close)
	proven := false
	switched := false
	r := newReader(w)
	r.wantsFreshStack, r.isProbing = false, true
	err := c.readFrames(r, func(isBinary bool, data []byte) error {
		switch {
		case switched:
			return c.handleMessage(isBinary, data)
		case !proven && !isBinary && bytes.Equal(data, probePacket):
			proven = true
			c.markHeard()
			c.sendControlFrame(w, probeReply)
			c.releasePoll()
			return nil
		case proven && !isBinary && len(data) == 1 && data[0] == packetUpgrade:
			if !timeout.Stop() || !c.switchTo(w) {
				return errUpgraded
			}
			switched, r.wantsFreshStack, r.isProbing = true, true, false
			return nil
		}
		return ErrMalformed
	})
	timeout.Stop()
	switch {
	case switched && errors.Is(err, errFreshStack):
		go c.readWebsocket(r)
		return
	case switched:
		c.closeAfterReading(w, err)
		return
	}
	c.abandonUpgrade()
	w.close()
}

// releasePoll ends a waiting poll, so that the client can pause polling.
func (c *Conn) releasePoll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waitingPoll != nil {
		c.waitingPoll <- []byte{packetNoop}
		c.waitingPoll = nil
	}
}

// switchTo makes the websocket the connection's transport. It reports false when the connection
// ended.
func (c *Conn) switchTo(w *wire) bool {
	c.inbound.Lock() // a POST that is being handled ends first
	defer c.inbound.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isUpgrading, c.probeWire = false, nil
	if !c.Open() {
		return false
	}
	if c.waitingPoll != nil { // a client that sends 5 has paused polling
		close(c.waitingPoll)
		c.waitingPoll = nil
	}
	c.wire = w
	c.flushLocked()
	return true
}
