package castlog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// A claim that is sent again, because its answer was lost, is answered as before. Another one is
// refused for a second.
func TestAClaimIsAnsweredAgain(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	nodes := make([]*Log, 2)
	for i, name := range []string{"a", "b"} {
		nodes[i] = New(Config{
			Redis: rdb, Prefix: "test", Node: name, RecordsKeptFor: time.Minute,
			Check: func([]byte) (string, bool) { return "", true }, Deliver: func(any, []byte, Position) {}, OnForgotten: func() {},
		})
		nodes[i].Start()
		t.Cleanup(nodes[i].Close)
	}
	var at Position
	require.Eventually(t, func() bool {
		var err error
		at, _, err = nodes[0].ReadLogs(t.Context(), []string{"r"})
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	pid := HashPID("secret")
	_, err := nodes[0].WriteRecords(t.Context(), []RecordChange{
		{What: RecordNew, PID: pid, Values: []string{"owner", "sid", "r"}},
		{What: RecordEnd, PID: pid, Values: []string{"0"}},
	})
	require.NoError(t, err)
	one := Claimant{PID: pid, Claim: "one", Owner: "owner", Offset: at}
	two := one
	two.Claim = "two"
	first, why, err := nodes[1].TakeRecord(t.Context(), one)
	require.NoError(t, err)
	require.Empty(t, why)
	require.Equal(t, Taken{SocketID: "sid", Former: "a", IsEnded: true, Generation: 1, Rooms: []TakenRoom{{"r", 0}}}, first)
	again, why, err := nodes[1].TakeRecord(t.Context(), one)
	require.NoError(t, err)
	require.Empty(t, why)
	require.Equal(t, first, again)
	for _, l := range nodes {
		_, why, err = l.TakeRecord(t.Context(), two)
		require.NoError(t, err)
		require.Equal(t, "busy", why)
	}
	_, why, err = nodes[0].TakeRecord(t.Context(), one)
	require.NoError(t, err)
	require.Equal(t, "busy", why, "the claim of another node")
}
