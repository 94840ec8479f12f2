package redistest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A Relay is a TCP proxy whose target changes, as the address of a service does. Connections stay
// with the server that they were made to. Its methods may be called from any goroutine.
type Relay struct {
	addr string

	mu      sync.Mutex
	targets []string          // new connections take them in turn; guarded by mu
	next    int               // of targets; guarded by mu
	dials   []time.Time       // when each connection was made; guarded by mu
	open    map[net.Conn]bool // both ends of all connections; guarded by mu
	listens map[net.Conn]bool // clients' ends of the connections that have subscribed; guarded by mu
	openTo  map[string]int    // how many connections to each target are open; guarded by mu
}

// NewRelay returns a relay to the server, which works until the test ends. Without a server it ends
// each connection at once, as a proxy does whose backend is away.
func NewRelay(t testing.TB, servers ...*Instance) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("redistest: relay: %v", err)
	}
	r := &Relay{addr: l.Addr().String(), open: make(map[net.Conn]bool), listens: make(map[net.Conn]bool), openTo: make(map[string]int)}
	r.PointTo(servers...)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.Cut()
		running.Wait()
	})
	return r
}

// Addr returns the address that clients dial, host:port.
func (r *Relay) Addr() string { return r.addr }

// URL returns the redis:// URL of that address.
func (r *Relay) URL() string { return "redis://" + r.addr }

// PointTo makes new connections go to the server. With several servers, connections go to each in
// turn, as with a name that has several addresses. With none, they are ended at once.
func (r *Relay) PointTo(servers ...*Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets = nil
	for _, s := range servers {
		r.targets = append(r.targets, s.Addr())
	}
}

// Cut ends all connections that are open.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		_ = c.Close()
	}
}

// CutSubscriptions ends the open connections that have subscribed to a channel, and returns how
// many there were.
func (r *Relay) CutSubscriptions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.listens {
		_ = c.Close()
	}
	return len(r.listens)
}

// Dials returns when each connection was made, since the relay was made.
func (r *Relay) Dials() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.dials...)
}

// Open returns how many connections to the server are open now.
func (r *Relay) Open(s *Instance) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.openTo[s.Addr()]
}

// carry copies both ways until one end closes.
func (r *Relay) carry(c net.Conn) {
	defer c.Close()
	target := r.takeTarget()
	if target == "" {
		return
	}
	server, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	r.note(target, 1, c, server)
	defer r.note(target, -1, c, server)
	var both sync.WaitGroup
	copyAll := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // a broken connection is what clients are to see
		_ = to.Close()
		_ = from.Close()
	}
	both.Go(func() { copyAll(server, &commandReader{Conn: c, relay: r}) })
	both.Go(func() { copyAll(c, server) })
	both.Wait()
}

// A commandReader reads what a client sends, and notices when it subscribes.
type commandReader struct {
	net.Conn
	relay     *Relay
	isNoticed bool
	tail      []byte // the last bytes, in which the name of the command may have begun
}

// Read notices SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE, which all end so.
func (c *commandReader) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.isNoticed || n == 0 {
		return n, err
	}
	const name = "subscribe\r\n"
	text := append(c.tail, bytes.ToLower(b[:n])...)
	if i := bytes.Index(text, []byte(name)); i >= 2 && !bytes.HasSuffix(text[:i], []byte("un")) {
		c.isNoticed = true
		c.relay.mu.Lock()
		c.relay.listens[c.Conn] = true
		c.relay.mu.Unlock()
	}
	c.tail = bytes.Clone(text[max(0, len(text)-len(name)-2):])
	return n, err
}

func (r *Relay) takeTarget() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dials = append(r.dials, time.Now())
	if len(r.targets) == 0 {
		return ""
	}
	r.next++
	return r.targets[r.next%len(r.targets)]
}

// note counts a connection to target that begins or ends.
func (r *Relay) note(target string, change int, ends ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range ends {
		if change > 0 {
			r.open[c] = true
		} else {
			delete(r.open, c)
			delete(r.listens, c)
		}
	}
	r.openTo[target] += change
}
