package webhooks

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// While nothing fails, each event is delivered once, in the order of each player, and nothing is
// left in Redis.
func TestDelivered(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 1000)
	rec := newReceiver(t, nil)
	_, stop := startWith(t, rdb, rec, o, time.Hour, soon) // a busy machine is given time: nothing fails
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
	stop()
	require.Len(t, rec.receipts(), 150, "each was posted once")
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

// Events that were never tried go before those that failed, also when a receiver has come back and
// all are tried at once: otherwise those that it lets hang would hold up the others.
func TestNewEventsGoBeforeFailedOnes(t *testing.T) {
	t.Parallel()
	q, now := newQueue(), time.Now()
	failed := &entry{event: waitingEvent{place: "1-1"}, tries: 3, due: now.Add(time.Hour)}
	fresh := &entry{event: waitingEvent{place: "2-1"}}
	q.addEntry(failed)
	q.addEntry(fresh)
	q.makeAllDue(now)
	first, _ := q.takeDue(now)
	require.Same(t, fresh, first)
	second, _ := q.takeDue(now)
	require.Same(t, failed, second)
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
	_, stop := start(t, rdb, rec, o)
	require.Eventually(t, func() bool { return rdb.HLen(t.Context(), keys.WebhookTries).Val() == 1 && tries.Load() >= 3 }, soon, time.Millisecond)
	stop()
	before := tries.Load()
	require.Less(t, before, int64(10))
	_, _ = start(t, rdb, rec, o)
	require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.WebhooksParked).Val() == 1 }, soon, time.Millisecond)
	require.InDelta(t, 10, tries.Load(), 1, "the try that was cut off is not counted")
}

// refuses is a receiver that refuses the events of combat.ended for which refused is true, while it
// is.
func refuses(t *testing.T, refused func(e Event) bool) (rec *receiver, isWell *atomic.Bool) {
	isWell = new(atomic.Bool)
	rec = newReceiver(t, func(w http.ResponseWriter, _ *http.Request, e Event) {
		if e.Type == CombatEnded && !isWell.Load() && refused(e) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		rec.take(e)
	})
	return rec, isWell
}

// writeMany writes an event of combat.ended of each user.
func writeMany(t *testing.T, o *Outbox, users, n int) {
	t.Helper()
	var calls []*redisx.Call
	for u := range users {
		data, err := json.Marshal(said{Party{UserID: fmt.Sprint("user", u)}, n})
		require.NoError(t, err)
		calls = append(calls, &redisx.Call{Script: o.write, Args: []any{CombatEnded, "", string(data)}})
	}
	redisx.RunScripts(t.Context(), o.rdb, calls...)
	for _, c := range calls {
		require.NoError(t, c.Err())
	}
}

// awaitTaken waits until an event of a user was taken.
func awaitTaken(t *testing.T, rec *receiver, user string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(rec.taken(), func(e Event) bool { return e.Players[0].UserID == user })
	}, 2*soon, 10*time.Millisecond, "%s waits for others", user)
}

// A receiver refuses a type. Its events and those behind them are more than a node has the contents
// of: the events of others are delivered all the same, and these too when it takes them, in order.
func TestRefusedEventsStopNoOthers(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), DefaultMax)
	rec, isWell := refuses(t, func(Event) bool { return true })
	const users = maxContents/2 + 100
	writeMany(t, o, users, 0)
	writeMany(t, o, users, 1)
	require.NoError(t, o.Write(t.Context(), ItemMinted, "", said{Party{UserID: "bob"}, 0}))
	_, stop := startWith(t, rdb, rec, o, 5*time.Millisecond, soon)
	awaitTaken(t, rec, "bob")
	isWell.Store(true)
	require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.Webhooks).Val() == 0 }, 4*soon, 10*time.Millisecond)
	stop()
	require.Zero(t, rdb.XLen(t.Context(), keys.WebhooksParked).Val())
	require.Zero(t, rdb.Exists(t.Context(), keys.WebhookTries).Val())
	next := map[string]int{}
	for _, e := range rec.taken() {
		var s said
		require.NoError(t, json.Unmarshal(e.Data, &s))
		require.Equal(t, next[s.UserID], s.N, s.UserID)
		next[s.UserID]++
	}
	require.Len(t, next, users+1)
}

