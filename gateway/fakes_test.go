package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// TestMain checks that no goroutine is left when all gateways have been closed.
// TestMain fails when a goroutine is left, but for one of toxiproxy: it does not end when its
// connection is closed while it delays a message.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*LatencyToxic).Pipe"))
}

const tick = time.Millisecond

// The interfaces that the gateway needs are fakes here: one session store in memory,
// and a limiter that counts down. The real ones are tested where they live, and all of
// them together in server.

// book is an Authenticator, a Tracker and Sessions over a map.
type book struct {
	mu       sync.Mutex
	sessions map[string]Session // guarded by mu
	handles  []*hold            // guarded by mu
	broken   error              // what every call answers; guarded by mu
	early    bool               // sessions end while they are being opened; guarded by mu
	logout   func() error       // instead of an ordinary one; guarded by mu
	reads    int                // calls of Get; guarded by mu
	owners   map[string]string  // user by character; guarded by mu
}

// hold is a Handle that counts its calls.
type hold struct {
	session Session
	on      Listener
	touches atomic.Int32
	gone    atomic.Bool
	closed  atomic.Int32
}

func (h *hold) Touch()             { h.touches.Add(1) }
func (h *hold) TTL() time.Duration { return h.session.TTL }
func (h *hold) Alive() bool        { return !h.gone.Load() && h.closed.Load() == 0 }
func (h *hold) Close()             { h.closed.Add(1) }

var (
	errNoSession  = fault.New("SESSION_REQUIRED", "No session provided")
	errBadSession = fault.New("SESSION_INVALID", "Invalid session")
	errCrowded    = fault.New("TOO_MANY_CONNECTIONS", "Too many connections").With("retryAfterMs", int64(1500))
)

func (b *book) Authenticate(_ context.Context, auth []byte, h http.Header) (Session, error) {
	var a struct {
		SessionID string `json:"sessionId"`
	}
	if len(auth) > 0 {
		if err := json.Unmarshal(auth, &a); err != nil {
			return Session{}, errBadSession
		}
	}
	if a.SessionID == "" {
		a.SessionID = strings.TrimPrefix(h.Get("Authorization"), "Bearer ")
	}
	return b.find(a.SessionID)
}

func (b *book) AuthenticateAgain(ctx context.Context, auth []byte, h http.Header) (Session, error) {
	return b.Authenticate(ctx, auth, h)
}

