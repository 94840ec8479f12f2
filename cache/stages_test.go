package cache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

type ownKey struct{}

// Each step of a load has a time limit of its own. A step that took too long stays ended, and the
// next one goes on; after cancel nothing does.
func TestStages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stages{}
		s.init(context.WithValue(t.Context(), ownKey{}, "value"))
		first := s.beginStep(time.Second)
		require.Equal(t, "value", first.Value(ownKey{}))
		time.Sleep(900 * time.Millisecond)
		second := s.beginStep(time.Second)
		below, cancel := context.WithCancel(second)
		defer cancel()
		time.Sleep(900 * time.Millisecond)
		require.NoError(t, second.Err(), "the limit of the first step is over, but not that of the second")
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		require.ErrorIs(t, second.Err(), context.DeadlineExceeded)
		require.ErrorIs(t, below.Err(), context.DeadlineExceeded)

		expired := make(chan error, 1)
		third := s.beginStepWith(time.Second, func(err error) { expired <- err })
		require.NoError(t, third.Err())
		require.Error(t, second.Err(), "it stays ended")
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, <-expired, context.DeadlineExceeded)

		fourth := s.beginStep(time.Minute)
		s.cancel()
		require.ErrorIs(t, fourth.Err(), context.Canceled)
		require.ErrorIs(t, s.beginStep(time.Minute).Err(), context.Canceled)
		require.Error(t, s.beginStep(0).Err())
	})
}
