package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once/record"
)

// A coin is the payload of an event that is done once.
type coin struct {
	Side string `json:"side" validate:"max=5"`
	Key  string `json:"idempotencyKey,omitempty"`
}

// coins adds events that count what they did, each done once, to the routes of a gateway.
func coins(tossed *atomic.Int64) func(*Config) {
	toss := func(_ context.Context, _ event.Player, in coin) (int64, error) {
		if in.Side == "edge" {
			return 0, fault.New("COIN_EDGE", "No coin lands so.")
		}
		return tossed.Add(1), nil
	}
	return func(c *Config) {
		c.Routes = append(c.Routes,
			event.On("coin:toss", toss).Limit("combat").Once(),
			event.On("coin:mint", toss).Role("admin").Once(),
			event.On("coin:free", toss).Once(),
			event.On("coin:panic", toss).Once(event.Beside(func(event.Player, coin) string { panic("the secret cause") })))
	}
}

// A repeat is answered as the first time, by another connection of the user too, and spends
// nothing: no limit, no count of refusals.
func TestARepeatSpendsNothing(t *testing.T) {
	t.Parallel()
	var tossed atomic.Int64
	h := open(t, coins(&tossed), func(c *Config) { c.CloseAfter = 1 })
	ann, _ := h.enter(t, "ann")
	device, _ := h.enter(t, "ann", "polling")
	const key = `{"side":"head","idempotencyKey":"k"}`
	for range 10 {
		require.Equal(t, `{"ok":true,"data":1}`, ask(t, ann, "coin:toss", key))
		require.Equal(t, `{"ok":true,"data":1}`, ask(t, device, "coin:toss", key))
	}
	require.Equal(t, 1, h.purse.spent["combatann"])
	refusal := ask(t, ann, "coin:toss", `{"side":"edge","idempotencyKey":"e"}`)
	require.Contains(t, refusal, `"COIN_EDGE"`)
	for range 10 {
		require.Equal(t, refusal, ask(t, device, "coin:toss", `{"side":"edge","idempotencyKey":"e"}`))
	}
	require.Equal(t, 2, h.purse.spent["combatann"])
	require.Contains(t, ask(t, ann, "coin:toss", `{"side":"head","idempotencyKey":"new"}`), `"RATE_LIMITED"`)
	require.Equal(t, `{"ok":true,"data":1}`, ask(t, ann, "coin:toss", key), "also when the limit refuses what is new")
	require.Equal(t, `{"ok":true,"data":2}`, ask(t, ann, "coin:free", key), "on another route it is another event")
	require.Contains(t, ask(t, ann, "coin:toss", `{"side":"tail","idempotencyKey":"k"}`), `"CONFLICT"`)
	require.Contains(t, ask(t, ann, "coin:panic", key), `"INTERNAL"`, "a panic ends its event, and not the connection")
	alive(t, ann)
	require.Equal(t, int64(2), tossed.Load())
}

// A repeat has its answer also when the player has lost the role; another player gets none.
func TestARepeatIsAnsweredBeforeRoles(t *testing.T) {
	t.Parallel()
	var tossed atomic.Int64
	h := open(t, coins(&tossed))
	const key = `{"side":"head","idempotencyKey":"k"}`
	root, _ := h.enter(t, "root")
	require.Equal(t, `{"ok":true,"data":1}`, ask(t, root, "coin:mint", key))
	h.book.set(func() {
		s := h.book.sessions["s-root"]
		s.Roles = nil
		h.book.sessions["s-root"] = s
	})
	demoted, _ := h.enter(t, "root")
	require.Equal(t, `{"ok":true,"data":1}`, ask(t, demoted, "coin:mint", key))
	require.Contains(t, ask(t, demoted, "coin:mint", `{"side":"head","idempotencyKey":"new"}`), `"FORBIDDEN"`)
	ann, _ := h.enter(t, "ann")
	require.Contains(t, ask(t, ann, "coin:mint", key), `"FORBIDDEN"`)
	require.Equal(t, int64(1), tossed.Load())
}

// A choice of a character that is repeated does not undo a later one, and belongs to its session.
func TestAChoiceIsMadeOnce(t *testing.T) {
	t.Parallel()
	h := open(t)
	ann, _ := h.enter(t, "ann")
	first := ask(t, ann, "session:character", `{"characterId":"c1","idempotencyKey":"k"}`)
	require.Contains(t, first, `"characterId":"c1"`)
	require.Contains(t, ask(t, ann, "session:character", `{"characterId":"c2"}`), `"characterId":"c2"`)
	require.Equal(t, first, ask(t, ann, "session:character", `{"characterId":"c1","idempotencyKey":"k"}`))
	require.Equal(t, "c2", h.book.sessions["s-ann"].CharacterID)
	require.Contains(t, ask(t, ann, "session:character", `{"characterId":"c2","idempotencyKey":"k"}`), `"CONFLICT"`)
	other, _ := h.enter(t, "u1")
	require.Contains(t, ask(t, other, "session:character", `{"characterId":"c3","idempotencyKey":"k"}`), `"sessionId":"s-u1"`)
}

