package sessions_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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

// Each way to end a session, beside a renewal of the same id, 150 rounds each: once both have
// returned, no session of the login lives.
func TestEveryEndReachesARenewedSession(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*sessions.Store, sessions.Session) error{
		"by its id": func(store *sessions.Store, s sessions.Session) error {
			return store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "")
		},
		"by its user": func(store *sessions.Store, s sessions.Session) error {
			_, err := store.DestroyUser(t.Context(), s.UserID, sessions.Revoked, "", "")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			store := sessions.New(rdb, sessions.Config{})
			renewed := 0
			for round := range 150 {
				s := create(t, store, sessions.Options{})
				var wg sync.WaitGroup
				var renewal error
				wg.Go(func() { _, renewal = store.Renew(t.Context(), s.ID) })
				for range round % 7 { // so that the two meet at every step
					_, _ = store.Get(t.Context(), s.ID)
				}
				require.NoError(t, end(store, s), "round %d: the login lives, under one of two ids", round)
				wg.Wait()
				if renewal == nil {
					renewed++
				} else {
					require.ErrorIs(t, renewal, sessions.ErrNotFound)
				}
				left, err := rdb.Keys(t.Context(), keys.Session("*")).Result()
				require.NoError(t, err)
				require.Subset(t, []string{keys.RevocationLog}, left, "round %d: the renewal said %v", round, renewal)
			}
			require.NotZero(t, renewed, "some ends followed a renewal")
		})
	}
}

// Of ten renewals of one id at the same time one succeeds. The others are told that the session
// lives, and get no id of it.
func TestOneOfManyRenewals(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	s := create(t, store, sessions.Options{})
	var wg sync.WaitGroup
	outcomes := make([]error, 10)
	for i := range outcomes {
		wg.Go(func() { _, outcomes[i] = store.Renew(t.Context(), s.ID) })
	}
	wg.Wait()
	won := 0
	for _, err := range outcomes {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, sessions.ErrNotFound): // who read after the renewal finds no session
			require.ErrorIs(t, err, sessions.ErrRenewed)
		}
	}
	require.Equal(t, 1, won)
	living, err := store.List(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Len(t, living, 1)
}

// The note of a renewal is a bounded cost, and a renewal that is cut off leaves no session behind
// for long.
func TestWhatARenewalLeavesBehindEnds(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	s := create(t, store, sessions.Options{TTL: time.Hour})
	cut := &deadFrom{key: keys.RenewedSession(s.ID)}
	rdb.AddHook(cut)
	_, err := store.Renew(t.Context(), s.ID)
	require.ErrorContains(t, err, "the process died")
	cut.key, cut.isDead = "", false
	copies, err := rdb.Keys(t.Context(), keys.Session("*")).Result()
	require.NoError(t, err)
	require.Len(t, copies, 2, "the session and its copy")
	for _, key := range copies {
		if key != keys.Session(s.ID) {
			require.InDelta(t, 5*time.Second, rdb.PTTL(t.Context(), key).Val(), float64(5*time.Second), "nobody knows this id")
		}
	}
	_, err = store.Renew(t.Context(), s.ID)
	require.NoError(t, err)
	require.InDelta(t, 10*time.Minute, rdb.PTTL(t.Context(), keys.RenewedSession(s.ID)).Val(), float64(time.Minute))
}

// deadFrom is a process that dies before it sends the pipeline with that key.
type deadFrom struct {
	key    string
	isDead bool
}

func (d *deadFrom) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (d *deadFrom) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (d *deadFrom) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			d.isDead = d.isDead || d.key != "" && slices.ContainsFunc(cmd.Args(), func(arg any) bool {
				key, ok := arg.(*string)
				return ok && *key == d.key
			})
		}
		if !d.isDead {
			return next(ctx, cmds)
		}
		err := errors.New("the process died")
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
		return err
	}
}
