package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

// A Wire is a proxy between a test and a server that causes one network fault at a time, until
// Mend. Its methods may be called from any goroutine.
type Wire struct {
	t      testing.TB
	lab    *toxiproxy.ApiServer
	server string // its address
	addr   string

	mu    sync.Mutex
	proxy *toxiproxy.Proxy // guarded by mu
}

// mendTime is how long toxiproxy may take to remove a fault. It never does when a connection ends
// at the wrong moment: what waits to be written to it is never taken, and holds the lock that the
// end of the connection needs.
const mendTime = 5 * time.Second

// Toxic returns a wire without a fault to the server. It works until the test ends. The server may
// be killed and restarted behind it.
func Toxic(t testing.TB, server *Instance) *Wire {
	t.Helper()
	lab := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := toxiproxy.NewProxy(lab, "redis", "127.0.0.1:0", server.Addr())
	if err := p.Start(); err != nil {
		t.Fatalf("redistest: toxiproxy: %v", err)
	}
	w := &Wire{t: t, lab: lab, server: server.Addr(), proxy: p, addr: p.Listen}
	t.Cleanup(func() { stopProxy(w.current()) })
	return w
}

func (w *Wire) current() *toxiproxy.Proxy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.proxy
}

// Addr returns the address that clients dial, host:port. It does not change during the test.
func (w *Wire) Addr() string { return w.addr }

// URL returns the redis:// URL of that address.
func (w *Wire) URL() string { return "redis://" + w.addr }

// Client returns a new client that dials the wire, with the timeouts of production: 500 ms.
func (w *Wire) Client() redis.UniversalClient {
	return newTestClient(w.t, &redis.Options{Addr: w.addr}, 500*time.Millisecond)
}

// Delay delays everything that the server sends by d.
func (w *Wire) Delay(d time.Duration) { w.setFault("latency", "latency", d.Milliseconds()) }

// Jitter delays each piece of what the server sends by a random time of at most d.
func (w *Wire) Jitter(d time.Duration) {
	w.setFault("latency", "latency", d.Milliseconds()/2, "jitter", d.Milliseconds()/2)
}

// BlackHole drops everything that the server sends. The server still executes what it receives.
func (w *Wire) BlackHole() { w.setFault("timeout", "timeout", 0) }

// Isolate drops everything that either side sends, as a network that is cut in two. The server sees
// nothing of it.
func (w *Wire) Isolate() {
	w.BlackHole()
	w.addFault("upstream", "timeout", "timeout", 0)
}

// Refuse closes all open connections, and refuses new ones until Mend.
func (w *Wire) Refuse() { stopProxy(w.current()) }

// stopProxy stops a proxy, and reports whether it did so in time. One that is stuck listens no
// more, and keeps its connections.
func stopProxy(p *toxiproxy.Proxy) bool {
	stopped := make(chan struct{})
	go func() {
		p.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		return true
	case <-time.After(mendTime):
		return false
	}
}

// Reset ends each connection with an RST when the server first sends something on it.
func (w *Wire) Reset() { w.setFault("reset_peer", "timeout", 0) }

// Trickle delivers what the server sends byte by byte, with a pause of d between two bytes.
func (w *Wire) Trickle(d time.Duration) {
	w.setFault("slicer", "average_size", 1, "delay", d.Microseconds())
}

// Cut closes all open connections. When it returns, new connections are accepted again.
func (w *Wire) Cut() {
	w.t.Helper()
	p := w.current()
	if !stopProxy(p) {
		w.replace(p)
		return
	}
	if err := p.Start(); err != nil {
		w.t.Errorf("redistest: toxiproxy: %v", err)
	}
}

// Mend ends the current fault.
func (w *Wire) Mend() {
	w.t.Helper()
	p, mended := w.current(), make(chan struct{})
	go func() {
		p.Toxics.ResetToxics(context.Background())
		close(mended)
	}()
	select {
	case <-mended:
	case <-time.After(mendTime):
		w.replace(p)
		return
	}
	if err := p.Start(); err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
		w.t.Errorf("redistest: toxiproxy: %v", err)
	}
}

// replace lets another proxy listen at the address of one that no longer does anything. The
// connections of that one stay as they are: their clients give them up.
func (w *Wire) replace(stuck *toxiproxy.Proxy) {
	w.t.Helper()
	go stuck.Stop() // it stops to listen, and then waits in vain for its connections
	fresh := toxiproxy.NewProxy(w.lab, "redis", w.addr, w.server)
	var err error
	for begun := time.Now(); time.Since(begun) < mendTime; time.Sleep(10 * time.Millisecond) {
		if err = fresh.Start(); err == nil {
			w.mu.Lock()
			w.proxy = fresh
			w.mu.Unlock()
			return
		}
	}
	w.t.Errorf("redistest: toxiproxy: %v", err)
}

func (w *Wire) setFault(toxic string, attributes ...any) {
	w.t.Helper()
	w.Mend()
	w.addFault("downstream", toxic, attributes...)
}

// addFault adds a fault to one direction of the wire.
func (w *Wire) addFault(stream, toxic string, attributes ...any) {
	w.t.Helper()
	var list []string
	for i := 0; i < len(attributes); i += 2 {
		list = append(list, fmt.Sprintf("%q:%v", attributes[i], attributes[i+1]))
	}
	fault := fmt.Sprintf(`{"type":%q,"stream":%q,"attributes":{%s}}`, toxic, stream, strings.Join(list, ","))
	if _, err := w.current().Toxics.AddToxicJson(strings.NewReader(fault)); err != nil {
		w.t.Errorf("redistest: toxiproxy: %s: %v", toxic, err)
	}
}
