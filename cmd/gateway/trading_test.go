package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// Two players on two gateways trade; one leaves before the end, and is told when they are back. On
// one server and on a Cluster.
func TestATradeOverTwoGateways(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func() string{
		"one server": func() string { return redistest.Server(t).URL() },
		"a Cluster":  func() string { return redistest.StartCluster(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			url := url()
			g, h := serve(t, "--redis", url, "--dev"), serve(t, "--redis", url, "--dev")
			session := h.guest("bob")
			ann, bob := g.connect(g.guest("ann")), h.connect(session)
			must(t, "trade", "mint", "--character", "ann", "--item", "sword", "--qty", "1", "--redis", url)
			must(t, "trade", "mint", "--character", "bob", "--gold", "50", "--key", "start", "--redis", url)
			must(t, "trade", "mint", "--character", "bob", "--gold", "50", "--key", "start", "--redis", url)

			id, _ := ann.ok("trade:propose", `{"to":"bob"}`)["tradeId"].(string)
			require.Equal(t, id, bob.event("trade:proposed")["tradeId"])
			require.Contains(t, must(t, "trade", "list", "--open", "--redis", url), id)
			ann.ok("trade:offer", fmt.Sprintf(`{"tradeId":%q,"items":[{"itemId":"sword","qty":1}],"gold":0,"version":1}`, id))
			bob.ok("trade:offer", fmt.Sprintf(`{"tradeId":%q,"items":[],"gold":40,"version":2}`, id))
			accept := fmt.Sprintf(`{"tradeId":%q,"version":3}`, id)
			require.Equal(t, "open", bob.ok("trade:accept", accept)["status"])
			require.Equal(t, "TRADE_STALE", ann.refused("trade:accept", fmt.Sprintf(`{"tradeId":%q,"version":2}`, id))["code"])
			require.NoError(t, bob.conn.Close())
			require.Equal(t, "completed", ann.ok("trade:accept", accept)["status"])

			bob = h.connect(session)
			require.Equal(t, id, bob.event("trade:completed")["tradeId"])
			require.Equal(t, "completed", bob.ok("trade:state", fmt.Sprintf(`{"tradeId":%q}`, id))["status"])
			require.Equal(t, map[string]any{"items": []any{map[string]any{"itemId": "sword", "qty": 1.0}}, "gold": 10.0}, bob.ok("inventory:list", ``))
			require.Contains(t, must(t, "trade", "audit", "--redis", url), "1 trades, 2 mints")
			require.Contains(t, must(t, "trade", "show", id, "--redis", url), "40 gold")
		})
	}
}
