package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
)

func TestOnlyActivitySlidesASession(t *testing.T) {
	t.Parallel()
	const ttl, interval = 6 * time.Second, 600 * time.Millisecond
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--dev", "--session-ttl", ttl.String(), patientLimits, "--limit", "combat=1/1m", "--limit", "errors=off", "--limit-close-after", "0", "--ping-interval", "200ms", "--ping-timeout", "10s")
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	left := func(id string) time.Duration {
		d, err := rdb.PTTL(t.Context(), keys.Session(id)).Result()
		require.NoError(t, err)
		return d
	}

	annID, bobID := g.guest("ann"), g.guest("bob")
	ann, bob := g.connect(annID), g.connect(bobID)
	for _, p := range []*player{ann, bob} {
		p.ok("chat:join", `{"channel":"global"}`)
	}
	fight := bob.ok("combat:start", `{"npc":"training-dummy"}`)["combatId"].(string)
	act := `{"combatId":"` + fight + `","action":"defend"}`
	bob.ok("combat:action", act)

	// From here on ann speaks, and bob is refused, is delivered to and answers heartbeats. His
	// last activity may still be on its way for an interval.
	was := ttl
	require.Eventually(t, func() bool {
		ann.ask("session:ping", "")
		bob.refused("combat:action", act)
		bob.refused("chat:join", `{"channel":"nowhere"}`)
		bob.refused("no:such", "")
		now := left(bobID)
		require.LessOrEqual(t, now, was+interval, "a refusal or a delivery slid the session")
		was = min(was, now)
		require.Positive(t, left(annID))
		require.Greater(t, left(annID), ttl-2*interval-time.Second, "ann's activity slides hers")
		return now < ttl-3*interval
	}, patience, 20*time.Millisecond)
	require.NotEmpty(t, bob.frames)

	// Activity over HTTP slides it too.
	before := left(bobID)
	require.Equal(t, 200, do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"x"}`, bearer(bobID)...).status)
	require.Eventually(t, func() bool { return left(bobID) > before+interval }, patience, tick)

	// And an event, within a second.
	require.Eventually(t, func() bool { return left(bobID) < ttl-2*interval }, patience, tick)
	bob.ok("session:ping", "")
	require.Eventually(t, func() bool { return left(bobID) > ttl-2*interval }, soon, tick)
}

func TestAnIdleSessionRunsOutWhileConnected(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--session-ttl", "1s", "--ping-interval", "100ms", "--ping-timeout", "10s")
	id := g.guest("ann")
	p := g.connect(id)
	require.Equal(t, "SESSION_EXPIRED", p.event("session:revoked")["code"])
	require.True(t, p.ended())
	require.Equal(t, 401, do(t, "POST", g.public+"/auth/logout", "", bearer(id)...).status)
}
