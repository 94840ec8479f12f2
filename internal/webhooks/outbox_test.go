package webhooks

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// An event that Redis does not take, because the stream's key is something else, because there is
// no memory left, or because there are no rights, stops nobody: it is counted, and logged once.
func TestUnwrittenEventsAreCounted(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	o := NewOutbox(rdb, Types(), 100)
	core, lines := observer.New(zap.ErrorLevel)
	d := NewDispatcher(Config{Redis: rdb, Outbox: o, Log: zap.New(core)})
	d.observeUnwritten(t.Context())
	unwritten := func() float64 {
		d.observeUnwritten(t.Context())
		return valueOf(t, d.metrics.unwritten)
	}
	require.Zero(t, unwritten())
	require.NoError(t, rdb.Set(t.Context(), keys.Webhooks, "not a stream", 0).Err())
	write(t, o, "ann", 1)
	require.InDelta(t, 1, unwritten(), 0)
	write(t, o, "ann", 2)
	require.InDelta(t, 2, unwritten(), 0)
	require.Len(t, lines.All(), 1)
	require.Contains(t, lines.All()[0].ContextMap()["error"], "WRONGTYPE")

	require.NoError(t, rdb.Del(t.Context(), keys.Webhooks).Err())
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	write(t, o, "ann", 3)
	require.InDelta(t, 3, unwritten(), 0, "the node knows what Redis has no memory for")
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.InDelta(t, 3, unwritten(), 0)
	require.Equal(t, "3", rdb.HGet(t.Context(), keys.WebhookCounts, "unwritten").Val(), "all nodes know it now")
	require.InDelta(t, 3, unwritten(), 0)

	// What ends, trades or mints is written by a script that wrote before, which Redis lets end its
	// work.
	store := sessions.New(rdb, sessions.Config{AnnounceLua: o.SessionLua()})
	one, err := store.Create(t.Context(), "ann", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	two, err := store.Create(t.Context(), "ann", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.NoError(t, store.Destroy(t.Context(), one.ID, sessions.LoggedOut, ""))
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.EqualValues(t, 1, rdb.XLen(t.Context(), keys.Webhooks).Val())
	require.NoError(t, rdb.Set(t.Context(), keys.Webhooks, "not a stream", 0).Err())
	require.NoError(t, store.Destroy(t.Context(), two.ID, sessions.LoggedOut, ""))
	require.InDelta(t, 4, unwritten(), 0)

	require.NoError(t, rdb.Do(t.Context(), "ACL", "SETUSER", "default", "-evalsha").Err())
	write(t, o, "ann", 4)
	require.InDelta(t, 5, unwritten(), 0)
	require.NoError(t, rdb.Do(t.Context(), "ACL", "SETUSER", "default", "+evalsha").Err())

	require.NoError(t, rdb.Del(t.Context(), keys.Webhooks).Err())
	require.NoError(t, rdb.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err())
	require.Error(t, o.Write(t.Context(), CombatEnded, "", said{}), "a server that takes nothing is asked again")
	require.NoError(t, rdb.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	server.Kill()
	require.Error(t, o.Write(context.WithoutCancel(t.Context()), CombatEnded, "", said{}))
	server.Restart()
	require.InDelta(t, 5, valueOf(t, d.metrics.unwritten), 0)
	require.Len(t, lines.All(), 1)
}
