package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/throttle"
)

// Every event of the table spends a policy that is in force, or says why it needs none.
func TestEveryEventHasABudget(t *testing.T) {
	t.Parallel()
	routes, _, policies, err := Tables(Config{})
	require.NoError(t, err)
	byName := map[string]throttle.Policy{}
	for _, p := range policies {
		byName[p.Name] = p
	}
	require.NotEmpty(t, routes)
	for _, r := range routes {
		require.NotEqual(t, len(r.Limits) == 0, r.NoLimit == "", "%s: names the policies that it spends, or says why it spends none", r.Name)
		for _, name := range r.Limits {
			require.Contains(t, byName, name, r.Name)
			require.Equal(t, throttle.ByUser, byName[name].Scope, "%s: %s", r.Name, name)
		}
		if len(r.Roles) > 0 {
			require.Contains(t, r.Limits, "moderation", r.Name)
		}
	}
	for name, perSecond := range map[string]int{"events": 100, "reads": 20, "rooms": 5, "moderation": 5} {
		p := byName[name]
		require.InDelta(t, perSecond, float64(p.Limit)/p.Window.Seconds(), 0, "%s a second", name)
		require.Equal(t, 3*perSecond, p.Limit, "%s at once: three times as many", name)
	}
	require.Equal(t, throttle.ByConnection, byName["events"].Scope)
}
