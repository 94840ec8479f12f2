package socketio

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/internal/wiretest"
)

// TestMain checks that no goroutine is left when all servers have been closed.
func TestMain(m *testing.M) {
	// go-redis dials a server that was killed once a second, and so notices a second late that its
	// client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const tick = time.Millisecond

var transports = []string{"websocket", "polling"}

// overBoth runs a test over each transport.
func overBoth(t *testing.T, test func(t *testing.T, transport string)) {
	t.Helper()
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			test(t, transport)
		})
	}
}

// A scene is a receiver made of functions, which may be nil. It counts connects and disconnects.
type scene struct {
	admit        func(ctx context.Context, s *Socket, auth []byte) error
	connected    func(s *Socket)
	instant      string // the names of instant events, spaced
	event        func(s *Socket, e *Event)
	disconnected func(s *Socket, reason string)

	mu    sync.Mutex
	here  map[*Socket]bool     // guarded by mu
	ends  map[*Socket][]string // guarded by mu
	last  string               // reason; guarded by mu
	fault error                // a violation of a Receiver's contract; guarded by mu
}

func (r *scene) Admit(ctx context.Context, s *Socket, auth []byte) error {
	if r.admit != nil {
		return r.admit(ctx, s, auth)
	}
	return nil
}

func (r *scene) Connected(s *Socket) {
	r.mu.Lock()
	if r.here == nil {
		r.here, r.ends = map[*Socket]bool{}, map[*Socket][]string{}
	}
	r.here[s] = true
	r.mu.Unlock()
	if r.connected != nil {
		r.connected(s)
	}
}

func (r *scene) Instant(name []byte) bool {
	return r.instant != "" && strings.Contains(" "+r.instant+" ", " "+string(name)+" ")
}

func (r *scene) Event(s *Socket, e *Event) {
	r.mu.Lock()
	if !r.here[s] {
		r.fault = fmt.Errorf("%s of a socket that is not connected", e.Name)
	}
	r.mu.Unlock()
	if r.event != nil {
		r.event(s, e)
	}
}

func (r *scene) Disconnected(s *Socket, reason string) {
	r.mu.Lock()
	if r.ends == nil {
		r.here, r.ends = map[*Socket]bool{}, map[*Socket][]string{}
	}
	r.ends[s] = append(r.ends[s], reason)
	if len(r.ends[s]) > 1 {
		r.fault = fmt.Errorf("disconnected more than once: %q", r.ends[s])
	}
	delete(r.here, s)
	r.last = reason
	r.mu.Unlock()
	if r.disconnected != nil {
		r.disconnected(s, reason)
	}
}

// counts returns how many sockets are connected, and how many have ended.
func (r *scene) counts() (here, ended int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.here), len(r.ends)
}

func (r *scene) lastReason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// one waits until one socket is connected, and returns it.
func (r *scene) one(t testing.TB) (s *Socket) {
	t.Helper()
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for s = range r.here {
		}
		return len(r.here) == 1
	}, wiretest.Patience, tick)
	return s
}

// A world is a server for one test.
type world struct {
	*Server
	url  string
	main *scene
}

// serve starts a server whose main namespace is r. At the end of the test it closes the server,
// which must have nothing left then.
func serve(t testing.TB, r *scene, cfg Config) *world {
	t.Helper()
	if cfg.Namespaces == nil {
		cfg.Namespaces = map[string]Receiver{}
	}
	cfg.Namespaces["/"] = r
	if cfg.Engine.Linger == 0 {
		cfg.Engine.Linger = 200 * time.Millisecond // polling clients that are gone
	}
	w := listen(t, New(cfg))
	w.main = r
	t.Cleanup(func() {
		w.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		require.NoError(t, r.fault)
		require.Empty(t, r.here, "who was connected must have been disconnected")
		empty(t, w.Server)
	})
	return w
}

// listen has a server listen on a port of this machine.
func listen(t testing.TB, s *Server) *world {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", s)
	web := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.Close()
		web.Close()
	})
	return &world{Server: s, url: web.URL + "/socket.io/"}
}

// empty checks that a server has no connection and no member of a room.
func empty(t testing.TB, s *Server) {
	t.Helper()
	require.Zero(t, s.live.Load(), "connections that were not told of their end")
	require.Zero(t, s.engine.Count())
	for _, n := range s.nsps {
		n.rooms.mu.Lock()
		require.Empty(t, n.rooms.members, "ghosts")
		require.Empty(t, n.rooms.rooms)
		n.rooms.mu.Unlock()
		require.Zero(t, n.lib.Sockets().Len())
	}
}

// quiet waits until no client is connected.
func (w *world) quiet(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return w.live.Load() == 0 && w.engine.Count() == 0 }, wiretest.Patience, tick)
}

func (w *world) open(t testing.TB, transport string) *wiretest.Client {
	t.Helper()
	return wiretest.Open(t, w.url, transport)
}

// join opens a connection and connects to the main namespace.
func (w *world) join(t testing.TB, transport string) (c *wiretest.Client, id string) {
	t.Helper()
	c = w.open(t, transport)
	return c, c.Connect("", "")
}

// echo answers "echo" with its arguments and sends back everything else.
func echo(s *Socket, e *Event) {
	a := Args{JSON: e.Args, Attachments: e.Attachments}
	if e.HasID {
		_ = s.Answer(e.ID, a)
		return
	}
	_ = s.EmitArgs(string(e.Name)+"-back", a)
}

// alive checks that a client is served.
func alive(t testing.TB, c *wiretest.Client) {
	t.Helper()
	c.Send(`4277["still",{"here":true}]`)
	c.Expect(`4377[{"here":true}]`)
}

// numbers reads events `42["name",0]`, `42["name",1]`… to n, and nothing else.
func numbers(c *wiretest.Client, name string, n int) error {
	for i := range n {
		got, err := c.Next()
		if want := fmt.Sprintf(`42[%q,%d]`, name, i); err != nil || got != want {
			return fmt.Errorf("want %s, got %q: %w", want, got, err)
		}
	}
	return nil
}
