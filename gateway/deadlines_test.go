package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Events that begin together share a context, later ones have another, and none has longer than the
// timeout or more than one part in 64 less.
func TestEventsOfAMomentShareADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 6400 * time.Millisecond
		base, stop := context.WithCancel(t.Context())
		defer stop()
		d := eventDeadlines{baseCtx: base, timeout: timeout}
		first := d.contextFor(time.Now())
		require.Same(t, first, d.contextFor(time.Now()))
		var last context.Context
		for range 1000 {
			ctx := d.contextFor(time.Now())
			until, ok := ctx.Deadline()
			require.True(t, ok)
			require.LessOrEqual(t, time.Until(until), timeout)
			require.GreaterOrEqual(t, time.Until(until), timeout-timeout/contextsPerTimeout)
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
	d := eventDeadlines{baseCtx: t.Context(), timeout: time.Hour}
	now := time.Now()
	d.contextFor(now)
	require.Zero(t, testing.AllocsPerRun(100, func() { d.contextFor(now) }))
}
