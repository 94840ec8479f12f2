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

// Of 20 sessions that are destroyed in the first milliseconds after their tracker started, 20 are
// told the reason that was given.
func TestTheReasonOfAnEndAtTheStart(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	for range 20 {
		s := create(t, store, sessions.Options{TTL: time.Hour})
		tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tracker.Run(ctx) }()
		onEnd, ends := end()
		tracker.Open(s, sessions.Listener{Ended: onEnd})
		require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "bye"))
		r := told(t, ends)
		require.Equal(t, []string{sessions.LoggedOut, "bye"}, []string{r.Code, r.Reason})
		cancel()
		require.NoError(t, <-done)
	}
}

// Another program deletes the session of a player who does nothing, and publishes nothing. Where
// keyspace events are on, the player is told SESSION_REVOKED within a second.
func TestABareDeletionIsHeardWithinASecond(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	require.NoError(t, rdb.ConfigSet(t.Context(), "notify-keyspace-events", "Eg").Err())
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	require.Eventually(t, func() bool {
		return rdb.PubSubNumSub(t.Context(), "__keyevent@0__:del").Val()["__keyevent@0__:del"] == 1
	}, soon, tick)
	s := create(t, store, sessions.Options{TTL: time.Hour})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)
	at := time.Now()
	require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID)).Err())
	require.Equal(t, sessions.Revoked, told(t, ends).Code)
	require.Less(t, time.Since(at), time.Second)

	s = create(t, store, sessions.Options{TTL: time.Hour})
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "bye"))
	require.Equal(t, "bye", told(t, ends).Reason, "the event hides no reason")
}

// Where they are off, the player is told within the touch interval.
func TestABareDeletionIsNoticedWithinTheTouchInterval(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	const interval = 5 * time.Second
	s := create(t, store, sessions.Options{TTL: 10 * interval})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)
	at := time.Now()
	require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID)).Err())
	require.Equal(t, sessions.Revoked, told(t, ends).Code)
	require.Less(t, time.Since(at), interval)
}

// Another program gives the key of a session a shorter expiry. The player is told SESSION_EXPIRED,
// although this process expected it to live: Redis says that the key ran out, and was not deleted.
func TestAShortenedSessionExpires(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	require.NoError(t, rdb.ConfigSet(t.Context(), "notify-keyspace-events", "Egx").Err())
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	for _, channel := range []string{"__keyevent@0__:del", "__keyevent@0__:expired"} {
		require.Eventually(t, func() bool { return rdb.PubSubNumSub(t.Context(), channel).Val()[channel] == 1 }, soon, tick)
	}
	for i, left := range []time.Duration{100 * time.Millisecond, time.Millisecond} {
		s := create(t, store, sessions.Options{TTL: time.Hour})
		onEnd, ends := end()
		tracker.Open(s, sessions.Listener{Ended: onEnd})
		require.Eventually(t, func() bool { return metric(t, tracker, "stored") == float64(i+1) }, soon, tick)
		require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), left).Err())
		require.Equal(t, sessions.Expired, told(t, ends).Code)
	}
	s := create(t, store, sessions.Options{TTL: time.Hour})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), -1).Err(), "which Redis does as a deletion")
	require.Equal(t, sessions.Revoked, told(t, ends).Code)
}

// Where they are off, that holds for an expiry that is at least a touch interval ahead.
func TestASessionThatIsShortenedByMoreThanATouchIntervalExpires(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	const interval = 2 * time.Second
	s := create(t, store, sessions.Options{TTL: 10 * interval})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)
	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), interval).Err())
	require.Equal(t, sessions.Expired, told(t, ends).Code)
}

// Gateways of database 0 and of database 2 of one server hear each other's messages, since channels
// have no database. A session ends only where it is gone.
func TestARevocationOfAnotherDatabaseEndsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	var stores [2]*sessions.Store
	var trackers [2]*sessions.Tracker
	var clients [2]*redis.Client
	for i, database := range []int{0, 2} {
		clients[i] = redis.NewClient(&redis.Options{Addr: server.Addr(), DB: database})
		t.Cleanup(func() { _ = clients[i].Close() })
		stores[i] = sessions.New(clients[i], sessions.Config{})
		trackers[i] = sessions.NewTracker(stores[i], sessions.TrackerConfig{})
		follow(t, trackers[i])
	}
	onEnd, ends := end()
	onOtherEnd, otherEnds := end()
	var handles []*sessions.Handle
	for range 3 { // the same user and the same ids, as in a copied database
		s := create(t, stores[0], sessions.Options{})
		copied, err := clients[0].Copy(t.Context(), keys.Session(s.ID), keys.Session(s.ID), 2, false).Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, copied)
		trackers[0].Open(s, sessions.Listener{Ended: onEnd})
		handles = append(handles, trackers[1].Open(s, sessions.Listener{Ended: onOtherEnd}))
	}
	all, err := stores[0].List(t.Context(), "u-"+t.Name())
	require.NoError(t, err)
	require.NoError(t, stores[0].Destroy(t.Context(), all[0].ID, sessions.LoggedOut, ""))
	_, err = stores[0].DestroyUser(t.Context(), "u-"+t.Name(), sessions.Revoked, "", "")
	require.NoError(t, err)
	require.NoError(t, clients[0].Publish(t.Context(), keys.Revocations, `{"userId":"u-`+t.Name()+`"}`).Err())
	for range 3 {
		told(t, ends)
	}
	require.Eventually(t, func() bool { // each was asked about, for three messages and the one of the user
		return value(t, trackers[1], "gateway_session_revocations_heard_total", "") >= 4 &&
			value(t, trackers[1], "gateway_session_revocations_unfounded_total", "") >= 3
	}, soon, tick)
	require.Empty(t, otherEnds)
	for _, h := range handles {
		require.True(t, h.Alive())
	}
}
