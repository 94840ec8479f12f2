package sessions_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/sessions"
)

// heldPipelines counts pipelines that read keys, and holds the first one back until it is released.
type heldPipelines struct {
	count   atomic.Int32
	release chan struct{}
}

func (h *heldPipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *heldPipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *heldPipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "get" && h.count.Add(1) == 1 {
			<-h.release
		}
		return next(ctx, cmds)
	}
}

// Bans that are looked for at once, as in a storm of handshakes, are read together: 60 of them take
// two round trips. Each caller gets the ban of its own user.
func TestBansAreReadTogether(t *testing.T) {
	t.Parallel()
	const users = 60 // fewer than a second worker would start for
	rdb := redistest.Server(t).Client()
	store := sessions.New(rdb, sessions.Config{})
	for i := 0; i < users; i += 7 {
		_, err := store.BanUser(t.Context(), "u"+strconv.Itoa(i), "reason "+strconv.Itoa(i), time.Hour)
		require.NoError(t, err)
	}
	held := &heldPipelines{release: make(chan struct{})}
	rdb.AddHook(held)

	var callers sync.WaitGroup
	find := func(i int) {
		ban, err := store.FindBan(t.Context(), "u"+strconv.Itoa(i))
		if i%7 != 0 {
			assert.ErrorIs(t, err, sessions.ErrNotFound)
			return
		}
		assert.NoError(t, err)
		assert.Equal(t, "reason "+strconv.Itoa(i), ban.Reason)
	}
	callers.Go(func() { find(0) })
	require.Eventually(t, func() bool { return held.count.Load() == 1 }, 10*time.Second, time.Millisecond)
	for i := 1; i < users; i++ {
		callers.Go(func() { find(i) })
	}
	require.Eventually(t, func() bool { return store.BanReadsWaiting() == users-1 }, 10*time.Second, time.Millisecond)
	close(held.release)
	callers.Wait()
	require.EqualValues(t, 2, held.count.Load(), "round trips")
}
