package webhooks

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

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
	require.True(t, dead.flushChanges(t.Context())) // which notes the node too
	require.Equal(t, "3 250", rdb.HGet(t.Context(), keys.WebhookNodes, dead.id).Val())
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

// What is written again, because the answer of Redis was lost, is told once; also when other
// changes have come meanwhile, and when only a part of it was written.
func TestChangesThatAreWrittenAgain(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	c := NewDispatcher(Config{Redis: rdb, Outbox: NewOutbox(rdb, Types(), 100)}).NewConnections("one")
	for range 2 {
		c.Connected(player(1))
		c.Disconnected(player(1))
	}
	require.NoError(t, c.writeChanges(t.Context(), c.changes[:3]))
	require.NoError(t, c.writeChanges(t.Context(), c.changes))
	require.NoError(t, c.writeChanges(t.Context(), c.changes))
	all := rdb.XRange(t.Context(), keys.Webhooks, "-", "+").Val()
	require.Len(t, all, 4)
	for i, m := range all {
		require.Equal(t, fmt.Sprint(c.id, "-", i+1), m.Values["id"])
		require.Equal(t, []string{Connected, Disconnected}[i%2], m.Values["type"])
	}
	require.Equal(t, "3 4", rdb.HGet(t.Context(), keys.WebhookNodes, c.id).Val())
}

// No connection is noted of a node that nobody knows, so its end is told whenever the node dies;
// and what a node writes after it was found dead is not swept away.
func TestANodeIsKnownWithItsFirstConnection(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	d := NewDispatcher(Config{Redis: rdb, Outbox: NewOutbox(rdb, Types(), 100), Log: zap.NewNop()})
	c := d.NewConnections("one")
	beats := func() map[string]string { return rdb.HGetAll(t.Context(), keys.WebhookNodes).Val() }
	c.Connected(player(1))
	require.True(t, c.flushChanges(t.Context()))
	seen := beats()
	require.Contains(t, seen, c.id)
	c.Connected(player(2))
	require.True(t, c.flushChanges(t.Context()))
	d.sweepDead(t.Context(), []string{c.id}, seen)
	require.EqualValues(t, 2, rdb.HLen(t.Context(), keys.WebhookConnections(c.id)).Val(), "it lives")
	d.sweepDead(t.Context(), []string{c.id}, beats())
	require.Empty(t, beats())
	require.Zero(t, rdb.Exists(t.Context(), keys.WebhookConnections(c.id)).Val())

	require.NoError(t, c.writeChanges(t.Context(), nil)) // it comes back, and dies again
	c.queueDifferences(t.Context())
	require.True(t, c.flushChanges(t.Context()))
	d.sweepDead(t.Context(), []string{c.id}, beats())
	ids := map[any]bool{}
	for _, m := range rdb.XRange(t.Context(), keys.Webhooks, "-", "+").Val() {
		ids[m.Values["id"]] = true
	}
	require.Len(t, ids, 8, "each end has an id of its own, the second one of a connection too")
}

// While Redis refuses the stream, connections wait and are told later, and nothing is lost.
func TestConnectionsWhileTheStreamIsRefused(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	d := NewDispatcher(Config{Redis: rdb, Outbox: NewOutbox(rdb, Types(), 100), Log: zap.NewNop()})
	c, dead := d.NewConnections("one"), d.NewConnections("dead")
	for _, each := range []*Connections{c, dead} {
		each.Connected(player(1))
		require.True(t, each.flushChanges(t.Context()))
	}
	seen := rdb.HGetAll(t.Context(), keys.WebhookNodes).Val()
	require.NoError(t, rdb.Rename(t.Context(), keys.Webhooks, "away").Err())
	require.NoError(t, rdb.Set(t.Context(), keys.Webhooks, "not a stream", 0).Err())
	c.Disconnected(player(1))
	c.Connected(player(2))
	require.False(t, c.flushChanges(t.Context()))
	require.InDelta(t, 1, valueOf(t, d.metrics.retries), 0)
	d.sweepDead(t.Context(), []string{dead.id}, seen)
	require.NoError(t, rdb.Rename(t.Context(), "away", keys.Webhooks).Err())
	require.True(t, c.flushChanges(t.Context()))
	d.sweepDead(t.Context(), []string{dead.id}, seen)
	require.EqualValues(t, 2+2+1, rdb.XLen(t.Context(), keys.Webhooks).Val())
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
