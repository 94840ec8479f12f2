package trade_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/trade"
)

// judged returns what Auto finds.
func judged(t *testing.T, s *trade.Service) trade.Judgement {
	t.Helper()
	require.NoError(t, s.Check(t.Context()))
	found, err := s.JudgeDurability(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, found.Why)
	return found
}

func newAuto(t *testing.T, server *redistest.Instance) *trade.Service {
	return trade.New(server.Client(), open{}, players, &casts{}, trade.Config{Durability: trade.Auto})
}

// With Auto the best holds that Redis can do: fsync where it has an append-only file and WAITAOF,
// wait where it has a replica, else none.
func TestAutoIsTheBestThatRedisCanDo(t *testing.T) {
	t.Parallel()
	t.Run("fsync", func(t *testing.T) {
		t.Parallel()
		for _, policy := range []string{"always", "everysec"} {
			server := redistest.ServerWithWaitAOF(t, "--appendonly", "yes", "--appendfsync", policy)
			require.Equal(t, trade.Fsync, judged(t, newAuto(t, server)).Durability, policy)
		}
	})
	t.Run("a file that the system writes when it likes", func(t *testing.T) {
		t.Parallel()
		server := redistest.ServerWithWaitAOF(t, "--appendonly", "yes", "--appendfsync", "no")
		found := judged(t, newAuto(t, server))
		require.Equal(t, trade.None, found.Durability)
		require.Contains(t, found.Why, "confirmed nothing in time")
		require.Contains(t, found.Why, "no replica")
	})
	t.Run("no right to wait", func(t *testing.T) {
		t.Parallel()
		server := redistest.ServerWithWaitAOF(t, "--appendonly", "yes")
		require.NoError(t, server.Client().Do(t.Context(), "acl", "setuser", "default", "-waitaof").Err())
		found := judged(t, newAuto(t, server))
		require.Equal(t, trade.None, found.Durability)
		require.Contains(t, found.Why, "+waitaof")
	})
	t.Run("no right to ask", func(t *testing.T) {
		t.Parallel()
		server := redistest.ServerWithWaitAOF(t, "--appendonly", "yes")
		require.NoError(t, server.Client().Do(t.Context(), "acl", "setuser", "default", "-info").Err())
		require.Equal(t, trade.Fsync, judged(t, newAuto(t, server)).Durability, "it is tried")
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		found := judged(t, newAuto(t, redistest.Server(t)))
		require.Equal(t, trade.None, found.Durability)
		require.Contains(t, found.Why, "no append-only file")
		require.Contains(t, found.Why, "no replica")
	})
	t.Run("configured", func(t *testing.T) {
		t.Parallel()
		s := trade.New(redistest.Server(t).Client(), open{}, players, &casts{}, trade.Config{})
		require.Equal(t, trade.None, judged(t, s).Durability)
	})
}

// When a file is switched on or off, the next judgement follows.
func TestAutoFollowsRedis(t *testing.T) {
	t.Parallel()
	master := redistest.ServerWithWaitAOF(t)
	s := newAuto(t, master)
	holds := func(want trade.Durability) {
		t.Helper()
		require.Eventually(t, func() bool { return judged(t, s).Durability == want }, waitFor, tick)
	}
	holds(trade.None)
	set := func(value string) {
		require.NoError(t, master.Client().ConfigSet(t.Context(), "appendonly", value).Err())
	}
	set("yes")
	holds(trade.Fsync)
	set("no")
	holds(trade.None)
}

// A replica that dies takes its promise with it; what is judged while Redis is away stays.
func TestAutoWithoutItsReplica(t *testing.T) {
	t.Parallel()
	master := redistest.Server(t)
	replica := redistest.Server(t, "--replicaof", "127.0.0.1 "+strings.Split(master.Addr(), ":")[1])
	s := newAuto(t, master)
	judge := func() trade.Durability {
		found, _ := s.JudgeDurability(t.Context())
		return found.Durability
	}
	require.Eventually(t, func() bool {
		s = newAuto(t, master) // which has not been tried before
		return judge() == trade.Wait
	}, waitFor, tick)
	master.Pause()
	_, err := s.JudgeDurability(t.Context())
	require.Error(t, err)
	require.Equal(t, trade.Wait, judge(), "it holds while Redis is away")
	master.Resume()
	replica.Kill()
	require.Eventually(t, func() bool { return judge() == trade.None }, waitFor, tick)
}
