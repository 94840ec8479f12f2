package trade_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/trade"
)

// whileLocked returns the town's service while another holder has the lock of ann and bob, and a
// function that frees the lock. The service waits for the lock for a moment only.
func (w *town) whileLocked(t *testing.T) (s *trade.Service, free func()) {
	t.Helper()
	if !w.ships {
		w.locks.before = func(int64) (int64, error) { return 0, fault.ErrLocked }
		return w.Service, func() { w.locks.before = nil }
	}
	other := lock.New(lock.Config{}, w.rdb)
	t.Cleanup(other.Close)
	lease, err := other.Acquire(t.Context(), trade.LockName("ann", "bob"), lock.Options{})
	require.NoError(t, err)
	ours := managed{Manager: w.elsewhere(), opt: lock.Options{Wait: 50 * time.Millisecond}}
	s = trade.New(w.rdb, ours, scripted{players}, w.told, trade.Config{})
	return s, func() { require.NoError(t, lease.Release(t.Context())) }
}

// Whatever settles between two users is inside their lock (ADR 5): while another holder has it,
// neither a gift nor a trade moves anything, and both go on when it is free.
func nothingSettlesOutsideTheLock(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	opened := w.barter()
	s, free := w.whileLocked(t)
	_, err := s.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.Equal(t, "LOCKED", code(err))
	_, err = s.Execute(t.Context(), bob, gift("ann", "k", 1))
	require.Equal(t, "LOCKED", code(err), "the lock is the same in both directions")
	_, err = s.Accept(t.Context(), bob, agree(opened))
	require.Equal(t, "LOCKED", code(err))
	w.has("anna", "5 apple, 0 gold")
	w.has("bobo", "50 gold")
	state, err := w.State(t.Context(), ann, trade.Ask{TradeID: opened.TradeID})
	require.NoError(t, err)
	require.Equal(t, trade.Open, state.Status)
	require.Zero(t, w.clean().Trades)

	free()
	w.accept(bob, opened)
	_, err = w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	w.has("anna", "2 apple, 10 gold")
	w.has("bobo", "3 apple, 40 gold")
	require.EqualValues(t, 2, w.clean().Trades)
}

// A holder whose fence is older than one under which the pair settled since cannot settle a trade
// either.
func aStaleHolderCannotSettleATrade(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	opened := w.barter()
	use := func(fence int64) { w.locks.before = func(int64) (int64, error) { return fence, nil } }
	use(7)
	_, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	use(6)
	_, err = w.Accept(t.Context(), bob, agree(opened))
	require.Equal(t, "LOCKED", code(err))
	w.has("anna", "4 apple, 0 gold")
	w.has("bobo", "1 apple, 50 gold")
	use(8)
	w.accept(bob, opened)
	w.has("anna", "2 apple, 10 gold")
	w.clean()
}
