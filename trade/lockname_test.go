package trade_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/trade"
)

// Whatever two users are called, there is a lock of theirs, and it is the same for both.
func TestEveryPairHasALock(t *testing.T) {
	t.Parallel()
	locks := lock.New(lock.Config{}, redistest.Client(t))
	t.Cleanup(locks.Close)
	for name, pair := range map[string][2]string{
		"short":       {"ann", "bob"},
		"with braces": {"ann{1}", "}bob"},
		"long":        {strings.Repeat("ä", 128), strings.Repeat("🐉", 128)},
	} {
		lockName := trade.LockName(pair[0], pair[1])
		require.Equal(t, lockName, trade.LockName(pair[1], pair[0]), name)
		l, err := locks.Acquire(t.Context(), lockName, lock.Options{})
		require.NoError(t, err, name)
		require.NoError(t, l.Release(t.Context()), name)
	}
	require.Equal(t, "trade:ann:bob", trade.LockName("bob", "ann"))
}
