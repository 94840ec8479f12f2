package webhooks

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

func xadd(values []any) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: keys.Webhooks, Values: values}
}

// runConnections runs c until stop is called.
func runConnections(t *testing.T, c *Connections) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

func player(n int) event.Player {
	return event.Player{UserID: fmt.Sprint("user", n), SessionID: fmt.Sprint("session", n), Conn: fmt.Sprint("conn", n)}
}

// Each beginning is told once and each end once, in this order, with no secret in it.
func TestConnectionsAreTold(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	rec := newReceiver(t, nil)
	d, _ := start(t, rdb, rec, NewOutbox(rdb, Types(), 10_000))
	c := d.NewConnections("one")
	stop := runConnections(t, c)
	for n := range 100 {
		c.Connected(player(n))
		c.Connected(player(n)) // who comes back with the same connection
	}
	for n := range 100 {
		c.DisconnectedBecause(player(n), `transport "close"`)
		c.Disconnected(player(n))
	}
	all := rec.await(200)
	require.Len(t, all, 200)
	for n := range 100 {
		var types []string
		for _, e := range all {
			if e.Players[0].UserID == fmt.Sprint("user", n) {
				types = append(types, e.Type)
				require.NotContains(t, string(e.Data), fmt.Sprintf(`"session%d"`, n))
				require.Equal(t, e.Type == Disconnected, strings.Contains(string(e.Data), `"reason":"transport \"close\""`))
			}
		}
		require.Equal(t, []string{Connected, Disconnected}, types)
	}
	stop()
	require.Empty(t, rdb.Keys(t.Context(), keys.WebhookConnections("*")).Val())
	require.Zero(t, rdb.HLen(t.Context(), keys.WebhookNodes).Val())
}

// The ends of a dead node's connections are told by another node; those of one that was believed
// dead begin anew.
func TestADeadNodesConnections(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	rec := newReceiver(t, nil)
	d, _ := start(t, rdb, rec, NewOutbox(rdb, Types(), 10_000))
	dead, alive := d.NewConnections("dead"), d.NewConnections("alive")
	for n := range 250 {
		dead.Connected(player(n))
	}
	require.EqualValues(t, 1, dead.raiseNumber(t.Context(), 0))
	require.True(t, dead.flushChanges(t.Context()))
	runConnections(t, alive)
	alive.Connected(player(1000))
	all := rec.await(251 + 250)
	lost := 0
	for _, e := range all {
		if e.Type == Disconnected {
			require.Contains(t, string(e.Data), `"reason":"node lost"`)
			require.Contains(t, string(e.Data), `"node":"dead"`)
			lost++
		}
	}
	require.Equal(t, 250, lost)

	runConnections(t, dead) // it was only slow
	again := rec.await(251 + 250 + 250)[501:]
	for _, e := range again {
		require.Equal(t, Connected, e.Type)
	}
}

// While Redis takes nothing, changes wait, in a bound; later the difference is told.
func TestConnectionsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := server.Client()
	o := NewOutbox(rdb, Types(), 100_000)
	d := NewDispatcher(Config{Redis: rdb, Outbox: o})
	c := d.NewConnections("one")
	c.Connected(player(-1))
	require.True(t, c.flushChanges(t.Context()))
	server.Kill()
	for n := range maxChanges {
		c.Connected(player(n))
	}
	require.Len(t, c.changes, maxChanges)
	c.Connected(player(maxChanges))
	c.Disconnected(player(-1))
	require.Len(t, c.changes, maxChanges, "no more wait")
	require.True(t, c.mustDiff)
	server.Restart()
	runConnections(t, c)
	require.Eventually(t, func() bool {
		return rdb.HLen(t.Context(), keys.WebhookConnections(c.id)).Val() == maxChanges+1 && !rdb.HExists(t.Context(), keys.WebhookConnections(c.id), "conn-1").Val()
	}, soon, 10*time.Millisecond)
}

func TestNobodyIsTold(t *testing.T) {
	t.Parallel()
	var none *Outbox
	require.Empty(t, none.LedgerLua())
	require.Empty(t, none.SessionLua())
	require.NoError(t, none.Write(t.Context(), CombatEnded, "", nil))
	o := NewOutbox(nil, []string{CombatEnded}, 1)
	require.Empty(t, o.LedgerLua())
	require.Nil(t, NewDispatcher(Config{Outbox: o}).NewConnections("one"))
}

// What is written again, because the answer of Redis was lost, has the ids of the first time.
func TestChangesThatAreWrittenAgain(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	c := NewDispatcher(Config{Redis: rdb, Outbox: NewOutbox(rdb, Types(), 100)}).NewConnections("one")
	c.Connected(player(1))
	c.Disconnected(player(1))
	part := c.changes
	require.NoError(t, c.writeChanges(t.Context(), part))
	require.NoError(t, c.writeChanges(t.Context(), part))
	all := rdb.XRange(t.Context(), keys.Webhooks, "-", "+").Val()
	require.Len(t, all, 4)
	for i, m := range all {
		require.Equal(t, part[i%2].id, m.Values["id"])
		require.Equal(t, []string{Connected, Disconnected}[i%2], m.Values["type"])
	}
}

// Changes that go on coming do not keep the difference from being told.
func TestDifferencesAreToldWhileChangesCome(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	c := NewDispatcher(Config{Redis: rdb, Outbox: NewOutbox(rdb, Types(), 100)}).NewConnections("one")
	c.Connected(player(1))
	c.changes = nil // it was left out
	c.mustDiff = true
	c.Connected(player(2))
	c.queueDifferences(t.Context())
	require.True(t, c.flushChanges(t.Context()))
	require.ElementsMatch(t, []string{"conn1", "conn2"}, rdb.HKeys(t.Context(), keys.WebhookConnections(c.id)).Val())
	require.EqualValues(t, 2, rdb.XLen(t.Context(), keys.Webhooks).Val(), "each is told once")
}
