package trade_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/redistest"
	"github.com/aeturnis/realtime/trade"
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
}

var (
	ann = event.Player{UserID: "ann", CharacterID: "anna"}
	bob = event.Player{UserID: "bob", CharacterID: "bobo"}
	cat = event.Player{UserID: "cat"}
)

func newTown(t testing.TB, rdb redis.UniversalClient) *town {
	w := &town{t: t, rdb: rdb, locks: &locks{fences: map[string]int64{}, held: map[string]*sync.Mutex{}}, told: &casts{}}
	w.Service = trade.New(rdb, w.locks, plays{"ann": "anna", "bob": "bobo", "mirror": "anna"}, w.told, trade.Config{})
	require.NoError(t, w.Check())
	return w
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

func (w *town) clean() trade.Report {
	w.t.Helper()
	r, err := w.Audit(w.t.Context())
	require.NoError(w.t, err)
	require.Empty(w.t, r.Breaks)
	return r
}

// everything is every key of the database with its whole value.
func (w *town) everything() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	keys, err := w.rdb.Keys(w.t.Context(), "*").Result()
	require.NoError(w.t, err)
	for _, k := range keys {
		all[k], err = w.rdb.Dump(w.t.Context(), k).Result()
		require.NoError(w.t, err)
	}
	return all
}

func gift(to, key string, gold int64, items ...trade.Line) trade.Gift {
	return trade.Gift{To: to, IdempotencyKey: key, Give: trade.Goods{Items: items, Gold: gold}}
}

// grant is goods to be minted, without a key.
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

// plays is who plays whom.
type plays map[string]string

func (p plays) CharacterOf(_ context.Context, user string) (string, error) {
	if c, ok := p[user]; ok {
		return c, nil
	}
	return "", fault.ErrNotFound
}

// locks are locks of this process. before, when set, runs before fn and may refuse or
// change the fence.
type locks struct {
	mu     sync.Mutex
	fences map[string]int64       // guarded by mu
	held   map[string]*sync.Mutex // guarded by mu
	before func(fence int64) (int64, error)
	after  error
}

func (l *locks) Do(ctx context.Context, name string, fn func(context.Context, int64) error) error {
	l.mu.Lock()
	if l.held[name] == nil {
		l.held[name] = &sync.Mutex{}
	}
	held := l.held[name]
	l.mu.Unlock()
	held.Lock()
	defer held.Unlock()
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

// casts remembers what was told.
type casts struct {
	mu   sync.Mutex
	all  []told // guarded by mu
	fail error
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