// An event that the receiver refuses while it takes others is parked early when a hundred of its
// player wait behind it, also when they come after it was refused.
func TestManyEventsBehindOneThatFails(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 10_000)
	rec, _ := refuses(t, func(e Event) bool { return strings.Contains(string(e.Data), `"n":0`) })
	write(t, o, "ann", 0)
	d, _ := startWith(t, rdb, rec, o, 20*time.Millisecond, soon)
	refused := func(times int) bool { return len(rec.receipts())-len(rec.taken()) >= times }
	for i := 0; !refused(5); i++ { // the next try is five seconds off, the tenth an hour
		write(t, o, "bob", i+1)
		rec.await(i + 1)
	}
	for n := range maxBehind {
		write(t, o, "ann", n+1)
	}
	require.Eventually(t, func() bool { return len(numbers(t, rec.taken(), "ann")) == maxBehind }, soon, 5*time.Millisecond)
	require.InDelta(t, 1, valueOf(t, d.metrics.parkings), 0)
	list, err := List(t.Context(), rdb, "", 10)
	require.NoError(t, err)
	require.Less(t, list.Parked[0].Tries, maxTries)
}

// A receiver that takes nothing is no fault of an event: none is parked early for it.
func TestAReceiverThatTakesNothingParksNoneEarly(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 200)
	rec, isWell := refuses(t, func(e Event) bool { return true })
	for n := range 2 * maxBehind {
		write(t, o, "ann", n)
	}
	d, _ := startWith(t, rdb, rec, o, 10*time.Millisecond, soon)
	require.Eventually(t, func() bool { return len(rec.receipts()) > 4 }, soon, 5*time.Millisecond)
	isWell.Store(true)
	rec.await(2 * maxBehind)
	require.Zero(t, valueOf(t, d.metrics.parkings))
}

// Events that are refused, and those behind them, have half of what may wait: beyond it the oldest
// refused ones are parked, so that none of others is dropped.
func TestRefusedEventsHaveHalfOfTheQueue(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	const most, refused = 1000, 600
	o := NewOutbox(rdb, Types(), most)
	rec, _ := refuses(t, func(Event) bool { return true })
	writeMany(t, o, refused, 0)
	startWith(t, rdb, rec, o, 20*time.Millisecond, soon)
	list, begun := Backlog{}, time.Now()
	for i := 0; list.Total < refused-most/2 || list.Waiting > most/2; i++ {
		require.Less(t, time.Since(begun), 2*soon, "%+v", list)
		require.NoError(t, o.Write(t.Context(), ItemMinted, "", said{Party{UserID: "bob"}, i}))
		rec.await(i + 1)
		var err error
		list, err = List(t.Context(), rdb, "", 1000)
		require.NoError(t, err)
	}
	require.EqualValues(t, refused-most/2, list.Total)
	require.Zero(t, list.Dropped)
	for _, e := range list.Parked {
		require.Less(t, e.Tries, maxTries)
		require.Equal(t, CombatEnded, e.Type)
	}
}

// Of the failed events that fit, the oldest are taken: none that is posted now or was never tried,
// and none that waits for another.
func TestTheOldestFailedEventsAreTaken(t *testing.T) {
	t.Parallel()
	q, now := newQueue(), time.Now()
	add := func(place, user string, tries, refusals int) {
		e := &entry{event: waitingEvent{place: place}, tries: tries, refusals: refusals, due: now.Add(time.Duration(rand.IntN(1000)))}
		e.event.Players = []Party{{UserID: user}}
		q.addEntry(e)
	}
	add("2-10", "a", 4, 2)
	add("1-1", "posted", 4, 2)
	add("10-1", "b", 3, 2)
	add("2-9", "c", 2, 2)
	add("2-11", "c", 2, 2) // waits
	add("2-1", "d", 2, 1)  // does not fit
	add("2-2", "e", 0, 0)  // never tried
	for _, e := range q.ready {
		if e.event.place == "1-1" {
			e.due = now.Add(-1)
		}
	}
	heap.Init(&q.ready)
	posted, _ := q.takeDue(now)
	require.Equal(t, "1-1", posted.event.place)
	take := func(most int) (places []string) {
		for _, e := range q.takeFailed(most, func(e *entry) bool { return e.refusals >= maxRefusals }) {
			places = append(places, e.event.place)
		}
		return places
	}
	require.Equal(t, []string{"2-9", "2-10"}, take(2))
	require.Equal(t, []string{"10-1"}, take(2))
	require.Empty(t, take(2))
}

// That the receiver takes nothing is logged at once, then at most once a minute, and never left out
// for longer: a receiver that takes some events and refuses others looks so again and again.
func TestALineThatTheReceiverIsDown(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	d := NewDispatcher(Config{Log: zap.New(core)})
	d.queue = newQueue()
	fail := func() {
		for range downAfter {
			d.noteFailure(result{entry: &entry{}, err: errors.New("status 500")})
		}
	}
	for range 3 {
		fail()
		d.noteSuccess()
	}
	messages := func() (all []string) {
		for _, l := range logs.TakeAll() {
			all = append(all, l.Message)
		}
		return all
	}
	down, up := "the receiver takes no webhooks: they wait", "the receiver takes webhooks again"
	require.Equal(t, []string{down, up}, messages())
	fail()
	d.logDown()
	require.Empty(t, messages())
	d.downToldAt = d.downToldAt.Add(-lineEvery)
	d.logDown()
	require.Equal(t, []string{down}, messages())
	d.logDown()
	require.Empty(t, messages())
	d.noteSuccess()
	require.Equal(t, []string{up}, messages())
}

