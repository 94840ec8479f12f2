package check_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/stretchr/testify/require"
)

// faultsOf returns what is wrong with a dashboard by the types that Grafana generates from its
// schemas: unknown and missing fields, and values of another type, also in the options of panels
// and in queries.
func faultsOf(t *testing.T, text string) string {
	t.Helper()
	err := new(dashboard.Dashboard).UnmarshalJSONStrict([]byte(text))
	var faults cog.BuildErrors // it is never a nil error; without a fault the list is empty
	require.ErrorAs(t, err, &faults)
	return faults.Error()
}

// The dashboard is one by the schemas of Grafana. No two panels have one id, or lie on each other.
func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	plugins.RegisterDefaultPlugins() // the schemas of panels and of Prometheus' queries
	b, err := os.ReadFile("../grafana/gateway.json")
	require.NoError(t, err)
	require.Empty(t, faultsOf(t, string(b)))
	for was, fault := range map[string]string{
		`"schemaVersion"`:        `"schemaVersions"`,
		`"wideLayout": true`:     `"wideLayout": "yes"`,
		`"lineWidth"`:            `"lineWidths"`,
		`"refId": "A"`:           `"refId": 1`,
		`"showPercentChange": `:  `"showsPercentChange": `,
		`"editorMode": "code"`:   `"editorModes": "code"`,
		`"fiscalYearStartMonth"`: `"month"`,
	} {
		require.Contains(t, string(b), was)
		require.NotEmpty(t, faultsOf(t, strings.Replace(string(b), was, fault, 1)), "a planted fault is found: %s", fault)
	}

	var shown dashboard.Dashboard
	require.NoError(t, json.Unmarshal(b, &shown))
	require.NoError(t, shown.Validate())
	ids, taken, queries := map[uint32]bool{}, map[[2]uint32]string{}, 0
	for _, panel := range shown.Panels {
		id, at, title := uint32(0), (*dashboard.GridPos)(nil), ""
		if p := panel.Panel; p != nil {
			id, at, title = *p.Id, p.GridPos, *p.Title
			queries += len(p.Targets)
		} else {
			id, at, title = panel.RowPanel.Id, panel.RowPanel.GridPos, *panel.RowPanel.Title
		}
		require.False(t, ids[id], "two panels have the id %d", id)
		ids[id] = true
		require.LessOrEqual(t, at.X+at.W, uint32(24), title)
		for x := range at.W {
			for y := range at.H {
				cell := [2]uint32{at.X + x, at.Y + y}
				require.Empty(t, taken[cell], "%s lies on another panel", title)
				taken[cell] = title
			}
		}
	}
	require.Greater(t, len(ids), 30)
	require.Greater(t, queries, 30)
}
