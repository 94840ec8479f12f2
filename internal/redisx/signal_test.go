package redisx_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redisx"
)

// Notifications that nobody has received yet are one, and none of them blocks.
func TestSignalsMerge(t *testing.T) {
	t.Parallel()
	s := redisx.NewSignal()
	require.Empty(t, s.C())
	for range 3 {
		s.Notify()
	}
	<-s.C()
	require.Empty(t, s.C())
	s.Notify()
	require.Len(t, s.C(), 1, "it can be notified again")
	redisx.Signal{}.Notify() // does nothing
}