// Ten tries take a day: what the documents say of the default, and its sum.
func TestTenTriesTakeADay(t *testing.T) {
	t.Parallel()
	var all time.Duration
	var each []time.Duration
	for tries := 1; tries < maxTries; tries++ {
		d := retryDelay(time.Second, tries)
		each, all = append(each, d), all+d
	}
	require.Equal(t, []time.Duration{1e9, 4e9, 16e9, 64e9, 256e9, 1024e9, 4096e9, 16384e9, 65536e9}, each)
	require.InDelta(t, 24, all.Hours(), .5)
	require.Positive(t, addJitter(retryDelay(time.Hour, maxTries)), "the longest --webhook-retry does not overflow")
	for range 1000 {
		d := addJitter(time.Second)
		require.True(t, d >= 750*time.Millisecond && d <= 1250*time.Millisecond, d)
	}
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
		require.NoError(t, o.Write(t.Context(), CombatEnded, "", said{N: n}))
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
	a, stopA := startWith(t, rdb, rec, o, time.Hour, soon)
	require.Eventually(t, func() bool { return valueOf(t, a.metrics.isActive) == 1 }, soon, time.Millisecond)
	b, _ := startWith(t, rdb, rec, o, time.Hour, soon)
	posted := func(d *Dispatcher) float64 { return valueOf(t, d.metrics.deliveries.WithLabelValues("ok")) }
	const many = 200
	for n := range many {
		write(t, o, "ann", n)
	}
	rec.await(many)
	for idle := 0; idle < 2; { // the other one has asked for the lease meanwhile
		was := rdb.PTTL(t.Context(), keys.WebhookLease).Val()
		if rdb.PTTL(t.Context(), keys.WebhookLease).Val() > was {
			idle++
		}
	}
	require.Zero(t, valueOf(t, b.metrics.isActive))
	require.Zero(t, posted(b), "only the node with the lease posts")
	stopA()
	require.InDelta(t, many, posted(a), 0)
	write(t, o, "ann", many)
	all := numbers(t, rec.await(many+1), "ann")
	for i, n := range all {
		require.Equal(t, i, n)
	}
	require.Eventually(t, func() bool { return posted(b) == 1 }, soon, time.Millisecond)
	require.Len(t, rec.receipts(), many+1, "each was posted once")
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
	require.True(t, d.readMore(t.Context())) // what was read before, and then what is new
	require.Equal(t, 3, d.queue.size)
	first, _ := d.queue.takeDue(time.Now())
	require.Contains(t, string(first.event.Data), `"n":0`)

	d.rereadAt = time.Time{} // and at most once a minute, when Redis has more than we know
	write(t, o, "ann", 3)
	_, err = takeScript.Do(t.Context(), rdb, []string{keys.WebhookLease, keys.Webhooks}, d.token, leaseFor.Milliseconds(), ">", 2).Slice()
	require.NoError(t, err)
	require.True(t, d.readMore(t.Context()))
	require.Equal(t, 4, d.queue.size)
}

// A Redis that failed over to a replica that lagged has forgotten that events were removed: they
// are delivered again, in their order, with their ids.
func TestARedisThatForgotRemovals(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	o := NewOutbox(rdb, Types(), 100)
	rec, isWell := refuses(t, func(Event) bool { return true })
	const many = 5
	for n := range many {
		write(t, o, "ann", n)
	}
	_, stop := startWith(t, rdb, rec, o, time.Millisecond, soon)
	require.Eventually(t, func() bool { return len(rec.receipts()) > 0 }, soon, time.Millisecond)
	before, err := rdb.Dump(t.Context(), keys.Webhooks).Result()
	require.NoError(t, err)
	isWell.Store(true)
	require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.Webhooks).Val() == 0 }, soon, time.Millisecond)
	first := rec.taken()
	seen := len(rec.receipts())
	require.NoError(t, rdb.RestoreReplace(t.Context(), keys.Webhooks, 0, before).Err())
	require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.Webhooks).Val() == 0 }, soon, time.Millisecond)
	stop()
	again := rec.receipts()[seen:]
	require.Len(t, again, many)
	for i, e := range again {
		require.Equal(t, first[i].ID, e.ID)
	}
}
