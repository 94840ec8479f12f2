package webhooks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// While nothing fails, each event is delivered once, in the order of each player, and nothing is
// left in Redis.
func TestDelivered(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 1000)
	rec := newReceiver(t, nil)
	start(t, rdb, rec, o)
	for n := range 50 {
		for _, user := range []string{"ann", "bob", "cat"} {
			write(t, o, user, n)
		}
	}
	all := rec.await(150)
	require.Len(t, all, 150)
	for _, user := range []string{"ann", "bob", "cat"} {
		for i, n := range numbers(t, all, user) {
			require.Equal(t, i, n, user)
		}
	}
	ids := map[string]bool{}
	for _, e := range all {
		require.False(t, ids[e.ID])
		ids[e.ID] = true
		require.Equal(t, CombatEnded, e.Type)
		require.WithinDuration(t, time.Now(), time.UnixMilli(e.At), soon)
		require.Len(t, e.Players, 1)
	}
	require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.Webhooks).Val() == 0 }, soon, 5*time.Millisecond)
	require.Zero(t, rdb.XPending(t.Context(), keys.Webhooks, group).Val().Count)
	require.Zero(t, rdb.Exists(t.Context(), keys.WebhookTries).Val())
}

// An event of two players waits for the earlier ones of both, and those behind it wait for it.
func TestAnEventOfTwoPlayersIsInBothOrders(t *testing.T) {
	t.Parallel()
	q := newQueue()
	event := func(place string, users ...string) *entry {
		e := &entry{event: waitingEvent{place: place}}
		for _, u := range users {
			e.event.Players = append(e.event.Players, Party{UserID: u})
		}
		q.addEntry(e)
		return e
	}
	a1, b1, ab, a2, b2 := event("1-1", "a"), event("1-2", "b"), event("1-3", "a", "b"), event("1-4", "a"), event("1-5", "b")
	next := func() *entry { e, _ := q.takeDue(time.Now()); return e }
	require.Same(t, a1, next())
	require.Same(t, b1, next())
	require.Nil(t, next())
	q.removeEntry(a1)
	require.Nil(t, next(), "b1 is under way")
	q.removeEntry(b1)
	require.Same(t, ab, next())
	require.Nil(t, next())
	q.putBack(ab)
	require.Same(t, ab, next())
	q.removeEntry(ab)
	require.Same(t, a2, next())
	require.Same(t, b2, next())
	q.removeEntry(a2)
	q.removeEntry(b2)
	require.Zero(t, q.size)
	require.Empty(t, q.last)
	require.Empty(t, q.count)
	require.Empty(t, q.known)
}

// Bad receivers: whatever one does with the first nine deliveries of an event, the tenth counts;
// and the events of other players do not wait for it.
func TestBadReceivers(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	for name, bad := range map[string]func(w http.ResponseWriter, r *http.Request){
		"an error":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"no such page": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"not modified": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"hangs":        func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"closes":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"closes in the body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
		},
		"a huge answer": func(w http.ResponseWriter, _ *http.Request) {
			part := strings.Repeat("x", 64<<10)
			for range 100 {
				if _, err := io.WriteString(w, part); err != nil {
					return
				}
			}
		},
		"an endless header": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 100 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1000))
			}
		},
		"drips": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(10 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			o := NewOutbox(rdb, Types(), 1000)
			var tries atomic.Int64
			var rec *receiver
			rec = newReceiver(t, func(w http.ResponseWriter, r *http.Request, e Event) {
				if e.Players[0].UserID == "ann" && strings.Contains(string(e.Data), `"n":0`) && tries.Add(1) < maxTries {
					bad(w, r)
					return
				}
				rec.take(e)
			})
			write(t, o, "ann", 0)
			write(t, o, "ann", 1)
			write(t, o, "bob", 0)
			d, _ := start(t, rdb, rec, o)
			all := rec.await(3)
			require.Equal(t, []int{0, 1}, numbers(t, all, "ann"))
			require.Equal(t, "bob", all[0].Players[0].UserID, "bob waits for nobody")
			require.Zero(t, valueOf(t, d.metrics.parkings))
		})
	}
	t.Run("redirects", func(t *testing.T) {
		t.Parallel()
		rdb := redistest.Client(t)
		o := NewOutbox(rdb, Types(), 1000)
		other := newReceiver(t, func(http.ResponseWriter, *http.Request, Event) { elsewhere.Add(1) })
		rec := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ Event) {
			http.Redirect(w, r, other.url, http.StatusTemporaryRedirect)
		})
		write(t, o, "ann", 0)
		start(t, rdb, rec, o)
		require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.WebhooksParked).Val() == 1 }, soon, 5*time.Millisecond)
		require.Zero(t, elsewhere.Load(), "no redirect is followed")
	})
}

