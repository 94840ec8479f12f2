package trade_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/trade"
)

func TestWhatTheServerLacksIsRefused(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	check := func(d trade.Durability) error {
		return trade.New(rdb, open{}, players, &casts{}, trade.Config{Durability: d}).Check(t.Context())
	}
	require.NoError(t, check(trade.None))
	require.ErrorIs(t, check(trade.Wait), trade.ErrDurability, "no replica")
	require.ErrorIs(t, check(trade.Durability("paper")), trade.ErrDurability)
	err := check(trade.Fsync)
	require.ErrorIs(t, err, trade.ErrDurability)
	if known := rdb.Do(t.Context(), "command", "info", "waitaof").Val().([]any); known[0] == nil {
		require.Contains(t, strings.ToLower(err.Error()), "unknown command", "Redis before 7.2")
	}
}

// With wait, an ok is in the replica; without a replica there is no ok, and a repeat tells the
// outcome once there is one again.
func TestWaitMeansThatAReplicaHasIt(t *testing.T) {
	t.Parallel()
	master := redistest.Server(t)
	replica := redistest.Server(t, "--replicaof", "127.0.0.1 "+strings.Split(master.Addr(), ":")[1])
	w := newTown(t, master.Client())
	w.Service = trade.New(w.rdb, w.locks, players, w.told, trade.Config{Durability: trade.Wait})
	require.Eventually(t, func() bool { return w.Check(t.Context()) == nil }, waitFor, tick)
	first := grant("anna", "apple", 100, 0)
	first.Key = "first"
	require.Eventually(t, func() bool { // who has just come is counted, and may still load
		_, err := w.Mint(t.Context(), first)
		return err == nil
	}, waitFor, tick)
	w.mint("bobo", "", 0, 50)
	for i := range 10 {
		_, err := w.Execute(t.Context(), ann, gift("bob", fmt.Sprint("k", i), 0, some("apple", 1)))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i+1), replica.Client().HGet(t.Context(), "char:bobo:inventory", "item:apple").Val(), "there when the ok is")
	}
	o := w.propose(ann, "bob")
	o = w.offer(bob, o, 5)
	w.accept(bob, w.accept(ann, o))
	require.Equal(t, "5", replica.Client().HGet(t.Context(), "char:anna:inventory", "gold").Val())

	replica.Kill()
	_, err := w.Execute(t.Context(), ann, gift("bob", "late", 0, some("apple", 1)))
	require.Equal(t, "UNAVAILABLE", code(err))
	_, err = w.Execute(t.Context(), ann, gift("bob", "late", 0, some("apple", 1)))
	require.Equal(t, "UNAVAILABLE", code(err), "a repeat waits too")
	replica.Restart()
	require.Eventually(t, func() bool {
		_, err = w.Execute(t.Context(), ann, gift("bob", "late", 0, some("apple", 1)))
		return err == nil
	}, waitFor, tick)
	require.Equal(t, "11", replica.Client().HGet(t.Context(), "char:bobo:inventory", "item:apple").Val())
	w.has("bobo", "11 apple, 45 gold")
	w.clean()
}

// With fsync, an ok is on disk, as the server says: it dies, and what was told is there when it
// comes back. Where it keeps no file there is no ok. (That the disk keeps its word when the power
// fails is not tested.)
func TestFsyncMeansThatTheDiskHasIt(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"always", "everysec"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			server := redistest.ServerWithWaitAOF(t, "--appendonly", "yes", "--appendfsync", policy)
			w := newTown(t, server.Client())
			w.Service = trade.New(w.rdb, w.locks, players, w.told, trade.Config{Durability: trade.Fsync})
			require.NoError(t, w.Check(t.Context()))
			w.mint("anna", "apple", 1000, 0)
			given := 0
			for round := range 3 {
				for i := range 20 {
					_, err := w.Execute(t.Context(), ann, gift("bob", fmt.Sprint(round, "-", i), 0, some("apple", 1)))
					require.NoError(t, err)
					given++
				}
				server.Kill()
				server.Restart()
				require.Eventually(t, func() bool { return w.Check(t.Context()) == nil }, waitFor, tick)
				w.has("bobo", fmt.Sprint(given, " apple, 0 gold"))
			}
			w.clean()

			// A disk that can not keep up: no ok, and a repeat tells the outcome.
			require.NoError(t, w.rdb.ConfigSet(t.Context(), "appendonly", "no").Err())
			_, err := w.Execute(t.Context(), ann, gift("bob", "late", 0, some("apple", 1)))
			require.NotEmpty(t, code(err), "nothing is on disk")
			require.NoError(t, w.rdb.ConfigSet(t.Context(), "appendonly", "yes").Err())
			require.Eventually(t, func() bool {
				_, err = w.Execute(t.Context(), ann, gift("bob", "late", 0, some("apple", 1)))
				return err == nil
			}, waitFor, tick)
			w.has("bobo", fmt.Sprint(given+1, " apple, 0 gold"))
		})
	}
}
