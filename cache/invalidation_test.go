package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
)

// Run continues when the client under its subscription is closed, as happens to the client of a
// node that leaves a Cluster. If Run returned, the process would end.
func TestRunOutlivesItsSubscription(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	m := cache.New(rdb, cache.Config{})
	t.Cleanup(m.Close)
	require.NoError(t, rdb.Close())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	require.Never(t, func() bool { return len(done) > 0 }, 300*time.Millisecond, tick)
	cancel()
	require.NoError(t, <-done)
}
