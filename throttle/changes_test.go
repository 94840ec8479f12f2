package throttle

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A limit that one node sets holds on the other within moments, in both directions; what
// was spent before still counts, and refusals that are remembered end with their rule.
func TestOverridesReachEveryNodeAndKeepWindows(t *testing.T) {
	t.Parallel()
	a, b, _ := pair(t, Policy{Name: "p", Limit: 4, Window: time.Minute, Scope: ByUser})
	for range 4 {
		require.True(t, spend(t, b, ann, "p").Allowed)
	}
	require.False(t, spend(t, b, ann, "p").Allowed)
	require.NoError(t, a.Override(t.Context(), Override{Name: "p", Limit: 6, Window: time.Minute}))
	require.Eventually(t, func() bool { return spend(t, b, ann, "p").Allowed }, 10*time.Second, time.Millisecond)
	d := spend(t, a, ann, "p")
	require.True(t, d.Allowed)
	require.Equal(t, 6, d.Limit)
	require.Zero(t, d.Remaining, "four and two are six")
	require.False(t, spend(t, a, ann, "p").Allowed)

	require.NoError(t, a.Override(t.Context(), Override{Name: "p", Limit: 2, Window: time.Minute}))
	require.Eventually(t, func() bool { return len(b.Policies()) == 1 && b.Policies()[0].Limit == 2 }, 10*time.Second, time.Millisecond)
	d, err := b.Peek(t.Context(), "p", ann)
	require.NoError(t, err)
	require.Zero(t, d.Remaining)

	require.NoError(t, a.Override(t.Context(), Override{Name: "p"}))
	require.Eventually(t, func() bool { return spend(t, b, ann, "p") == Decision{Allowed: true} }, 10*time.Second, time.Millisecond, "off")
	had, err := a.Restore(t.Context(), "p")
	require.NoError(t, err)
	require.True(t, had)
	require.Eventually(t, func() bool { return !spend(t, b, ann, "p").Allowed }, 10*time.Second, time.Millisecond, "the windows were not lost")
	require.Equal(t, 4, b.Policies()[0].Limit)
	had, err = a.Restore(t.Context(), "p")
	require.NoError(t, err)
	require.False(t, had)
}

// A message may be lost: what it told is read again.
func TestALostMessageIsMadeUpFor(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var told atomic.Int32
	cfg := patient
	cfg.RefreshEvery = 20 * time.Millisecond
	cfg.OnPolicies = func([]PolicyChange) { told.Add(1) }
	l := newLimiter(t, rdb, cfg, Policy{Name: "p", Limit: 4, Window: time.Minute, Scope: ByUser})
	follow(t, l)
	require.Zero(t, told.Load())
	require.NoError(t, rdb.HSet(t.Context(), keys.LimitOverrides, "p", "9/1s").Err())
	require.Eventually(t, func() bool { return l.Policies()[0].Limit == 9 }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return told.Load() == 1 }, 10*time.Second, time.Millisecond, "told once")
}

// What can not be used is told, once, and the rest is in force.
func TestBadOverridesHarmNothing(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var told atomic.Int32
	cfg := patient
	cfg.RefreshEvery = 5 * time.Millisecond
	cfg.OnRefresh = func(error) { told.Add(1) }
	l := newLimiter(t, rdb, cfg, Policy{Name: "p", Limit: 4, Window: time.Minute, Scope: ByUser, Cost: 3})
	require.NoError(t, rdb.HSet(t.Context(), keys.LimitOverrides, "gone", "9/1s", "p@vip", "8/1m", "p", "2/1m", "x y", "z").Err())
	follow(t, l)
	require.Eventually(t, func() bool { return len(l.Overrides()) == 3 }, 10*time.Second, time.Millisecond)
	require.Equal(t, 4, l.Policies()[0].Limit, "2 is less than one event costs")
	require.Equal(t, 8, l.Policies("vip")[0].Limit)
	require.Eventually(t, func() bool { return told.Load() > 0 }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, l.Override(t.Context(), Override{Name: "p", Limit: 2, Window: time.Minute}), ErrBadPolicy)
	require.ErrorIs(t, l.Override(t.Context(), Override{Name: "gone", Limit: 2, Window: time.Minute}), ErrUnknownPolicy)
}

func TestSetPolicies(t *testing.T) {
	t.Parallel()
	p, q := Policy{Name: "p", Limit: 2, Window: time.Minute, Scope: ByUser}, Policy{Name: "q", Limit: 2, Window: time.Minute, Scope: ByUser}
	l := newLimiter(t, redistest.Client(t), patient, p, q)
	for range 2 {
		spend(t, l, ann, "p", "q")
	}
	require.False(t, spend(t, l, ann, "p").Allowed)
	p.Limit = 3
	require.NoError(t, l.SetPolicies([]Policy{p}))
	require.True(t, spend(t, l, ann, "p").Allowed)
	require.False(t, spend(t, l, ann, "p").Allowed, "the window was kept")
	require.Equal(t, Decision{Allowed: true}, spend(t, l, ann, "q"), "what is not there is off, not unknown")
	require.ErrorIs(t, l.SetPolicies([]Policy{p, p}), ErrBadPolicy)
	require.Equal(t, 3, l.Policies()[0].Limit, "nothing changed")
}

