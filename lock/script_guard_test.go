package lock_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

// A script on the server of the locks goes on while nobody has the lock, or with the current lease.
// It does not go on with a lease that has expired, whether or not there was another one since.
func TestScriptGuard(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := lock.New(lock.Config{}, rdb)
	t.Cleanup(m.Close)
	work := redis.NewScript(m.ScriptGuard() + `
local refused = enter(KEYS[1], KEYS[2], ARGV[1])
if refused then return refused end
pass()
return {'done'}`)
	run := func(mine any) string {
		t.Helper()
		answer, err := work.Run(t.Context(), rdb, []string{keys.Lock("a"), keys.LockFence("a")}, mine).StringSlice()
		require.NoError(t, err)
		return answer[0]
	}
	require.Equal(t, "done", run(""))
	l, err := m.Acquire(t.Context(), "a", lock.Options{})
	require.NoError(t, err)
	require.Equal(t, "held", run(""))
	require.Equal(t, "done", run(l.Fence()))
	require.Equal(t, "done", run(l.Fence()), "a lease is good for more than one script")
	require.Equal(t, "stale", run(l.Fence()-1))
	require.NoError(t, l.Release(t.Context()))
	require.Equal(t, "stale", run(l.Fence()), "it was released, though there is no other lease")
	require.Equal(t, "done", run(""))
	require.Equal(t, "stale", run(l.Fence()))
	next, err := m.Acquire(t.Context(), "a", lock.Options{})
	require.NoError(t, err)
	require.Greater(t, next.Fence(), l.Fence())
	require.Equal(t, "stale", run(l.Fence()), "another lease has it")
	require.Equal(t, "done", run(next.Fence()))
	require.NoError(t, rdb.PExpire(t.Context(), keys.Lock("a"), time.Millisecond).Err())
	require.Eventually(t, func() bool { return run(next.Fence()) == "stale" }, 10*time.Second, time.Millisecond, "it expired, and there is no other lease")
	require.ErrorIs(t, next.Release(t.Context()), lock.ErrLost)

	// When Redis has lost the fence, all earlier leases are stale, and the next fence is higher.
	require.Eventually(t, func() bool { return time.Now().UnixMilli() > next.Fence()+1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, rdb.Del(t.Context(), keys.LockFence("a")).Err())
	require.Equal(t, "stale", run(next.Fence()))
	require.Equal(t, "done", run(""), "nobody has a lease")
	require.Equal(t, "stale", run(next.Fence()))
	last, err := m.Acquire(t.Context(), "a", lock.Options{})
	require.NoError(t, err)
	require.Greater(t, last.Fence(), next.Fence())
	require.Equal(t, "done", run(last.Fence()))
	require.Positive(t, rdb.PTTL(t.Context(), keys.LockFence("a")).Val())

	quorum := lock.New(lock.Config{}, rdb, rdb, rdb)
	t.Cleanup(quorum.Close)
	require.Empty(t, quorum.ScriptGuard(), "a script sees only one of the servers")
}
