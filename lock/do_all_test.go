package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

func TestSeveralLocksInOneOrder(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a, b := manager(t, rdb), manager(t, rdb)
	count := 0 // not guarded by a mutex: the race detector would report two holders
	var g errgroup.Group
	for i := range 20 {
		m, names := a, []string{"x", "y", "z"}
		if i%2 == 1 {
			m, names = b, []string{"z", "x", "y", "x"}
		}
		g.Go(func() error {
			return m.DoAll(t.Context(), names, calm, func(_ context.Context, leases []*lock.Lease) error {
				require.Len(t, leases, 3)
				count++
				return nil
			})
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, 20, count)
	require.ErrorIs(t, a.DoAll(t.Context(), nil, calm, nil), lock.ErrBadOptions)

	err := a.DoAll(t.Context(), []string{"x", "y"}, lock.Options{TTL: 600 * time.Millisecond}, func(ctx context.Context, _ []*lock.Lease) error {
		require.NoError(t, rdb.Del(ctx, keys.Lock("x")).Err())
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), lock.ErrLost)
		return ctx.Err()
	})
	require.ErrorIs(t, err, lock.ErrLost, "the loss of one lease ends the whole call")
	require.Zero(t, rdb.Exists(t.Context(), keys.Lock("y")).Val())
}
