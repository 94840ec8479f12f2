package trade_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// What can not be read of one user keeps nobody else, and no other trade of theirs, from being
// told.
func TestWhoComesBackWithSomebodyWhoCanNotBeTold(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	o := w.propose(ann, "bob")
	_, err := w.Cancel(t.Context(), ann, trade.Cancellation{TradeID: o.TradeID})
	require.NoError(t, err)
	open := w.propose(ann, "bob")
	w.told.all = nil
	require.NoError(t, w.rdb.Del(t.Context(), keys.TradeOutcomes("ann")).Err())
	require.NoError(t, w.rdb.Set(t.Context(), keys.TradeOutcomes("ann"), "of another kind", 0).Err())
	odd := strings.Repeat("X", 26)
	require.NoError(t, w.rdb.HSet(t.Context(), keys.Trade(odd), "status", "none").Err())
	later := redis.Z{Score: float64(time.Now().Add(3 * time.Hour).UnixMilli()), Member: odd}
	require.NoError(t, w.rdb.ZAdd(t.Context(), keys.TradeOutcomes("bob"), later).Err())

	err = w.Resend(t.Context(), ann, bob)
	require.ErrorContains(t, err, "WRONGTYPE")
	require.ErrorContains(t, err, odd)
	require.Len(t, w.told.heard("trade:cancelled")["user:bob"], 1)
	require.Equal(t, map[string][]any{"user:ann": {open}, "user:bob": {open}}, w.told.heard("trade:updated"))
}

// For whom Redis does not answer it is asked again, unless they have left.
func TestWhoComesBackWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	open := w.propose(ann, "bob")
	w.told.all = nil
	w.told.away = map[string]bool{"user:ann": true}
	rdb := redis.NewClient(w.rdb.(*redis.Client).Options())
	t.Cleanup(func() { _ = rdb.Close() })
	gone := &away{match: func(args string) bool { return strings.Contains(args, ":outcomes") || strings.HasPrefix(args, "hkeys") }}
	rdb.AddHook(gone)
	missed := make(chan error, 10)
	s := trade.New(rdb, w.locks, players, w.told, trade.Config{Missed: func(_ context.Context, err error) {
		if err != nil {
			missed <- err
		}
	}})
	r := trade.NewNotifier(s)
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = r.Run(ctx) })
	r.Recovered(bob, nil) // who goes on with a connection has heard it, or it is sent again
	r.Connected(ann)
	r.Connected(bob)
	require.Equal(t, "UNAVAILABLE", code(<-missed))
	gone.back.Store(true)
	require.Eventually(t, func() bool { return len(w.told.heard("trade:updated")["user:bob"]) == 1 }, waitFor, tick)
	require.Equal(t, []any{open}, w.told.heard("trade:updated")["user:bob"])
	require.Empty(t, w.told.heard("trade:updated")["user:ann"], "who left is told when they come back")
	stop()
	run.Wait()
}
