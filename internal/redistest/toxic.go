package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

// A Wire stands between a test and a server, and goes bad when it is told: one fault at a
// time, until it is Mended. Its methods may be called from any goroutine.
type Wire struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
	addr  string
}

// Toxic is a sound wire to the server, until the test ends. The server may be killed and
// restarted behind it.
func Toxic(t testing.TB, server *Instance) *Wire {
	t.Helper()
	lab := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := toxiproxy.NewProxy(lab, "redis", "127.0.0.1:0", server.Addr())
	if err := p.Start(); err != nil {
		t.Fatalf("redistest: toxiproxy: %v", err)
	}
	t.Cleanup(p.Stop)
	return &Wire{t: t, proxy: p, addr: p.Listen}
}

// Addr is the near end, host:port, the same for the whole test.
func (w *Wire) Addr() string { return w.addr }

// URL is the redis:// URL of the near end.
func (w *Wire) URL() string { return "redis://" + w.addr }

// Client is a new client at the near end, with the timeouts of production: 500 ms.
func (w *Wire) Client() redis.UniversalClient {
	return newTestClient(w.t, &redis.Options{Addr: w.addr}, 500*time.Millisecond)
}

// Delay brings all that the server says so much later.
func (w *Wire) Delay(d time.Duration) { w.setFault("latency", "latency", d.Milliseconds()) }

// Jitter brings each piece of what the server says at most so much later, some sooner than
// others.
func (w *Wire) Jitter(d time.Duration) {
	w.setFault("latency", "latency", d.Milliseconds()/2, "jitter", d.Milliseconds()/2)
}

// BlackHole loses what the server says. It still does what it was asked.
func (w *Wire) BlackHole() { w.setFault("timeout", "timeout", 0) }

// Reset ends each connection, with RST, at the first thing that the server says on it.
func (w *Wire) Reset() { w.setFault("reset_peer", "timeout", 0) }

// Trickle brings what the server says byte by byte, each so much after the other.
func (w *Wire) Trickle(d time.Duration) {
	w.setFault("slicer", "average_size", 1, "delay", d.Microseconds())
}

// Cut closes the connections that are open; new ones are taken again when it returns.
func (w *Wire) Cut() {
	w.t.Helper()
	w.proxy.Stop()
	if err := w.proxy.Start(); err != nil {
		w.t.Errorf("redistest: toxiproxy: %v", err)
	}
}

// Mend ends the fault.
func (w *Wire) Mend() { w.proxy.Toxics.ResetToxics(context.Background()) }

func (w *Wire) setFault(toxic string, attributes ...any) {
	w.t.Helper()
	var list []string
	for i := 0; i < len(attributes); i += 2 {
		list = append(list, fmt.Sprintf("%q:%v", attributes[i], attributes[i+1]))
	}
	w.Mend()
	fault := fmt.Sprintf(`{"type":%q,"stream":"downstream","attributes":{%s}}`, toxic, strings.Join(list, ","))
	if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(fault)); err != nil {
		w.t.Errorf("redistest: toxiproxy: %s: %v", toxic, err)
	}
}
