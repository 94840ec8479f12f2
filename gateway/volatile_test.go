package gateway

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// A client that reads nothing misses volatile casts, which are counted, and is not closed for being
// slow. A client that keeps up gets them, also by CastUser.
func TestVolatileCastsAreDropped(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.Casts = []event.Cast{event.Sends[string]("game:aim", "").Volatile()} })
	slow, err := wiretest.Silent(t, h.url, "websocket")
	require.NoError(t, err)
	slow.Send(`40{"sessionId":"s-ann"}`)
	h.lines(t, "connection opened", 1)
	quick, conn := h.enter(t, "root")
	_, err = h.Join(t.Context(), conn, "hall")
	require.NoError(t, err)

	require.NoError(t, h.Cast(t.Context(), "hall", "game:aim", "7"))
	quick.Expect(`42["game:aim","7"]`)
	reached, isWhole, err := h.CastUser(t.Context(), "root", "game:aim", "8")
	require.NoError(t, err)
	require.Equal(t, [2]any{1, true}, [2]any{reached, isWhole})
	quick.Expect(`42["game:aim","8"]`)

	large := strings.Repeat("x", 64<<10)
	for h.io.Engine().DroppedVolatile() == 0 {
		require.NoError(t, h.Cast(t.Context(), "user:ann", "game:aim", large))
	}
	require.Equal(t, 2, h.Connections(), "nobody is closed for it")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(h.metrics)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "gateway_volatile_dropped_total" {
			require.Positive(t, f.Metric[0].Counter.GetValue())
			return
		}
	}
	require.Fail(t, "it is not counted")
}
