package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/lock"
)

// Package lock returns plain errors. A player gets the fault for each of them, and the log keeps
// the error as its cause.
func TestFaultsOfLocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		code    string
		message string
		feature any
	}{
		{lock.ErrTaken, "LOCKED", fault.ErrLocked.Message, nil},
		{lock.ErrTimeout, "LOCKED", fault.ErrLocked.Message, nil},
		{lock.ErrUnavailable, "UNAVAILABLE", fault.ErrUnavailable.Message, "lock"},
		{lock.ErrLost, "UNAVAILABLE", fault.ErrUnavailable.Message, "lock"},
		{lock.ErrMaxHold, "TIMEOUT", fault.ErrTimeout.Message, nil},
	} {
		err := lockFault(fmt.Errorf("hold trade:ann:bob: %w: %w", c.err, context.Canceled))
		require.ErrorIs(t, err, c.err)
		f := fault.Of(err)
		require.Equal(t, c.code, f.Code)
		require.Equal(t, c.message, f.Message)
		require.Equal(t, c.feature, f.Detail("feature"))
	}
	failure := errors.New("failed")
	require.Equal(t, failure, lockFault(failure))
	require.NoError(t, lockFault(nil))
}
