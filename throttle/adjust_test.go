package throttle

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// pair is two nodes on one Redis that hear of changes.
func pair(t *testing.T, policies ...Policy) (a, b *Limiter, rdb redis.UniversalClient) {
	t.Helper()
	rdb = redistest.Client(t)
	a, b = newLimiter(t, rdb, patient, policies...), newLimiter(t, rdb, patient, policies...)
	follow(t, b)
	return a, b, rdb
}

// follow runs a node until the test ends, and returns when it hears.
func follow(t *testing.T, l *Limiter) {
	t.Helper()
	ctx, stop := t.Context(), make(chan struct{})
	go func() { defer close(stop); _ = l.Run(ctx) }()
	t.Cleanup(func() { <-stop })
	require.Eventually(t, func() bool {
		n, err := l.rdb.PubSubNumSub(ctx, keys.LimitChanges).Result()
		return err == nil && n[keys.LimitChanges] > 0
	}, 10*time.Second, time.Millisecond)
}

func TestPeekSpendsNothing(t *testing.T) {
	t.Parallel()
	a, b, _ := pair(t, Policy{Name: "p", Limit: 3, Window: time.Minute, Scope: ByUser})
	for range 5 {
		d, err := a.Peek(t.Context(), "p", ann)
		require.NoError(t, err)
		require.True(t, d.Allowed)
		require.Equal(t, 3, d.Remaining)
	}
	for range 3 {
		d, err := a.Check(t.Context(), "p", ann)
		require.NoError(t, err)
		require.True(t, d.Allowed)
	}
	d, err := b.Peek(t.Context(), "p", ann)
	require.NoError(t, err)
	require.False(t, d.Allowed)
	require.Zero(t, d.Remaining)
	require.Positive(t, d.RetryAfter)
	require.WithinDuration(t, time.Now().Add(time.Minute), d.ResetAt, 20*time.Second)
	require.True(t, d.BlockedUntil.IsZero())
}

func TestPenalizeAndReward(t *testing.T) {
	t.Parallel()
	a, b, _ := pair(t, Policy{Name: "p", Limit: 5, Window: time.Minute, Scope: ByUser})
	d, err := a.Penalize(t.Context(), "p", ann, 4)
	require.NoError(t, err)
	require.Equal(t, 1, d.Remaining)
	require.True(t, spend(t, b, ann, "p").Allowed)
	require.False(t, spend(t, b, ann, "p").Allowed)
	require.Equal(t, SourceMemory, spend(t, b, ann, "p").Source)

	d, err = a.Reward(t.Context(), "p", ann, 2)
	require.NoError(t, err)
	require.Equal(t, 2, d.Remaining)
	require.Eventually(t, func() bool { return spend(t, b, ann, "p").Allowed }, 10*time.Second, time.Millisecond,
		"the other node forgets its refusal")
	require.True(t, spend(t, b, ann, "p").Allowed)
	require.False(t, spend(t, b, ann, "p").Allowed)

	d, err = a.Penalize(t.Context(), "p", ann, 1000)
	require.NoError(t, err)
	require.Zero(t, d.Remaining)
	require.LessOrEqual(t, d.RetryAfter, time.Minute, "never longer than a window")
	d, err = a.Reward(t.Context(), "p", ann, 1000)
	require.NoError(t, err)
	require.Equal(t, 5, d.Remaining)
}

