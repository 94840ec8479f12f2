package engineio

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

var (
	probe      = []byte("2probe")
	probeReply = []byte{flagFin | opText, 6, '3', 'p', 'r', 'o', 'b', 'e'}

	errUpgraded = errors.New("engineio: upgraded")
)

// upgrade moves a polling connection to a websocket. The new websocket first proves that
// it carries frames (2probe, 3probe); the client then lets its last poll end and says 5.
// Until then polling goes on, and a websocket that fails changes nothing.
func (c *Conn) upgrade(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	taken := c.wire != nil || c.probing || !c.Open()
	c.probing = c.probing || !taken
	c.mu.Unlock()
	wire, head, err := c.srv.hijack(w, r)
	if err == nil {
		if err = wire.write(head); err != nil {
			wire.close()
		}
	}
	switch {
	case err == nil && taken:
		wire.close()
		return
	case err != nil && !taken:
		c.probed()
		return
	case err != nil:
		return
	}
	go c.runUpgrade(wire)
}

// probed ends an upgrade that did not come about.
func (c *Conn) probed() {
	c.mu.Lock()
	c.probing, c.prober = false, nil
	c.mu.Unlock()
}

func (c *Conn) runUpgrade(w *wire) {
	c.mu.Lock()
	if c.prober = w; c.state.Load() == stateClosed {
		w.close()
	}
	c.mu.Unlock()
	timeout := time.AfterFunc(c.srv.cfg.UpgradeTimeout, w.close)
	proven := false
	switched := false
	r := newReader(w)
	r.again = false
	err := c.readFrames(r, func(isBinary bool, data []byte) error {
		switch {
		case switched:
			return c.take(isBinary, data)
		case !proven && !isBinary && bytes.Equal(data, probe):
			proven = true
			c.heard()
			c.control(w, probeReply)
			c.releasePoll()
			return nil
		case proven && !isBinary && len(data) == 1 && data[0] == packetUpgrade:
			if !timeout.Stop() || !c.switchTo(w) {
				return errUpgraded
			}
			switched, r.again = true, true
			return nil
		}
		return ErrMalformed
	})
	timeout.Stop()
	switch {
	case switched && errors.Is(err, errAgain):
		go c.read(r)
		return
	case switched:
		c.ended(w, err)
		return
	}
	c.probed()
	w.close()
}

// releasePoll ends a waiting poll, so that the client can pause polling.
func (c *Conn) releasePoll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.poll != nil {
		c.poll <- []byte{packetNoop}
		c.poll = nil
	}
}

// switchTo makes the websocket the connection's transport.
func (c *Conn) switchTo(w *wire) bool {
	c.inbound.Lock() // a POST that is being handled goes first
	defer c.inbound.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing, c.prober = false, nil
	if !c.Open() {
		return false
	}
	if c.poll != nil { // a client that says 5 has paused polling
		close(c.poll)
		c.poll = nil
	}
	c.wire = w
	c.flush()
	return true
}