// Over HTTP the key may stand in the header, with or without quotes, and is the same as in the
// payload. Only what is not a repeat is charged.
func TestTheHeaderIdempotencyKey(t *testing.T) {
	t.Parallel()
	var tossed, charged atomic.Int64
	h := open(t, coins(&tossed))
	limit := func(w http.ResponseWriter, _ *http.Request, look *record.Look) (record.Found, error) {
		require.True(t, look == nil || look.Key != "" && look.Token != "" && look.Hold == 6*time.Second)
		if charged.Add(1) > 100 {
			return record.Found{}, fault.ErrRateLimited.With("retryAfterMs", int64(1500))
		}
		w.Header().Set("X-Charged", "yes")
		return record.Found{}, nil
	}
	post := func(route, body string, keys ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer s-ann")
		for _, k := range keys {
			r.Header.Add("Idempotency-Key", k)
		}
		w := httptest.NewRecorder()
		h.Identify(h.Endpoint(route, limit)).ServeHTTP(w, r)
		return w
	}
	for i, w := range []*httptest.ResponseRecorder{
		post("coin:toss", `{"side":"head"}`, "k"), post("coin:toss", `{"side":"head"}`, `"k"`), post("coin:toss", `{"side":"head","idempotencyKey":"k"}`),
		post("coin:toss", `{ "idempotencyKey": "k", "side": "head" }`, "k"),
	} {
		require.Equal(t, 200, w.Code, w.Body)
		require.JSONEq(t, "1", w.Body.String())
		require.Equal(t, map[bool]string{true: "yes"}[i == 0], w.Header().Get("X-Charged"))
	}
	require.Equal(t, int64(1), charged.Load())
	ann, _ := h.enter(t, "ann")
	require.Equal(t, `{"ok":true,"data":1}`, ask(t, ann, "coin:toss", `{"side":"head","idempotencyKey":"k"}`), "a socket's event is the same")
	require.Equal(t, 409, post("coin:toss", `{"side":"tail"}`, "k").Code)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"empty":          post("coin:free", `{}`, ""),
		"two":            post("coin:free", `{}`, "a", "b"),
		"half quoted":    post("coin:free", `{}`, `"a`),
		"other payload":  post("coin:free", `{"idempotencyKey":"b"}`, "a"),
		"too long":       post("coin:free", `{}`, strings.Repeat("k", 65)),
		"not printable":  post("coin:free", `{}`, "a\tb"),
		"not UTF-8":      post("coin:free", `{}`, "a\xff"),
		"not taken here": post("game:add", `{}`, "a"),
	} {
		require.Equal(t, 400, w.Code, name)
		require.Contains(t, w.Body.String(), `"INVALID"`, name)
	}
	charged.Store(100)
	w := post("coin:toss", `{"side":"head"}`, "new")
	require.Equal(t, 429, w.Code)
	require.Equal(t, "2", w.Header().Get("Retry-After"))
	require.Equal(t, 200, post("coin:toss", `{"side":"head"}`, "k").Code, "a repeat is not refused")
	require.Equal(t, 429, post("coin:toss", `{"side":"head"}`).Code)
	require.Equal(t, int64(1), tossed.Load())
}

// An event that has no key is served as if its route were not declared so: it allocates as much.
func TestWithoutAKeyNothingIsAllocated(t *testing.T) {
	handler := func(context.Context, event.Player, coin) (int64, error) { return 1, nil }
	plain, declared := &route{Route: event.On("coin:toss", handler)}, &route{Route: event.On("coin:toss", handler).Once()}
	h := open(t)
	p, payload, dst := &event.Player{UserID: "ann"}, []byte(`{"side":"head"}`), make([]byte, 0, 64)
	allocations := func(r *route) float64 {
		return testing.AllocsPerRun(1000, func() {
			if _, _, err := h.performRoute(p, r, nil, time.Now(), nil, payload, dst); err != nil {
				t.Error(err)
			}
		})
	}
	require.InDelta(t, allocations(plain), allocations(declared), 0.5, "contexts are shared by the events of some milliseconds")
}
