package throttle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// Two nodes share a key's limit, and no text of a key reaches a window of a policy or of another
// key.
func TestSpendKey(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	p := Policy{Name: "mail", Limit: 1, Window: time.Minute, Scope: ByUser}
	a, b := newLimiter(t, server.Client(), patient, p), newLimiter(t, server.Client(), patient, p)
	spendKey := func(l *Limiter, key string) Decision {
		d, err := l.SpendKey(t.Context(), key, 3, time.Minute)
		require.NoError(t, err)
		return d
	}
	for i, l := range []*Limiter{a, b, a} {
		d := spendKey(l, "mail:ann")
		require.True(t, d.Allowed)
		require.Equal(t, 2-i, d.Remaining)
		require.Equal(t, SourceRedis, d.Source)
	}
	for _, l := range []*Limiter{a, b} {
		d := spendKey(l, "mail:ann")
		require.False(t, d.Allowed)
		require.Equal(t, []any{3, time.Minute, ByKey}, []any{d.Limit, d.Window, d.Scope})
		require.InDelta(t, time.Minute, d.RetryAfter, float64(30*time.Second))
		require.Equal(t, "RATE_LIMITED", d.Fault().Code)
	}
	for _, key := range []string{"ann", "ann:mail", "mail", keys.RateLimit("ann", "mail"), "mail:ann:" + keyedPolicy} {
		require.True(t, spendKey(a, key).Allowed, key)
	}
	require.True(t, spend(t, a, ann, "mail").Allowed, "the keys have not spent the policy")
	require.False(t, spend(t, b, ann, "mail").Allowed)
	require.Equal(t, 1, spendKey(a, "ann:mail").Remaining, "nor the policy the key")
	require.Len(t, a.Policies(), 1)
	_, err := New(nil, []Policy{{Name: keyedPolicy, Limit: 1, Window: time.Second, Scope: ByUser}}, Config{})
	require.ErrorIs(t, err, ErrBadPolicy)

	for _, bad := range []struct {
		key    string
		limit  int
		window time.Duration
		want   error
	}{
		{"", 1, time.Second, ErrNoSubject},
		{string(make([]byte, maxSubject+1)), 1, time.Second, ErrNoSubject},
		{"k", 0, time.Second, ErrBadLimit},
		{"k", MaxLimit + 1, time.Second, ErrBadLimit},
		{"k", 1, time.Microsecond, ErrBadWindow},
		{"k", 1, 25 * time.Hour, ErrBadWindow},
	} {
		_, err := a.SpendKey(t.Context(), bad.key, bad.limit, bad.window)
		require.ErrorIs(t, err, bad.want)
	}

	server.Kill()
	for i := range 4 {
		d := spendKey(a, "bob")
		require.Equal(t, SourceLocal, d.Source)
		require.Equal(t, i < 3, d.Allowed, "without Redis this process counts")
	}
}
