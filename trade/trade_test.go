package trade_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// town is a service with three players: ann plays anna, bob plays bobo, cat plays nobody.
// mirror is a user who plays anna too.
type town struct {
	*trade.Service
	t     testing.TB
	rdb   redis.UniversalClient
	locks *locks
	told  *casts
	ships bool // with locks and characters as the gateway has them on one server, instead of locks
}

var (
	ann = event.Player{UserID: "ann", CharacterID: "anna"}
	bob = event.Player{UserID: "bob", CharacterID: "bobo"}
	cat = event.Player{UserID: "cat"}
)

func newTown(t testing.TB, rdb redis.UniversalClient) *town { return newTownOf(t, rdb, false) }

func newTownOf(t testing.TB, rdb redis.UniversalClient, ships bool) *town {
	w := &town{t: t, rdb: rdb, locks: &locks{fences: map[string]int64{}, held: map[string]*sync.Mutex{}}, told: &casts{}, ships: ships}
	w.Service = w.with(players, trade.Config{})
	require.NoError(t, w.Check(t.Context()))
	return w
}

// with returns a service of the same town with other players or other settings.
func (w *town) with(who plays, cfg trade.Config) *trade.Service {
	return w.process(w.rdb, who, w.told, cfg)
}

// process returns a service on a connection of its own.
func (w *town) process(rdb redis.UniversalClient, who plays, told *casts, cfg trade.Config) *trade.Service {
	if !w.ships {
		return trade.New(rdb, w.locks, who, told, cfg)
	}
	m := lock.New(lock.Config{}, rdb)
	w.t.Cleanup(m.Close)
	return trade.New(rdb, managed{Manager: m}, scripted{who}, told, cfg)
}

func (w *town) mint(character, item string, qty, gold int64) {
	w.t.Helper()
	_, err := w.Mint(w.t.Context(), grant(character, item, qty, gold))
	require.NoError(w.t, err)
}

// has asserts all that a character owns: "3 sword, 7 gold".
func (w *town) has(character, want string) {
	w.t.Helper()
	g, err := w.Owned(w.t.Context(), character)
	require.NoError(w.t, err)
	got := ""
	for _, l := range g.Items {
		got += fmt.Sprintf("%d %s, ", l.Qty, l.ItemID)
	}
	require.Equal(w.t, want, fmt.Sprintf("%s%d gold", got, g.Gold), character)
}

func (w *town) clean() ledger.Report {
	w.t.Helper()
	r, err := w.Audit(w.t.Context())
	require.NoError(w.t, err)
	require.Empty(w.t, r.Breaks)
	return r
}

// anew empties Redis and returns a new town on it.
func (w *town) anew(t *testing.T) *town {
	t.Helper()
	flush := func(ctx context.Context, rdb redis.Cmdable) error { return rdb.FlushDB(ctx).Err() }
	require.NoError(t, w.masters(t.Context(), flush))
	return newTownOf(t, w.rdb, w.ships)
}

func (w *town) masters(ctx context.Context, do func(ctx context.Context, rdb redis.Cmdable) error) error {
	if c, ok := w.rdb.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error { return do(ctx, m) })
	}
	return do(ctx, w.rdb)
}

// everything returns every key of the database with its whole value. On a Cluster, where refused
// attempts leave traces for a while, it is every inventory and the ledger.
func (w *town) everything() map[string]string {
	w.t.Helper()
	var mu sync.Mutex
	all := map[string]string{}
	_, cluster := w.rdb.(*redis.ClusterClient)
	require.NoError(w.t, w.masters(w.t.Context(), func(ctx context.Context, rdb redis.Cmdable) error {
		keys, err := rdb.Keys(ctx, "*").Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, k := range keys {
			switch {
			case cluster && strings.HasSuffix(k, ":inventory"):
				h, err := rdb.HGetAll(ctx, k).Result()
				if err != nil {
					return err
				}
				maps.DeleteFunc(h, func(field, _ string) bool { return strings.HasPrefix(field, "done:") })
				all[k] = fmt.Sprint(h)
			case !cluster || strings.HasPrefix(k, "{trade:ledger}"):
				if all[k], err = rdb.Dump(ctx, k).Result(); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	return all
}

func gift(to, key string, gold int64, items ...trade.Line) trade.Gift {
	return trade.Gift{To: to, IdempotencyKey: key, Give: trade.Goods{Items: items, Gold: gold}}
}

// grant returns a request to mint goods, without a key.
func grant(character, item string, qty, gold int64) trade.MintRequest {
	r := trade.MintRequest{CharacterID: character, Gold: gold}
	if item != "" || qty != 0 {
		r.Items = []trade.Line{some(item, qty)}
	}
	return r
}

func some(item string, qty int64) trade.Line { return trade.Line{ItemID: item, Qty: qty} }

func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.Of(err).Code
}

var players = plays{
	"ann": "anna", "bob": "bobo", "mirror": "anna", "zoe": "zoe",
	"p0": "p0", "p1": "p1", "p2": "p2", "p3": "p3", "p4": "p4", "p7": "p7", "p8": "p8",
}

// plays maps users to the characters that they play.
type plays map[string]string

func (p plays) CharacterOf(_ context.Context, user string) (string, error) {
	if c, ok := p[user]; ok {
		return c, nil
	}
	return "", fault.ErrNotFound
}

// scripted are players whom a script knows too.
type scripted struct{ plays }

func (p scripted) CharacterLua() string {
	table := []string{}
	for _, user := range slices.Sorted(maps.Keys(p.plays)) {
		table = append(table, fmt.Sprintf("[%q] = %q", user, p.plays[user]))
	}
	return "local function character_of(user) return ({" + strings.Join(table, ", ") + "})[user] end\n"
}

// locks are locks of this process. before, when set, runs before fn and may refuse or
// change the fence.
type locks struct {
	mu     sync.Mutex
	fences map[string]int64       // guarded by mu
	held   map[string]*sync.Mutex // guarded by mu
	before func(fence int64) (int64, error)
	after  error
	run    bool // leases have run out: nobody waits for anybody
}

func (l *locks) Do(ctx context.Context, name string, _ trade.Holder, fn func(context.Context, int64) error) error {
	l.mu.Lock()
	if l.held[name] == nil {
		l.held[name] = &sync.Mutex{}
	}
	held, out := l.held[name], l.run
	l.mu.Unlock()
	if !out {
		held.Lock()
		defer held.Unlock()
	}
	l.mu.Lock()
	l.fences[name]++
	fence := l.fences[name]
	l.mu.Unlock()
	if l.before != nil {
		var err error
		if fence, err = l.before(fence); err != nil {
			return err
		}
	}
	if err := fn(ctx, fence); err != nil {
		return err
	}
	return l.after
}

// casts records the events that were sent.
type casts struct {
	mu   sync.Mutex
	all  []told // guarded by mu
	fail error
	away map[string]bool // rooms with nobody in them; guarded by mu
}

func (c *casts) Reach(_ context.Context, room string) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away[room] {
		return 0, true
	}
	return 1, true
}

// heard returns the payloads of one event, by room.
func (c *casts) heard(event string) map[string][]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := map[string][]any{}
	for _, x := range c.all {
		if x.event == event {
			m[x.room] = append(m[x.room], x.payload)
		}
	}
	return m
}

func (c *casts) CastEach(ctx context.Context, rooms []string, event string, payload any) (err error) {
	for _, room := range rooms {
		err = c.Cast(ctx, room, event, payload)
	}
	return err
}

type told struct {
	room, event string
	payload     any
}

func (c *casts) Cast(_ context.Context, room, event string, payload any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, told{room, event, payload})
	return c.fail
}
