package sessions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

func TestRenewKeepsTheSessionAndEndsTheID(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	ctx := t.Context()
	old := create(t, store, sessions.Options{TTL: time.Hour, CharacterID: "c1", Metadata: sessions.Metadata{IPAddress: "192.0.2.1"}})
	require.NoError(t, rdb.HSet(ctx, keys.Session(old.ID), "guild", "another program's").Err())
	require.NoError(t, rdb.PExpire(ctx, keys.Session(old.ID), time.Minute).Err())
	old, err := store.Get(ctx, old.ID)
	require.NoError(t, err)
	onEnd, ends := end()
	tracker.Open(old, sessions.Listener{Ended: onEnd})

	fresh, err := store.Renew(ctx, old.ID)
	require.NoError(t, err)
	require.NotEqual(t, old.ID, fresh.ID)
	require.Equal(t, sessions.Replaced, told(t, ends).Code, "the old id is worth nothing")
	_, err = store.Get(ctx, old.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound)
	_, err = store.Renew(ctx, old.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound)

	got, err := store.Get(ctx, fresh.ID)
	require.NoError(t, err)
	require.WithinDuration(t, fresh.ExpiresAt, got.ExpiresAt, 5*time.Second)
	require.Greater(t, pttl(t, rdb, fresh.ID), 59*time.Minute, "it counts as activity")
	got.ExpiresAt = fresh.ExpiresAt
	require.Equal(t, fresh, got)
	want := old
	want.ID, want.LastActivityAt, want.ExpiresAt = fresh.ID, fresh.LastActivityAt, fresh.ExpiresAt
	require.Equal(t, want, fresh, "all else stays, the absolute lifetime too")
	require.Equal(t, "another program's", rdb.HGet(ctx, keys.Session(fresh.ID), "guild").Val())
	list, err := store.List(ctx, old.UserID)
	require.NoError(t, err)
	require.Len(t, list, 1)

	stats, err := store.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, sessions.Stats{Active: 1, Users: 1, MaxPerUser: 1, Created: 1}, stats, "nothing was created or destroyed")
}

func TestUpdateMetadata(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	s := create(t, store, sessions.Options{TTL: time.Hour, Metadata: sessions.Metadata{UserAgent: "old"}})
	got, err := store.UpdateMetadata(t.Context(), s.ID, sessions.Metadata{
		IPAddress: "192.0.2.7", UserAgent: strings.Repeat("x", 600), DeviceInfo: map[string]string{"os": "linux"},
	})
	require.NoError(t, err)
	want := sessions.Metadata{IPAddress: "192.0.2.7", UserAgent: strings.Repeat("x", 512), DeviceInfo: map[string]string{"os": "linux"}}
	require.Equal(t, want, got.Metadata)
	again, err := store.Get(t.Context(), s.ID)
	require.NoError(t, err)
	require.Equal(t, want, again.Metadata)

	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.Revoked, ""))
	_, err = store.UpdateMetadata(t.Context(), s.ID, sessions.Metadata{})
	require.ErrorIs(t, err, sessions.ErrNotFound)
	require.Zero(t, rdb.Exists(t.Context(), keys.Session(s.ID)).Val())
}

func TestCleanupRepairsWhatFailuresLeft(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{TTL: time.Hour})
	ctx := t.Context()
	living, dead := create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	later := create(t, store, sessions.Options{})
	index, past := keys.UserSessions(living.UserID), time.Now().Add(-time.Minute).UnixMilli()

	// One expired; one was slid and its index entry was not; another program deleted one.
	require.NoError(t, rdb.Del(ctx, keys.Session(dead.ID), keys.Session(later.ID)).Err())
	for _, id := range []string{living.ID, dead.ID} {
		require.NoError(t, rdb.Do(ctx, "ZADD", index, past, id).Err())
	}
	// Another program created two that are not in the index, one of them without an expiry, and a
	// key that is not a session.
	for _, id := range []string{"foreign", "endless"} {
		require.NoError(t, rdb.HSet(ctx, keys.Session(id), "userId", "bob").Err())
	}
	require.NoError(t, rdb.PExpire(ctx, keys.Session("foreign"), time.Minute).Err())
	require.NoError(t, rdb.HSet(ctx, keys.Session("nobody's"), "x", "y").Err())

	done, err := store.CleanupExpired(ctx)
	require.NoError(t, err)
	require.Equal(t, sessions.Cleanup{Expired: 1, Indexed: 2, Bounded: 1}, done)
	require.ElementsMatch(t, []string{living.ID, later.ID}, rdb.ZRange(ctx, index, 0, -1).Val(), "the entry of the last one goes when its time is over")
	require.InDelta(t, time.Hour, pttl(t, rdb, "endless"), float64(time.Minute))
	list, err := store.List(ctx, "bob")
	require.NoError(t, err)
	require.Len(t, list, 2)

	done, err = store.CleanupExpired(ctx)
	require.NoError(t, err)
	require.Equal(t, sessions.Cleanup{}, done, "twice is once")
	stats, err := store.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, sessions.Stats{Active: 3, Users: 2, MaxPerUser: 2, Created: 3, Expired: 1}, stats)
}