// After ten tries an event is parked, and the next of its player go on. It is listed, and delivered
// when it is replayed.
func TestParkedAfterTenTries(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 1000)
	var tries atomic.Int64
	var isWell atomic.Bool
	var rec *receiver
	rec = newReceiver(t, func(w http.ResponseWriter, _ *http.Request, e Event) {
		if !isWell.Load() && strings.Contains(string(e.Data), `"n":0`) {
			tries.Add(1)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		rec.take(e)
	})
	write(t, o, "ann", 0)
	write(t, o, "ann", 1)
	d, _ := start(t, rdb, rec, o)
	require.Equal(t, []int{1}, numbers(t, rec.await(1), "ann"))
	require.EqualValues(t, 10, tries.Load())
	require.InDelta(t, 1, valueOf(t, d.metrics.parkings), 0)

	list, err := List(t.Context(), rdb, "", 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, list.Total)
	require.Len(t, list.Parked, 1)
	p := list.Parked[0]
	require.Equal(t, 10, p.Tries)
	require.Equal(t, "status 418", p.LastError)
	require.JSONEq(t, `{"userId":"ann","n":0}`, string(p.Data))

	isWell.Store(true)
	isParked, err := o.Replay(t.Context(), p.Place)
	require.NoError(t, err)
	require.True(t, isParked)
	again := rec.await(2)[1]
	require.Equal(t, p.ID, again.ID, "the same event")
	require.Equal(t, p.At, again.At)
	require.Equal(t, []Party{{UserID: "ann"}}, again.Players)
	isParked, err = o.Replay(t.Context(), p.Place)
	require.NoError(t, err)
	require.False(t, isParked, "it is parked no more")
}

// How often an event failed is known to the next node: ten tries are ten on all nodes together.
func TestTriesSurviveTheNode(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 1000)
	write(t, o, "ann", 0)
	var tries atomic.Int64
	rec := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ Event) {
		tries.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	})
	d, stop := start(t, rdb, rec, o)
	require.Eventually(t, func() bool { return rdb.HLen(t.Context(), keys.WebhookTries).Val() == 1 && tries.Load() >= 3 }, soon, time.Millisecond)
	stop()
	before := tries.Load()
	require.Less(t, before, int64(10))
	_, _ = start(t, rdb, rec, o)
	require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.WebhooksParked).Val() == 1 }, soon, time.Millisecond)
	require.InDelta(t, 10, tries.Load(), 1, "the try that was cut off is not counted")
	_ = d
}

// While others are taken, a player whose event fails again and again does not fill the memory.
func TestManyEventsBehindOneThatFails(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 10_000)
	var rec *receiver
	rec = newReceiver(t, func(w http.ResponseWriter, _ *http.Request, e Event) {
		if strings.Contains(string(e.Data), `"n":0`) && e.Players[0].UserID == "ann" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		rec.take(e)
	})
	for n := range maxBehind + 10 {
		write(t, o, "ann", n)
		write(t, o, "bob", n)
	}
	d, stop := start(t, rdb, rec, o)
	stop()
	d.cfg.Retry = time.Hour // ten tries would take years
	d.queue = newQueue()
	for n := range maxBehind + 1 {
		d.queue.addEntry(&entry{tries: 2, event: waitingEvent{place: fmt.Sprint(n), Event: Event{Players: []Party{{UserID: "ann"}}}}})
	}
	first, _ := d.queue.takeDue(time.Now())
	require.True(t, d.mustPark(first))
	d.isDown = true
	require.False(t, d.mustPark(first), "a receiver that takes nothing is no fault of this event")
}

