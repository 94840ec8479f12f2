package sessions_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// endUnheard ends a session as Destroy does, but publishes nothing on the channel.
func endUnheard(t *testing.T, rdb redis.UniversalClient, id string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"sessionId": id, "code": "LOGGED_OUT", "reason": "unheard", "at": time.Now().UnixMilli()})
	require.NoError(t, err)
	require.NoError(t, rdb.Del(t.Context(), keys.Session(id)).Err())
	require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.RevocationLog, Values: []any{"message", text}}).Err())
}

// With the default of CatchUp a player learns within the touch interval of an end whose message was
// lost: in four of five rounds, because the machine may be busy with other tests in one of them.
func TestALostMessageIsFoundInTheLog(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	const ttl, interval, rounds = 10 * time.Second, time.Second, 5
	require.Equal(t, interval, sessions.TouchInterval(ttl))
	store := sessions.New(rdb, sessions.Config{TTL: ttl})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	onEnd, ends := end()
	late := 0
	for range rounds {
		s := create(t, store, sessions.Options{TTL: time.Hour})
		h := tracker.Open(s, sessions.Listener{Ended: onEnd})
		require.Eventually(t, func() bool { return metric(t, tracker, "stored") >= 1 }, soon, tick)
		endUnheard(t, rdb, s.ID)
		at := time.Now()
		r := told(t, ends) // though the client does nothing
		require.Equal(t, []string{s.ID, s.UserID, "LOGGED_OUT", "unheard"}, []string{r.SessionID, r.UserID, r.Code, r.Reason})
		if time.Since(at) > interval {
			late++
		}
		require.False(t, h.Alive())
	}
	require.LessOrEqual(t, late, 1)
	require.InDelta(t, rounds, value(t, tracker, "gateway_session_revocations_recovered_total", ""), 0)
	require.EqualValues(t, rounds, tracker.Stats().Revocations, "and their latency is known")
}

// The log says that a session ended, but another program has created a session with its id since.
func TestTheLogEndsNothingThatLives(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{CatchUp: 50 * time.Millisecond})
	follow(t, tracker)
	living, ended := create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	onEnd, ends := end()
	h := tracker.Open(living, sessions.Listener{Ended: onEnd})
	tracker.Open(ended, sessions.Listener{Ended: onEnd})
	for _, text := range []string{`{"sessionId":"` + living.ID + `"}`, `{"userId":"` + living.UserID + `"}`, "no revocation"} {
		require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.RevocationLog, Values: []any{"message", text}}).Err())
	}
	endUnheard(t, rdb, ended.ID)
	require.Equal(t, ended.ID, told(t, ends).SessionID, "so all before it was read")
	require.True(t, h.Alive())
	require.Empty(t, ends)
}

func TestALogThatWasCutIsNotTrusted(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{CatchUp: 100 * time.Millisecond})
	follow(t, tracker)
	onEnd, ends := end()
	first, s := create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	tracker.Open(first, sessions.Listener{Ended: onEnd})
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	endUnheard(t, rdb, first.ID)
	require.Equal(t, first.ID, told(t, ends).SessionID, "the cursor stands at an entry")
	require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID), keys.RevocationLog).Err())
	require.Equal(t, s.ID, told(t, ends).SessionID)
}
