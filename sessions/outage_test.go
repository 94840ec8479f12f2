package sessions_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

func TestTouchesSurviveAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: 10 * time.Second}) // the interval is a second
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)

	server.Pause()
	require.Eventually(t, func() bool { h.Touch(); return metric(t, tracker, "failed") > 1 }, soon, tick)
	require.True(t, h.Alive())
	server.Resume()
	rdb := server.Client()
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") > 1 }, soon, tick)
	require.Greater(t, pttl(t, rdb, s.ID), 5*time.Second)
	require.Empty(t, ends)
}

func TestRevokedWhileTheSubscriptionWasDown(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: time.Hour})
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)

	server.Kill()
	require.True(t, h.Alive())
	server.Restart() // empty: the session is gone, and no message says so
	require.Equal(t, sessions.Revoked, told(t, ends).Code, "its time was not over")
}

func TestRedisGoneAtTheDeadline(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: 500 * time.Millisecond})
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)
	server.Kill()
	require.Eventually(t, func() bool { return h.TTL() == 0 }, soon, tick)
	select {
	case <-ends:
		require.FailNow(t, "nobody could know that it ended")
	case <-time.After(700 * time.Millisecond):
	}
	require.True(t, h.Alive())
	server.Restart()
	require.Equal(t, sessions.Expired, told(t, ends).Code)
}

func TestARefusedSubscriptionIsReported(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	admin := server.Client()
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "deaf", "on", "nopass", "~*", "+@all", "resetchannels").Err())
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "deaf", Password: "any"})
	t.Cleanup(func() { _ = rdb.Close() })
	refused := make(chan error, 16)
	tracker := sessions.NewTracker(sessions.New(rdb, sessions.Config{}), sessions.TrackerConfig{
		CatchUp: 50 * time.Millisecond, SubscriptionRefused: func(err error) { refused <- err },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	select {
	case err := <-refused:
		require.ErrorContains(t, err, "NOPERM")
	case <-time.After(soon):
		require.FailNow(t, "the refusal was not reported")
	}

	store := sessions.New(admin, sessions.Config{})
	s := create(t, store, sessions.Options{TTL: time.Hour})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)
	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "bye"))
	require.Equal(t, "bye", told(t, ends).Reason, "the log has it")

	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "deaf", "allchannels").Err())
	select {
	case <-tracker.Ready():
	case <-time.After(soon):
		require.FailNow(t, "the tracker is not ready")
	}
	require.Empty(t, refused, "once for each outage")
}

func TestALogoutThatFailsDeletesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	admin := server.Client()
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "deaf", "on", "nopass", "~*", "+@all", "resetchannels").Err())
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "deaf", Password: "any"})
	t.Cleanup(func() { _ = rdb.Close() })
	store := sessions.New(rdb, sessions.Config{})
	s := create(t, store, sessions.Options{TTL: time.Hour})
	require.NoError(t, admin.Set(t.Context(), keys.ExpressSession("foreign"), `{"cookie":{}}`, time.Hour).Err())
	for _, id := range []string{s.ID, sessions.ExpressID("foreign")} {
		require.Error(t, store.Destroy(t.Context(), id, sessions.LoggedOut, "bye"))
	}
	_, err := store.Get(t.Context(), s.ID)
	require.NoError(t, err)
	require.Equal(t, int64(1), admin.Exists(t.Context(), keys.ExpressSession("foreign")).Val())
}

// One node that owns all slots refuses scripts that cross slots, like any Cluster.
func TestOnACluster(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t, "--cluster-enabled", "yes")
	require.NoError(t, server.Client().Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err())
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}})
	t.Cleanup(func() { _ = rdb.Close() })
	require.Eventually(t, func() bool { return rdb.Set(t.Context(), "x", 1, 0).Err() == nil }, soon, 20*time.Millisecond)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	onEnd, ends := end()
	var all []sessions.Session
	for range 20 {
		s := create(t, store, sessions.Options{CharacterID: "c"})
		tracker.Open(s, sessions.Listener{Ended: onEnd})
		all = append(all, s)
	}
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 20 }, soon, tick)
	require.Zero(t, metric(t, tracker, "failed"))
	require.EqualValues(t, 20, rdb.ZCard(t.Context(), keys.UserSessions(all[0].UserID)).Val())
	_, err := store.Extend(t.Context(), all[0].ID, time.Hour)
	require.NoError(t, err)
	_, err = store.UpdateCharacter(t.Context(), all[0].ID, "d")
	require.NoError(t, err)
	_, err = store.CharacterOf(t.Context(), all[0].UserID)
	require.NoError(t, err)
	stats, err := store.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, 20, stats.MaxPerUser)
	n, err := store.DestroyUser(t.Context(), all[0].UserID, sessions.Revoked, "", "")
	require.NoError(t, err)
	require.Equal(t, 20, n)
	for range 20 {
		require.Equal(t, sessions.Revoked, told(t, ends).Code)
	}
	require.EqualValues(t, 20, rdb.XLen(t.Context(), keys.RevocationLog).Val())
}
