package check_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The panels of the dashboard have ids of their own, and none lies on another. Grafana's schema is
// not asked.
func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../grafana/gateway.json")
	require.NoError(t, err)
	var shown struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ H, W, X, Y int }
		}
	}
	require.NoError(t, json.Unmarshal(b, &shown))
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range shown.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, taken[cell], "%s lies on another panel", p.Title)
				taken[cell] = p.Title
			}
		}
	}
	require.Greater(t, len(ids), 30)
}
