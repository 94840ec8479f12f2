package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

func TestJobsCommand(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Server(t)
	rdb := server.Client()
	require.NoError(t, rdb.Set(ctx, keys.Temp("upload", "1"), "forgotten", 0).Err())
	require.NoError(t, rdb.Set(ctx, keys.Temp("upload", "2"), "lives", time.Hour).Err())
	require.NoError(t, rdb.Set(ctx, keys.Lock("trade:a:b"), "of the dead", 0).Err())
	for _, name := range []string{"temp", "locks", "sessions", "leaderboards"} {
		out, errs, code := command(t, "jobs", "run", name, "--redis", server.URL())
		require.Zero(t, code, errs)
		require.Contains(t, out, name+": done in ")
	}
	require.Equal(t, int64(1), rdb.Exists(ctx, keys.Temp("upload", "1"), keys.Temp("upload", "2"), keys.Lock("trade:a:b")).Val())
	require.Equal(t, "[]", rdb.Get(ctx, keys.Leaderboard("global")).Val())
	require.InDelta(t, 2*time.Hour, rdb.PTTL(ctx, keys.Leaderboard("global")).Val(), float64(time.Minute))
	require.InDelta(t, time.Hour, rdb.PTTL(ctx, keys.Leaderboard("weekly")).Val(), float64(time.Minute))

	out, errs, code := command(t, "jobs", "list", "--redis", server.URL())
	require.Zero(t, code, errs)
	require.Equal(t, 5, strings.Count(out, "\n"), out)
	out, _, code = command(t, "jobs", "list", "--json", "--redis", server.URL())
	require.Zero(t, code)
	var all []housekeeping.View
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	require.Len(t, all, 4)
	for _, j := range all {
		require.Equal(t, int64(1), j.Runs, j.Name)
		require.Empty(t, j.LastError)
		require.Equal(t, "command", j.Node)
		require.WithinDuration(t, time.Now(), time.UnixMilli(j.LastRunAt), patience)
	}

	_, _, code = command(t, "jobs", "run", "nothing", "--redis", server.URL())
	require.Equal(t, cli.ExitUsage, code)
	_, _, code = command(t, "jobs", "run", "temp")
	require.Equal(t, cli.ExitUsage, code)
	server.Kill()
	_, _, code = command(t, "jobs", "list", "--redis", server.URL())
	require.Equal(t, cli.ExitUnreachable, code)
}

func TestNodesDoTheJobs(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	a, b := serve(t, "--redis", url, "--node", "a"), serve(t, "--redis", url, "--node", "b")
	require.Eventually(t, func() bool {
		done := 0
		for _, j := range do(t, "GET", a.admin+"/health/detailed", "").json(t)["jobs"].([]any) {
			if j.(map[string]any)["runs"] == 1. {
				done++
			}
		}
		return done == 4
	}, patience, tick, "each once, at the start")
	for _, g := range []*gate{a, b} {
		metrics := string(do(t, "GET", g.admin+"/metrics", "").body)
		require.Contains(t, metrics, "gateway_jobs_leader{")
		require.Contains(t, metrics, `gateway_lock_acquisitions_total{outcome="acquired"}`)
		locks := do(t, "GET", g.admin+"/health/detailed", "").json(t)["locks"].(map[string]any)
		for _, name := range []string{"held", "waiting", "refused", "waitP99Ms", "holdP99Ms", "mostContended"} {
			require.Contains(t, locks, name)
		}
	}
	got := do(t, "GET", b.public+"/api/leaderboards/weekly", "")
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"name":"weekly","entries":[]}`, string(got.body))
}

// Two sessions of ann and one of bob live, and one of cat was logged out.
func TestDetailedHealthCountsAllSessions(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	for _, name := range []string{"ann", "ann", "bob"} {
		g.guest(name)
	}
	require.Equal(t, 204, do(t, "POST", g.public+"/auth/logout", "", bearer(g.guest("cat"))...).status)
	var totals map[string]any
	require.Eventually(t, func() bool {
		totals, _ = do(t, "GET", g.admin+"/health/detailed", "").json(t)["sessionTotals"].(map[string]any)
		return totals != nil
	}, patience, tick)
	require.InDelta(t, time.Now().UnixMilli(), totals["countedAt"], float64(patience.Milliseconds()))
	delete(totals, "countedAt")
	require.Equal(t, map[string]any{"active": 3., "users": 2., "maxPerUser": 2., "created": 4., "destroyed": 1., "expired": 0.}, totals)
}

func TestDetailedHealthAnswersWhateverRedisDoes(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t, "--requirepass", "hunter2")
	g := serve(t, "--redis", "redis://:hunter2@"+server.Addr(), "--dev")
	check := func(want int) map[string]any {
		var last answer
		require.Eventually(t, func() bool {
			start := time.Now()
			last = do(t, "GET", g.admin+"/health/detailed", "")
			return last.status == want && time.Since(start) < time.Second
		}, patience, tick, "within a second")
		for _, part := range []string{"redis", "breakers", "cache", "sessions", "locks", "limits", "jobs", "connections", "version"} {
			require.Contains(t, last.json(t), part)
		}
		require.NotContains(t, string(last.body), "hunter2")
		return last.json(t)
	}
	id := g.guest("ann")
	g.connect(id)
	require.Equal(t, 1., check(200)["connections"])
	require.NotContains(t, string(do(t, "GET", g.admin+"/health/detailed", "").body), id)
	server.Pause()
	check(503)
	server.Resume()
	check(200)
	server.Kill()
	check(503)
	g.status(g.public+"/health/redis", 503, time.Second+patience)
	g.status(g.public+"/health/live", 200, time.Second)
	server.Restart()
	g.status(g.public+"/health/redis", 200, patience)
	check(200)
}
