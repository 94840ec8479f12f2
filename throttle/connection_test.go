package throttle

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// Whatever comes when: a window never admits more than the limit in any span of its length, admits
// an event at the time that a refusal promised, and nearly the whole limit of a steady stream.
func TestWindowOfAConnection(t *testing.T) {
	t.Parallel()
	p := Policy{Name: "events", Limit: 300, Window: 3 * time.Second, Scope: ByConnection}
	l := newLimiter(t, redistest.Client(t), patient, p)
	var now time.Duration
	l.clock = func() time.Duration { return now }
	for name, pause := range map[string]func() time.Duration{
		"a flood":         func() time.Duration { return 50 * time.Microsecond },
		"a steady stream": func() time.Duration { return 10 * time.Millisecond },
		"as it comes":     func() time.Duration { return time.Duration(rand.Int64N(int64(20 * time.Millisecond))) },
		"in bursts": func() time.Duration {
			if rand.IntN(400) == 0 {
				return time.Duration(rand.Int64N(int64(4 * time.Second)))
			}
			return 0
		},
	} {
		now = 0
		w := l.OpenConnection("events")
		var admitted []time.Duration
		var promised time.Duration // when the refusal before promised an event
		for range 100_000 {
			d := w.Spend(nil)
			if d.Allowed {
				admitted = append(admitted, now)
				promised = 0
			} else {
				require.Positive(t, d.RetryAfter)
				require.True(t, promised == 0 || now < promised, "%s: at the promised time an event is admitted", name)
				promised = now + d.RetryAfter
				require.Equal(t, "events", d.Policy)
				require.Zero(t, d.Remaining)
			}
			now += pause()
		}
		for i := 300; i < len(admitted); i++ {
			require.GreaterOrEqual(t, admitted[i]-admitted[i-300], 3*time.Second, "%s: 301 events within 3 s", name)
		}
		if name == "a flood" || name == "a steady stream" {
			require.Greater(t, float64(len(admitted)), 0.96*100*now.Seconds(), name)
		}
	}
}

func TestWindowOfAConnectionFollowsItsPolicy(t *testing.T) {
	t.Parallel()
	p := Policy{Name: "events", Limit: 2, Window: time.Second, Scope: ByConnection, Roles: []RoleRule{{"vip", 3, time.Second}, {"bot", 0, 0}}}
	l := newLimiter(t, redistest.Client(t), patient, p)
	var now time.Duration
	l.clock = func() time.Duration { return now }
	w := l.OpenConnection("events")
	require.True(t, w.Spend(nil).Allowed)
	require.Equal(t, 0, w.Spend(nil).Remaining)
	first := w.Spend(nil)
	require.False(t, first.Allowed)
	require.Equal(t, SourceLocal, first.Source)
	require.Equal(t, SourceMemory, w.Spend(nil).Source, "a flood is told from its first refusal")
	require.True(t, w.Spend([]string{"vip"}).Allowed, "a role has a limit of its own")
	require.False(t, w.Spend([]string{"vip"}).Allowed)
	for range 10 {
		require.True(t, w.Spend([]string{"bot"}).Allowed, "off for this role")
	}
	other := l.OpenConnection("events")
	require.True(t, other.Spend(nil).Allowed, "each connection has its own")

	p.Limit, p.Window, p.Roles = 4, 10*time.Second, nil
	require.NoError(t, l.SetPolicies([]Policy{p}))
	require.True(t, w.Spend(nil).Allowed, "three of four have come")
	require.False(t, w.Spend(nil).Allowed)
	now += 10 * time.Second
	require.False(t, w.Spend(nil).Allowed, "what came counts for a window from the change")
	now += 400 * time.Millisecond
	require.True(t, w.Spend(nil).Allowed)

	require.NoError(t, l.SetPolicies(nil))
	for range 10 {
		require.Equal(t, Decision{Allowed: true}, w.Spend(nil), "off")
	}
	require.Equal(t, Decision{Allowed: true}, l.OpenConnection("unknown").Spend(nil))
}

func TestWindowOfAConnectionAllocatesNothing(t *testing.T) { //nolint:paralleltest // it counts allocations
	l := newLimiter(t, redistest.Client(t), patient, Defaults(false)...)
	w := l.OpenConnection("events")
	require.Zero(t, testing.AllocsPerRun(1000, func() { w.Spend(nil) }), "admitted or refused")
}