func (b *book) Identify(r *http.Request) (Session, error) {
	return b.find(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
}

func (b *book) find(id string) (Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.sessions[id]
	switch {
	case b.broken != nil:
		return Session{}, b.broken
	case id == "":
		return Session{}, errNoSession
	case id == "crowded":
		return Session{}, errCrowded
	case !ok:
		return Session{}, errBadSession
	}
	return s, nil
}

func (b *book) Open(s Session, on Listener) Handle {
	h := &hold{session: s, on: on}
	b.mu.Lock()
	b.handles = append(b.handles, h)
	early := b.early
	b.mu.Unlock()
	if early {
		h.gone.Store(true)
		on.Ended("SESSION_EXPIRED", "too late")
	}
	return h
}

// end ends a session, as a Tracker that heard of it does.
func (b *book) end(id, code, reason string) {
	b.mu.Lock()
	delete(b.sessions, id)
	all := append([]*hold(nil), b.handles...)
	b.mu.Unlock()
	for _, h := range all {
		if h.session.SessionID == id && h.Alive() {
			h.gone.Store(true)
			h.on.Ended(code, reason)
		}
	}
}

func (b *book) Get(_ context.Context, id string) (Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	s, ok := b.sessions[id]
	switch {
	case b.broken != nil:
		return s, b.broken
	case !ok:
		return s, fault.ErrUnauthenticated
	}
	return s, nil
}

func (b *book) SetCharacter(_ context.Context, id, character string) (Session, error) {
	if character == "nobody" {
		return Session{}, fault.ErrNotFound
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.sessions[id]
	if !ok {
		return s, fault.ErrUnauthenticated
	}
	s.CharacterID = character
	b.sessions[id] = s
	return s, nil
}

// Owns makes it Characters.
func (b *book) Owns(_ context.Context, userID, characterID string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.owners[characterID] == userID, b.broken
}

func (b *book) LogoutEverywhere(ctx context.Context, _, id string) error { return b.Logout(ctx, id) }

func (b *book) Logout(_ context.Context, id string) error {
	b.mu.Lock()
	instead := b.logout
	b.mu.Unlock()
	if instead != nil {
		return instead()
	}
	b.end(id, "LOGGED_OUT", "by another way")
	return nil
}

func (b *book) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// the returns the only hold of a session.
func (b *book) the(t testing.TB, id string) (h *hold) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.handles {
		if x.session.SessionID == id {
			require.Nil(t, h, "one connection of %s", id)
			h = x
		}
	}
	require.NotNil(t, h)
	return h
}

// purse is a Limiter: two of each policy are free for each user, "none" has none, and "rooms" has
// no limit.
type purse struct {
	mu      sync.Mutex
	spent   map[string]int  // guarded by mu
	refused map[string]bool // guarded by mu
	last    Subject         // guarded by mu
	near    bool            // it says what remains; else that all does
	events  int             // how many events of a connection are allowed; 0 allows all
}

// SpendOnce looks at no record.
func (p *purse) SpendOnce(ctx context.Context, policies []string, s Subject, _ record.Look) (Verdict, record.Found, error) {
	v, err := p.Spend(ctx, policies, s)
	return v, record.Found{}, err
}

func (p *purse) Spend(_ context.Context, policies []string, s Subject) (Verdict, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = s
	v := Verdict{Allowed: true, Limit: fault.Limit{Scope: "user", Limit: 2, Window: time.Minute}}
	for _, name := range policies {
		v.Policy = name
		if name != "rooms" && p.spent[name+s.User] >= 2 || name == "none" {
			v.Allowed, v.RetryAfter, v.Known = false, 900*time.Millisecond, p.refused[name+s.User]
			p.refused[name+s.User] = true
			return v, nil
		}
	}
	for _, name := range policies {
		p.spent[name+s.User]++
		if v.Remaining = 2; p.near {
			v.Remaining = 2 - p.spent[name+s.User]
		}
	}
	return v, nil
}

// OpenConnection counts no events, unless a test says how many are allowed.
func (p *purse) OpenConnection() EventWindow {
	if p.events == 0 {
		return nil
	}
	return &fewEvents{left: p.events}
}

// fewEvents is an EventWindow that allows a number of events.
type fewEvents struct{ left int }

func (f *fewEvents) Spend([]string) Verdict {
	f.left--
	return Verdict{Allowed: f.left >= 0, Known: f.left < -1, Limit: fault.Limit{
		Policy: "events", Scope: "connection", Limit: 10, Remaining: max(0, f.left), Window: time.Minute, RetryAfter: time.Second,
	}}
}

func (p *purse) Describe(roles []string) ([]byte, error) {
	if slices.Contains(roles, "vip") {
		return []byte(`{"policies":[{"name":"combat","limit":9}]}`), nil
	}
	return []byte(`{"policies":[{"name":"combat","limit":2}]}`), nil
}

// A sum is what game:add takes.
type sum struct {
	A int `json:"a" validate:"max=10"`
	B int `json:"b"`
}

// total is its answer, which encodes itself.
type total struct{ sum int }

func (r *total) AppendJSON(dst []byte) []byte {
	return append(strconv.AppendInt(append(dst, `{"sum":`...), int64(r.sum), 10), '}')
}

type nothing = event.None

// routes returns the events of these tests.
func routes() []event.Route {
	add := func(_ context.Context, _ event.Player, in sum) (total, error) { return total{in.A + in.B}, nil }
	whoami := func(_ context.Context, p event.Player, _ nothing) (map[string]any, error) {
		p.Roles = nil
		return map[string]any{"user": p.UserID, "character": p.CharacterID, "conn": p.Conn, "addr": p.Addr, "name": p.Username}, nil
	}
	return []event.Route{
		event.On("game:add", add),
		event.On("game:quick", add).Instant(),
		event.On("game:limited", add).Limit("combat"),
		event.On("game:both", add).Limit("combat", "none"),
		event.On("game:admin", add).Role("admin", "owner"),
		event.On("game:hidden", add).Role("admin").Limit("combat"),
		event.On("game:whoami", whoami),
		event.On("game:slow", func(ctx context.Context, _ event.Player, _ nothing) (nothing, error) {
			<-ctx.Done()
			return nothing{}, fmt.Errorf("waiting: %w", ctx.Err())
		}),
		event.On("game:panic", func(context.Context, event.Player, nothing) (nothing, error) { panic("the secret cause") }),
		event.On("game:nil", func(context.Context, event.Player, nothing) (n nothing, err error) {
			var p *event.Player
			return n, errors.New(p.UserID)
		}).Instant(),
		event.On("game:broken", func(context.Context, event.Player, nothing) (nothing, error) {
			return nothing{}, errors.New("the secret cause")
		}),
		event.On("game:rule", func(context.Context, event.Player, nothing) (nothing, error) {
			return nothing{}, fmt.Errorf("combat: %w", fault.New("COMBAT_OVER", "That fight has ended.").With("winner", "ann"))
		}),
		event.On("game:nan", func(context.Context, event.Player, nothing) (float64, error) { return math.NaN(), nil }),
		event.On("game:details", func(context.Context, event.Player, nothing) (nothing, error) {
			return nothing{}, fault.ErrConflict.With("bad", math.NaN())
		}),
	}
}

// hall is a gateway for one test.
type hall struct {
	*Gateway
	url   string // of Socket.IO
	book  *book
	purse *purse
	logs  *observer.ObservedLogs
	web   *httptest.Server
}

// open starts a gateway with ann (a player) and root (an admin), whose session ids are
// "s-ann" and "s-root".
func open(t testing.TB, change ...func(*Config)) *hall {
	t.Helper()
	session := func(name string, roles ...string) Session {
		return Session{
			Player: event.Player{UserID: name, Username: "The " + name, Roles: roles, SessionID: "s-" + name},
			TTL:    time.Minute, ExpiresAt: time.Now().Add(time.Minute),
		}
	}
	b := &book{sessions: map[string]Session{"s-ann": session("ann"), "s-root": session("root", "admin")}}
	for i := range 200 {
		name := fmt.Sprint("u", i)
		b.sessions["s-"+name] = session(name)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	p := &purse{spent: map[string]int{}, refused: map[string]bool{}}
	cfg := Config{Auth: b, Tracker: b, Sessions: b, Limiter: p, Routes: routes(), Node: "n1", Log: zap.New(core)}
	cfg.Socket.Engine.Linger = 200 * time.Millisecond
	for _, f := range change {
		f(&cfg)
	}
	g := New(cfg)
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", g)
	web := httptest.NewServer(mux)
	t.Cleanup(func() {
		g.Close()
		web.Close()
		for _, h := range b.handles {
			require.Equal(t, int32(1), h.closed.Load(), "every handle is closed, once")
		}
		for range g.conns.Range {
			require.Fail(t, "a connection was not forgotten")
		}
	})
	return &hall{g, web.URL + "/socket.io/", b, p, logs, web}
}

// enter connects a user, and reads what greets it.
func (h *hall) enter(t testing.TB, user string, transport ...string) (c *wiretest.Client, conn string) {
	t.Helper()
	c = wiretest.Open(t, h.url, append(transport, "websocket")[0])
	conn = c.Connect("", `{"sessionId":"s-`+user+`"}`)
	require.True(t, strings.HasPrefix(c.Read(), `42["session",`))
	require.True(t, strings.HasPrefix(c.Read(), `42["limits",`))
	return c, conn
}

var ids atomic.Int64

// ask sends an event with an acknowledgement and returns the answer.
func ask(t testing.TB, c *wiretest.Client, name, payload string) string {
	t.Helper()
	id := ids.Add(1)
	if payload != "" {
		payload = "," + payload
	}
	c.Send(fmt.Sprintf(`42%d[%q%s]`, id, name, payload))
	head := fmt.Sprintf("43%d[", id)
	got := c.Read()
	require.True(t, strings.HasPrefix(got, head), got)
	return strings.TrimSuffix(strings.TrimPrefix(got, head), "]")
}

// alive proves that a client is served.
func alive(t testing.TB, c *wiretest.Client) {
	t.Helper()
	require.Equal(t, `{"ok":true,"data":{"sum":3}}`, ask(t, c, "game:add", `{"a":1,"b":2}`))
}

// lines waits for n log lines with a message, and returns their fields.
func (h *hall) lines(t testing.TB, message string, n int) (all []map[string]any) {
	t.Helper()
	require.Eventually(t, func() bool { return h.logs.FilterMessage(message).Len() >= n }, wiretest.Patience, tick, message)
	for _, e := range h.logs.FilterMessage(message).All() {
		all = append(all, e.ContextMap())
	}
	require.Len(t, all, n, message)
	return all
}
