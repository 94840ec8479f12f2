package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Events that begin together share a context, later ones have another, and none has longer than the timeout or
// more than one part in 64 less.
func TestEventsOfAMomentShareADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 6400 * time.Millisecond
		base, stop := context.WithCancel(t.Context())
		defer stop()
		d := deadlines{base: base, timeout: timeout}
		first := d.next(time.Now())
		require.Same(t, first, d.next(time.Now()))
		var last context.Context
		for range 1000 {
			ctx := d.next(time.Now())
			until, ok := ctx.Deadline()
			require.True(t, ok)
			require.LessOrEqual(t, time.Until(until), timeout)
			require.GreaterOrEqual(t, time.Until(until), timeout-timeout/moments)
			require.NoError(t, ctx.Err())
			last = ctx
			time.Sleep(10 * time.Millisecond)
		}
		require.ErrorIs(t, first.Err(), context.DeadlineExceeded)
		stop()
		require.ErrorIs(t, last.Err(), context.Canceled, "the end of the gateway")
	})
}

func TestADeadlineAllocatesNothing(t *testing.T) {
	d := deadlines{base: t.Context(), timeout: time.Hour}
	now := time.Now()
	d.next(now)
	require.Zero(t, testing.AllocsPerRun(100, func() { d.next(now) }))
}