// Beyond the bound, new events are dropped and counted, and no effect fails.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 10)
	for n := range 10 {
		write(t, o, "ann", n)
	}
	for n := range 5 {
		require.ErrorIs(t, o.Write(t.Context(), CombatEnded, "", said{N: n}), ErrFull)
	}
	list, err := List(t.Context(), rdb, "", 10)
	require.NoError(t, err)
	require.EqualValues(t, 10, list.Waiting)
	require.EqualValues(t, 5, list.Dropped)
	rec := newReceiver(t, nil)
	start(t, rdb, rec, o)
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, numbers(t, rec.await(10), "ann"))
}

// Of several nodes, one delivers at a time, and another goes on when it ends.
func TestOneNodeDelivers(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 1000)
	rec := newReceiver(t, nil)
	a, stopA := start(t, rdb, rec, o)
	require.Eventually(t, func() bool { return valueOf(t, a.metrics.isActive) == 1 }, soon, time.Millisecond)
	b, _ := start(t, rdb, rec, o)
	write(t, o, "ann", 0)
	rec.await(1)
	require.Zero(t, valueOf(t, b.metrics.isActive))
	stopA()
	write(t, o, "ann", 1)
	require.Equal(t, []int{0, 1}, numbers(t, rec.await(2), "ann"))
	require.InDelta(t, 1, valueOf(t, b.metrics.isActive), 0)
}

// Entries that another program wrote badly are delivered as far as they can be read, and hold
// nothing up.
func TestForeignEntries(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 1000)
	for _, values := range [][]any{{"x", "y"}, {"type", "\xff", "data", "{"}, {"type", SessionEnded, "data", "null"}, {"type", "a", "data", `{"moves":3}`}, {"type", "a", "at", "1", "players", "[[", "data", "1"}} {
		require.NoError(t, rdb.XAdd(t.Context(), xadd(values)).Err())
	}
	write(t, o, "ann", 1)
	rec := newReceiver(t, nil)
	start(t, rdb, rec, o)
	all := rec.await(6)
	isOurs := func(e Event) bool { return e.Type == CombatEnded }
	for _, e := range all {
		require.True(t, isOurs(e) || len(e.Players) == 0, "%+v", e)
		require.True(t, e.Data.IsValid(jsontext.AllowDuplicateNames(true)))
	}
}

// The data of an ended session has the hash of its id, and so has the event's id.
func TestSessionIdsAreHashed(t *testing.T) {
	t.Parallel()
	e := parseWaiting("5-1", map[string]string{"type": SessionEnded, "data": `{"userId":"ann","sessionId":"secret-id","code":"BANNED","reason":"bots","at":7}`})
	b := string(e.encodeBody())
	require.NotContains(t, b, "secret-id")
	require.Contains(t, e.ID, "session-")
	require.Equal(t, []Party{{UserID: "ann"}}, e.Players)
	var data map[string]string
	require.NoError(t, json.Unmarshal(e.Data, &data))
	require.Equal(t, "BANNED", data["code"])
	require.Len(t, data["session"], 64)
}

// Redis has given events, and its answer was lost: they are read again, before those behind them.
func TestALostAnswerOfARead(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 100)
	d := NewDispatcher(Config{Redis: rdb, Outbox: o, Log: zap.NewNop()})
	d.queue, d.after, d.rereadAt = newQueue(), ">", time.Now()
	for n := range 3 {
		write(t, o, "ann", n)
	}
	_, err := takeScript.Do(t.Context(), rdb, []string{keys.WebhookLease, keys.Webhooks}, d.token, leaseFor.Milliseconds(), ">", 2).Slice()
	require.NoError(t, err) // which d has not heard of
	failing, cancel := context.WithCancel(t.Context())
	cancel()
	require.True(t, d.readMore(failing))
	require.True(t, d.readMore(t.Context())) // what was read before
	require.Equal(t, 2, d.queue.size)
	require.True(t, d.readMore(t.Context()))
	require.Equal(t, 3, d.queue.size)
	first, _ := d.queue.takeDue(time.Now())
	require.Contains(t, string(first.event.Data), `"n":0`)

	d.rereadAt = time.Time{} // and each minute, whatever Redis has answered
	write(t, o, "ann", 3)
	_, err = takeScript.Do(t.Context(), rdb, []string{keys.WebhookLease, keys.Webhooks}, d.token, leaseFor.Milliseconds(), ">", 2).Slice()
	require.NoError(t, err)
	require.True(t, d.readMore(t.Context()))
	require.Equal(t, 4, d.queue.size)
}
