package lock

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What an earlier release learns late does not replace what a later one has said.
func TestALateAnswerOfARelease(t *testing.T) {
	t.Parallel()
	queues := localQueues{byName: map[string]*localQueue{}}
	first, _ := queues.takeFreeTicket("x")
	_, queue := queues.takeFreeTicket("x")
	first.done() // passed on before its release is answered
	second, _ := queues.waitForTicket(t.Context(), queue, true)
	require.NotNil(t, second)
	second.setWantedElsewhere(true)
	first.setWantedElsewhere(false)
	require.True(t, second.isWantedElsewhere())
	second.setWantedElsewhere(false)
	require.False(t, second.isWantedElsewhere())
	second.done()
	require.Empty(t, queues.byName)
}

func TestARetriedRelease(t *testing.T) {
	t.Parallel()
	for answer, want := range map[int64]int64{1: 1, releasedWhileWanted: releasedWhileWanted, 0: 1, -1: 1} {
		require.Equal(t, want, judgeRetriedRelease(answer, nil))
	}
}