func TestPublished(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	got, err := Published(t.Context(), rdb)
	require.NoError(t, err)
	require.Nil(t, got)
	want := []Policy{
		{Name: "p", Limit: 4, Window: 1500 * time.Millisecond, Scope: ByIP, Cost: 2, Roles: []RoleRule{{"vip", 9, time.Minute}, {"mod", 0, 0}}},
		{Name: "off", Scope: Global},
	}
	require.NoError(t, newLimiter(t, rdb, patient, want...).Publish(t.Context()))
	got, err = Published(t.Context(), rdb)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, rdb.Set(t.Context(), keys.LimitPolicies, `[{"policy":"p","rule":"x"}]`, 0).Err())
	_, err = Published(t.Context(), rdb)
	require.Error(t, err)
}

// What players are sent is kept for those without roles, and is new after each change.
func TestPoliciesAsPlayersAreSentThem(t *testing.T) {
	t.Parallel()
	p := Policy{Name: "p", Limit: 2, Window: time.Second, Scope: ByUser, Roles: []RoleRule{{"vip", 4, time.Second}}}
	l := newLimiter(t, redistest.Client(t), patient, p)
	describe := func(roles ...string) string {
		b, err := l.PoliciesJSON(roles)
		require.NoError(t, err)
		return string(b)
	}
	two, four := `{"policies":[{"name":"p","limit":2,"windowMs":1000,"scope":"user"}]}`, `{"policies":[{"name":"p","limit":4,"windowMs":1000,"scope":"user"}]}`
	require.Equal(t, two, describe())
	require.Equal(t, four, describe("vip"), "the same as for players without roles")
	require.Equal(t, two, describe())
	p.Limit = 3
	require.NoError(t, l.SetPolicies([]Policy{p}))
	require.Contains(t, describe(), `"limit":3`, "that of before the change")
	p.Limit, p.Roles = 0, nil
	require.NoError(t, l.SetPolicies([]Policy{p}))
	require.Equal(t, `{"policies":[]}`, describe())
}

func TestRoles(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, redistest.Client(t), patient, Policy{Name: "p", Limit: 2, Window: time.Minute, Scope: ByUser, Roles: []RoleRule{
		{"vip", 4, time.Minute}, {"hero", 6, 2 * time.Minute}, {"muted", 1, time.Minute}, {"mod", 0, 0},
	}})
	for _, c := range []struct {
		roles []string
		limit int
	}{{nil, 2}, {[]string{"other"}, 2}, {[]string{"muted"}, 1}, {[]string{"vip"}, 4}, {[]string{"muted", "hero", "vip"}, 4}, {[]string{"hero"}, 6}} {
		require.Equal(t, c.limit, l.Policies(c.roles...)[0].Limit, c.roles)
	}
	require.Empty(t, l.Policies("vip", "mod"))
	who := func(roles ...string) Subject { return Subject{User: "ann", Roles: roles} }
	require.True(t, spend(t, l, who(), "p").Allowed)
	require.True(t, spend(t, l, who(), "p").Allowed)
	require.False(t, spend(t, l, who(), "p").Allowed)
	require.Equal(t, 1, spend(t, l, who("vip"), "p").Remaining, "one window, judged by other rules")
	require.Equal(t, 2, spend(t, l, who("hero"), "p").Remaining)
	require.False(t, spend(t, l, who("muted"), "p").Allowed)
	require.Equal(t, Decision{Allowed: true}, spend(t, l, who("mod"), "p"))
}

func TestCost(t *testing.T) {
	t.Parallel()
	for name, cluster := range map[string]bool{"one script": false, "spend and give back": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := patient
			cfg.Cluster = cluster
			l := newLimiter(t, redistest.Client(t), cfg,
				Policy{Name: "p", Limit: 10, Window: time.Minute, Scope: ByUser, Cost: 3}, Policy{Name: "q", Limit: 2, Window: time.Minute, Scope: ByUser})
			require.Equal(t, 7, spend(t, l, ann, "p").Remaining)
			require.True(t, spend(t, l, ann, "p", "q").Allowed)
			require.Equal(t, 1, spend(t, l, ann, "p").Remaining)
			d := spend(t, l, ann, "q", "p")
			require.False(t, d.Allowed)
			require.Equal(t, 1, d.Remaining, "one is left, and three are needed")
			require.Equal(t, 0, spend(t, l, ann, "q").Remaining, "the refusal cost it nothing")
		})
	}
}

// A subscription that ends under a limiter, as that of a node that left a Cluster, does not end
// Run.
func TestRunOutlivesItsSubscription(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	l := newLimiter(t, rdb, Config{})
	require.NoError(t, rdb.Close())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	require.Never(t, func() bool { return len(done) > 0 }, 300*time.Millisecond, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

// Overrides are in force together, or not at all; rules for roles are 1,000 at most.
func TestOverridesTogether(t *testing.T) {
	t.Parallel()
	l, err := New(redistest.Client(t), Defaults(false), Config{})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	require.ErrorIs(t, l.Override(t.Context(), Override{Name: "chat", Limit: 7, Window: time.Second}, Override{Name: "nothing", Limit: 7, Window: time.Second}), ErrUnknownPolicy)
	require.Empty(t, l.Overrides())
	configured := 0
	for _, p := range l.All() {
		configured += len(p.Roles)
	}
	var all []Override
	for i := range 1000 - configured {
		all = append(all, Override{Name: "chat", Role: fmt.Sprintf("r%d", i), Limit: i + 1, Window: time.Second})
	}
	require.NoError(t, l.Override(t.Context(), all...))
	require.Len(t, l.Overrides(), len(all))
	require.ErrorIs(t, l.Override(t.Context(), Override{Name: "chat", Role: "more", Limit: 1, Window: time.Second}), ErrBadPolicy)
	require.NoError(t, l.Override(t.Context(), all[0], Override{Name: "chat", Limit: 7, Window: time.Second}), "no further role")
}
