package auth_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestLockout(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	ctx := t.Context()
	one, two := auth.NewLockout(server.Client(), auth.LockoutConfig{}), auth.NewLockout(server.Client(), auth.LockoutConfig{})
	for i := range 5 { // on two nodes, from many addresses
		require.NoError(t, one.Check(ctx, "ann", "192.0.2.1"))
		require.NoError(t, []*auth.Lockout{one, two}[i%2].Failed(ctx, "ann", "198.51.100."+string(rune('1'+i))))
	}
	err := two.Check(ctx, "ann", "192.0.2.1")
	require.ErrorIs(t, err, fault.ErrRateLimited)
	f := fault.Of(err)
	require.Equal(t, []any{"login", "user", 5, 0, int64(60_000)},
		[]any{f.Detail("policy"), f.Detail("scope"), f.Detail("limit"), f.Detail("remaining"), f.Detail("windowMs")})
	require.InDelta(t, 60_000, f.Detail("retryAfterMs"), 5000)
	require.NoError(t, two.Check(ctx, "bob", "192.0.2.1"), "others are not locked")
	require.NoError(t, two.Check(ctx, "", "198.51.100.1"))

	for i := range 10 { // each at another account
		require.NoError(t, one.Check(ctx, "", "2001:db8::1"))
		require.NoError(t, one.Failed(ctx, "u"+string(rune('a'+i)), "2001:db8::"+string(rune('1'+i%9))))
	}
	err = two.Check(ctx, "carl", "2001:db8::ffff")
	require.ErrorIs(t, err, fault.ErrRateLimited, "the /64 is one customer's")
	require.Equal(t, "ip", fault.Of(err).Detail("scope"))
	require.InDelta(t, 600_000, fault.Of(err).Detail("retryAfterMs"), 5000)
	require.NoError(t, two.Check(ctx, "carl", "2001:db8:0:1::1"))

	require.NoError(t, one.Succeeded(ctx, "ann"))
	require.NoError(t, two.Check(ctx, "ann", "192.0.2.1"))

	server.Kill()
	for _, err := range []error{one.Check(ctx, "ann", "192.0.2.1"), one.Failed(ctx, "ann", "192.0.2.1"), one.Succeeded(ctx, "ann")} {
		require.Error(t, err)
		require.NotErrorIs(t, err, fault.ErrRateLimited)
	}
}

// A lock runs out by itself: Redis ends its counter after AccountFor. The time is made to pass in
// Redis, so that no load of the machine can end the lock before it was seen.
func TestLockoutRunsOut(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	l := auth.NewLockout(rdb, auth.LockoutConfig{AccountFailures: 2, AccountFor: time.Hour, AddressFailures: 100})
	require.NoError(t, l.Failed(t.Context(), "ann", "192.0.2.1"))
	require.NoError(t, l.Failed(t.Context(), "ann", "192.0.2.1"))
	require.Error(t, l.Check(t.Context(), "ann", "192.0.2.1"))
	counters := rdb.Keys(t.Context(), "temp:login-failures:account:*").Val()
	require.Len(t, counters, 1)
	left := rdb.PTTL(t.Context(), counters[0]).Val()
	require.LessOrEqual(t, left, time.Hour)
	require.Greater(t, left, 59*time.Minute)
	require.NoError(t, rdb.PExpire(t.Context(), counters[0], time.Millisecond).Err())
	require.Eventually(t, func() bool { return l.Check(t.Context(), "ann", "192.0.2.1") == nil }, 15*time.Second, time.Millisecond)
	require.NoError(t, l.Failed(t.Context(), "ann", "192.0.2.1"))
	require.NoError(t, l.Check(t.Context(), "ann", "192.0.2.1"), "the count began anew")
}
