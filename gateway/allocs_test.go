//go:build !race

package gateway

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// The race detector makes pools drop objects at random, so these tests run without it. They are not
// parallel: every allocation of the process counts.

// silent connects a client that reads nothing more, so that it allocates nothing.
func (h *hall) silent(t *testing.T, user string) {
	t.Helper()
	before := h.Connections()
	c, err := wiretest.Silent(t, h.url, "websocket")
	require.NoError(t, err)
	c.Send(`40{"sessionId":"s-` + user + `"}`)
	require.Eventually(t, func() bool {
		return h.logs.FilterMessage("connection opened").Len() == before+1
	}, wiretest.Patience, tick)
}

func TestAllocationsOfAPing(t *testing.T) {
	h := open(t)
	h.silent(t, "ann")
	c := h.io.Engine().Conns()[0]
	for name, message := range map[string]string{"with an answer": `21["session:ping"]`, "with an empty payload": `212["session:ping",{}]`, "unasked": `2["session:ping"]`} {
		packet := []byte(message)
		perPing := testing.AllocsPerRun(1000, func() { // from the message that was read to the answer in the socket
			if err := c.Handler().Message(c, false, packet); err != nil {
				t.Error(err)
			}
			c.Flush()
		})
		t.Log(name, perPing)
		require.LessOrEqual(t, perPing, 2.0, name)
	}
	require.True(t, c.Open())
}

func TestAllocationsOfABroadcast(t *testing.T) {
	h := open(t)
	payload := &total{42}
	cast := func(members int) float64 {
		for i := h.Connections(); i < members; i++ {
			h.silent(t, "u1")
		}
		for id := range h.conns.Range {
			_, err := h.Join(t.Context(), id.(string), "zone")
			require.NoError(t, err)
		}
		return testing.AllocsPerRun(500, func() {
			if err := h.Cast(context.Background(), "zone", "zone:tick", payload); err != nil {
				t.Error(err)
			}
		})
	}
	one := cast(1)
	hundred := cast(101)
	t.Log("allocations of a cast to 1:", one, "to 101:", hundred)
	require.LessOrEqual(t, hundred-one, 1.0, "a hundred more deliveries allocate nothing")
	require.LessOrEqual(t, one, 3.0)
}

// A refused event in a flood allocates its answer and nothing else.
func TestAllocationsOfARefusal(t *testing.T) {
	h := open(t, func(c *Config) { c.CloseAfter, c.Log = -1, zap.NewNop() })
	conn, err := wiretest.Silent(t, h.url, "websocket")
	require.NoError(t, err)
	conn.Send(`40{"sessionId":"s-ann"}`)
	require.Eventually(t, func() bool {
		n := 0
		h.conns.Range(func(any, any) bool { n++; return true })
		return n == 1
	}, wiretest.Patience, tick)
	c := h.io.Engine().Conns()[0]
	refused := func() {
		s := h.findConn(firstConn(h))
		h.answerRateLimited(s, s.socket, &socketio.Event{ID: 7, HasID: true}, Verdict{Known: true, Limit: fault.Limit{Policy: "combat", Scope: "user", Limit: 2, Window: time.Minute, RetryAfter: time.Second}})
		c.Flush()
	}
	refused()
	n := testing.AllocsPerRun(1000, refused)
	t.Log("allocations of a refusal:", n)
	require.LessOrEqual(t, n, 1.0)
}

func firstConn(h *hall) (id string) {
	h.conns.Range(func(k, _ any) bool { id = k.(string); return false })
	return id
}
