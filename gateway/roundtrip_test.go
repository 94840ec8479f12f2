package gateway

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/wiretest"
)

// A client learns the server's clock to the microsecond, and once a ping was answered, how long the
// way there and back is.
func TestTheClockAndTheRoundTrip(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t, func(c *Config) { c.Socket.Engine.PingInterval = 300 * time.Millisecond })
		c, _ := h.enter(t, "ann", transport)

		before := time.Now().UnixMicro()
		first := readClock(t, c)
		require.NotContains(t, first, "roundTripUs", "no ping was answered yet")
		require.GreaterOrEqual(t, first["serverTimeUs"], before)
		require.LessOrEqual(t, first["serverTimeUs"], time.Now().UnixMicro())

		require.Eventually(t, func() bool { return readClock(t, c)["roundTripUs"] > 0 }, wiretest.Patience, tick)
		require.Less(t, readClock(t, c)["roundTripUs"], wiretest.Patience.Microseconds())
		require.Contains(t, ask(t, c, "session:character", `{"characterId":"hero"}`), `"roundTripUs":`)
		registry := prometheus.NewRegistry()
		registry.MustRegister(h.metrics.roundTrips)
		families, err := registry.Gather()
		require.NoError(t, err)
		require.Positive(t, families[0].GetMetric()[0].GetHistogram().GetSampleCount())
	})
}

func readClock(t *testing.T, c *wiretest.Client) map[string]int64 {
	t.Helper()
	answer := ask(t, c, "session:time", "")
	_, data, ok := strings.Cut(strings.TrimSuffix(answer, "}"), `"data":`)
	require.True(t, ok, answer)
	clock := map[string]int64{}
	require.NoError(t, json.Unmarshal([]byte(data), &clock))
	return clock
}
