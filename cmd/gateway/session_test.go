package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestSessionStats(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	create(t, url, "ann")
	create(t, url, "ann")
	must(t, "session", "revoke", create(t, url, "bob"), "--redis", url)
	var stats struct{ Active, Users, MaxPerUser, Created, Destroyed, Expired int }
	require.NoError(t, json.Unmarshal([]byte(must(t, "session", "stats", "--json", "--redis", url)), &stats))
	require.Equal(t, struct{ Active, Users, MaxPerUser, Created, Destroyed, Expired int }{2, 1, 2, 3, 1, 0}, stats)
	require.Regexp(t, `ACTIVE +USERS .*\n2 +1 +2 +3 +1 +0$`, must(t, "session", "stats", "--redis", url))
	_, _, code := command(t, "session", "stats", "--redis", "redis://127.0.0.1:1")
	require.Equal(t, cli.ExitUnreachable, code)
}

// A session that is idle on one gateway and busy on the other lives; when it is idle on
// both, both warn and then end it.
func TestIdleOnOneGatewayBusyOnTheOther(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	one, two := serve(t, "--redis", url), serve(t, "--redis", url)
	id := create(t, url, "ann", "--ttl", "2s")
	idle, busy := one.connect(id), two.connect(id)
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); {
		require.Positive(t, busy.ok("session:ping", "")["ttlMs"])
		require.True(t, idle.open())
		_, warned := idle.look("42", func(f frame) bool { return f.name == "session:expiring" })
		require.False(t, warned)
		<-time.After(50 * time.Millisecond) // a player's pace
	}
	for _, p := range []*player{idle, busy} {
		left := p.event("session:expiring")["expiresInMs"]
		require.Greater(t, left, 0.0)
		require.LessOrEqual(t, left, 200.0)
		require.Equal(t, "SESSION_EXPIRED", p.event("session:revoked")["code"])
		require.True(t, p.ended())
	}
}

func TestAPingCountsItself(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url)
	p := g.connect(create(t, url, "ann", "--ttl", "3s"))
	var last float64
	require.Eventually(t, func() bool { // until a touch is due, which is each 300 ms
		last, _ = p.ok("session:ping", "")["ttlMs"].(float64)
		return last < 2800
	}, patience, tick)
	require.Eventually(t, func() bool {
		next, _ := p.ok("session:ping", "")["ttlMs"].(float64)
		slid := next > last
		last = next
		return slid
	}, patience, tick)
	require.Greater(t, last, 2980.0, "the very ping that slides it says so")
}