func TestBlockAndReset(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"short window": 5, "long window": 400} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, rdb := pair(t, Policy{Name: "p", Limit: limit, Window: time.Minute, Scope: ByUser}, Policy{Name: "q", Limit: 5, Window: time.Minute, Scope: ByUser})
			for range limit - 3 {
				spend(t, b, ann, "p")
			}
			d, err := a.Block(t.Context(), "p", ann, time.Hour)
			require.NoError(t, err)
			require.False(t, d.Allowed)
			require.WithinDuration(t, time.Now().Add(time.Hour), d.BlockedUntil, 20*time.Second)
			d = spend(t, b, ann, "p", "q")
			require.False(t, d.Allowed)
			require.InDelta(t, time.Hour, d.RetryAfter, float64(20*time.Second))
			require.True(t, spend(t, b, Subject{User: "bob"}, "p").Allowed)
			require.Equal(t, 4, spend(t, b, ann, "q").Remaining, "the block cost the other policy nothing")

			d, err = a.Block(t.Context(), "p", ann, 0)
			require.NoError(t, err)
			require.Equal(t, 3, d.Remaining, "what was spent before still counts")
			require.Eventually(t, func() bool { return spend(t, b, ann, "p").Allowed }, 10*time.Second, time.Millisecond)

			// A block ends by itself, and leaves the window behind.
			ended := time.Now().Add(295 * time.Millisecond) // Redis counts in whole ones
			_, err = a.Block(t.Context(), "p", ann, 300*time.Millisecond)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return spend(t, a, ann, "p").Allowed }, 10*time.Second, time.Millisecond)
			require.False(t, time.Now().Before(ended))
			d, err = a.Peek(t.Context(), "p", ann)
			require.NoError(t, err)
			require.Equal(t, 1, d.Remaining)

			_, err = a.Block(t.Context(), "p", ann, time.Hour)
			require.NoError(t, err)
			require.False(t, spend(t, b, ann, "p").Allowed)
			require.NoError(t, a.Reset(t.Context(), "p", ann))
			require.Zero(t, rdb.Exists(t.Context(), keys.RateLimit("ann", "p")).Val())
			require.Eventually(t, func() bool { return spend(t, b, ann, "p").Allowed }, 10*time.Second, time.Millisecond)
			require.Equal(t, limit-2, spend(t, b, ann, "p").Remaining)
		})
	}
}

func TestDump(t *testing.T) {
	t.Parallel()
	a, _, rdb := pair(t, Policy{Name: "p", Limit: 5, Window: time.Minute, Scope: ByUser}, Policy{Name: "q", Limit: 5, Window: time.Minute, Scope: ByUser})
	spend(t, a, ann, "p", "q")
	spend(t, a, Subject{User: "bob:x"}, "p")
	_, err := a.Block(t.Context(), "p", Subject{User: "cat"}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, rdb.LPush(t.Context(), keys.RateLimit("dan", "p"), 1).Err(), "not ours")
	got, err := a.Dump(t.Context(), "p", 100)
	require.NoError(t, err)
	left := map[string]int{}
	for _, w := range got {
		left[w.Subject] = w.Remaining
		require.Equal(t, w.Subject == "cat", !w.BlockedUntil.IsZero())
	}
	require.Equal(t, map[string]int{"ann": 4, "bob:x": 4, "cat": 5}, left)
	got, err = a.Dump(t.Context(), "p", 1)
	require.NoError(t, err)
	require.LessOrEqual(t, len(got), 1)
}

func TestAdjustErrors(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, redistest.Client(t), patient, Policy{Name: "p", Limit: 1, Window: time.Minute, Scope: ByUser}, Policy{Name: "off", Scope: ByUser})
	_, err := l.Peek(t.Context(), "nonsense", ann)
	require.ErrorIs(t, err, ErrUnknownPolicy)
	_, err = l.Penalize(t.Context(), "off", ann, 1)
	require.ErrorIs(t, err, ErrOff)
	_, err = l.Reward(t.Context(), "p", Subject{}, 1)
	require.ErrorIs(t, err, ErrNoSubject)
	_, err = l.Block(t.Context(), "p", ann, MaxBlock+1)
	require.ErrorIs(t, err, ErrBadBlock)
	require.ErrorIs(t, l.Reset(t.Context(), "nonsense", ann), ErrUnknownPolicy)
	_, err = l.Dump(t.Context(), "off", 1)
	require.ErrorIs(t, err, ErrOff)
}
