package sessions_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

const soon, tick = 10 * time.Second, 2 * time.Millisecond

// follow runs a tracker until the test ends, and returns how to stop it before. The tracker is
// ready when follow returns.
func follow(t *testing.T, tracker *sessions.Tracker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracker.Run(ctx) }()
	var once atomic.Bool
	stop = func() {
		if once.CompareAndSwap(false, true) {
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	select {
	case <-tracker.Ready():
	case <-time.After(soon):
		require.FailNow(t, "the tracker is not ready")
	}
	return stop
}

// end returns a Listener.Ended that sends the revocations to the channel.
func end() (func(sessions.Revocation), chan sessions.Revocation) {
	ch := make(chan sessions.Revocation, 16)
	return func(r sessions.Revocation) { ch <- r }, ch
}

func told(t *testing.T, ch chan sessions.Revocation) sessions.Revocation {
	t.Helper()
	select {
	case r := <-ch:
		return r
	case <-time.After(soon):
		require.FailNow(t, "the end was not told")
		panic("unreachable")
	}
}

func TestRevocationEndsEverySocketOnEveryNode(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	a, b := sessions.NewTracker(store, sessions.TrackerConfig{}), sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, a)
	follow(t, b)
	s := create(t, store, sessions.Options{})
	other, err := store.Create(t.Context(), "other-"+t.Name(), "bob", nil, sessions.Options{})
	require.NoError(t, err)
	onEnd, ends := end()
	h1, h2, h3 := a.Open(s, sessions.Listener{Ended: onEnd}), a.Open(s, sessions.Listener{Ended: onEnd}), b.Open(s, sessions.Listener{Ended: onEnd})
	closedBefore := a.Open(s, sessions.Listener{Ended: func(sessions.Revocation) { t.Error("a closed handle was told") }})
	closedBefore.Close()
	stays := b.Open(other, sessions.Listener{Ended: func(sessions.Revocation) { t.Error("the wrong session ended") }})

	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "bye"))
	for range 3 {
		r := told(t, ends)
		require.Equal(t, []string{s.ID, s.UserID, "LOGGED_OUT", "bye"}, []string{r.SessionID, r.UserID, r.Code, r.Reason})
		require.WithinDuration(t, time.Now(), r.At, soon)
	}
	require.False(t, h1.Alive() || h2.Alive() || h3.Alive())
	require.True(t, stays.Alive())

	h1.Close()
	h1.Touch()
	require.Empty(t, ends, "told once")
}

func TestUserWideRevocationOfAnotherProgram(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID)).Err())
	require.NoError(t, rdb.Publish(t.Context(), keys.Revocations, `{"userId":"`+s.UserID+`","code":"WHATEVER","extra":true}`).Err())
	r := told(t, ends)
	require.Equal(t, sessions.Revoked, r.Code, "an unknown code is SESSION_REVOKED")
	require.Equal(t, s.ID, r.SessionID)
}

func TestDestroyedBetweenGetAndOpen(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	first, s := create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	onEnd, ends := end()
	tracker.Open(first, sessions.Listener{Ended: onEnd})
	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.Revoked, "gone already"))
	require.NoError(t, store.Destroy(t.Context(), first.ID, sessions.Revoked, ""))
	require.Equal(t, first.ID, told(t, ends).SessionID, "so the message before it was heard too")

	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	r := told(t, ends)
	require.Equal(t, []string{s.ID, sessions.Revoked, "gone already"}, []string{r.SessionID, r.Code, r.Reason})
	require.False(t, h.Alive())
}

func TestMessageLost(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	for name, ttl := range map[string]time.Duration{"at Open": time.Hour, "at a later touch": 500 * time.Millisecond} {
		s := create(t, store, sessions.Options{TTL: ttl})
		onEnd, ends := end()
		if name == "at Open" {
			require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID)).Err())
		}
		h := tracker.Open(s, sessions.Listener{Ended: onEnd})
		if name != "at Open" {
			require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID)).Err())
		}
		require.Eventually(t, func() bool { h.Touch(); return !h.Alive() }, soon, tick, name)
		require.Equal(t, sessions.Revoked, told(t, ends).Code, name)
	}
}

func TestTouchesAreCoalescedPerSession(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	stop := follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: time.Hour})
	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), time.Minute).Err())
	h1, h2 := tracker.Open(s, sessions.Listener{}), tracker.Open(s, sessions.Listener{})
	require.Eventually(t, func() bool { return pttl(t, rdb, s.ID) > 59*time.Minute }, soon, tick, "a handshake is activity")
	for range 1000 {
		h1.Touch()
		h2.Touch()
	}
	stop() // which sends what is pending
	require.InDelta(t, 1, metric(t, tracker, "stored"), 0, "one touch in 15 s, for both sockets")
}

func TestFirstActivityAfterTheIntervalIsStoredAtOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var shift atomic.Int64 // a fast clock
	store := sessions.New(rdb, sessions.Config{Now: func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: 100 * time.Second})
	h := tracker.Open(s, sessions.Listener{})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)

	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), 50*time.Second).Err())
	shift.Add(int64(9 * time.Second)) // the interval is ten
	h.Touch()
	require.Less(t, pttl(t, rdb, s.ID), 51*time.Second)
	shift.Add(int64(time.Second))
	h.Touch()
	at := time.Now()
	require.Eventually(t, func() bool { return pttl(t, rdb, s.ID) > 90*time.Second }, soon, tick)
	require.Less(t, time.Since(at), 2*time.Second)
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 2 }, soon, tick)
}

func TestIdleSessionExpires(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: 300 * time.Millisecond})
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	started := time.Now()
	r := told(t, ends)
	require.Equal(t, sessions.Expired, r.Code)
	require.GreaterOrEqual(t, time.Since(started), 290*time.Millisecond)
	require.Less(t, time.Since(started), 3*time.Second)
	require.Zero(t, h.TTL())
}

func TestIdleHereButActiveElsewhereStays(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: time.Second})
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	for until := time.Now().Add(2500 * time.Millisecond); time.Now().Before(until); { // another node slides it
		_, err := store.Touch(t.Context(), s.ID)
		require.NoError(t, err)
		select {
		case r := <-ends:
			require.FailNow(t, "ended", r.Code)
		case <-time.After(100 * time.Millisecond):
		}
	}
	require.True(t, h.Alive())
	require.Equal(t, sessions.Expired, told(t, ends).Code)
}

func TestAbsoluteLifetimeEndsABusySession(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: 300 * time.Millisecond, AbsoluteTTL: 900 * time.Millisecond})
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.Eventually(t, func() bool { h.Touch(); return len(ends) == 1 }, soon, tick)
	require.Equal(t, sessions.Expired, told(t, ends).Code)
	require.WithinDuration(t, s.AbsoluteExpiresAt, time.Now(), 2*time.Second)
	require.False(t, time.Now().Before(s.AbsoluteExpiresAt.Add(-20*time.Millisecond)))
}

func TestRunFlushesWhatIsPending(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{Gather: time.Hour})
	stop := follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: time.Hour})
	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), time.Minute).Err())
	tracker.Open(s, sessions.Listener{}).Close()
	stop()
	require.Greater(t, pttl(t, rdb, s.ID), 59*time.Minute)
	require.Error(t, tracker.Run(t.Context()), "a tracker runs once")
}

func TestFirstTouchRepairsTheIndex(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	ctx, user := t.Context(), "u-"+t.Name()
	require.NoError(t, rdb.HSet(ctx, keys.Session("foreign"), "userId", user, "characterId", "c7").Err())
	require.NoError(t, rdb.PExpire(ctx, keys.Session("foreign"), time.Minute).Err())
	s, err := store.Get(ctx, "foreign")
	require.NoError(t, err)
	tracker.Open(s, sessions.Listener{})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)
	c, err := store.CharacterOf(ctx, user)
	require.NoError(t, err)
	require.Equal(t, "c7", c)
	n, err := store.DestroyUser(ctx, user, sessions.Revoked, "", "")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestHostileMessagesAreDropped(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{})
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	hostile := []string{
		"", "x", "null", "7", "[]", "{}", `"x"`, `{"sessionId":7}`, `{"sessionId":["` + s.ID + `"]}`, `{"sessionId":null}`,
		`{"userId":{}}`, `{"sessionId":"a:b"}`, `{"sessionId":"` + s.ID + `"`, `{"sessionId":"` + s.ID + `"}{}`,
		`{"sessionId":"x","sessionId":"` + s.ID + `"}`, `{"SESSIONID":"` + s.ID + `"}`, `{"sessionId":"` + s.ID + `","code":7}`,
		`{"sessionId":"` + s.ID + `","reason":"` + strings.Repeat("x", 1<<20) + `"}`, strings.Repeat("[", 100_000), "\x00\xff",
	}
	for _, m := range hostile {
		require.NoError(t, rdb.Publish(t.Context(), keys.Revocations, m).Err())
	}
	require.Eventually(t, func() bool {
		return value(t, tracker, "gateway_session_revocations_dropped_total", "") == float64(len(hostile))
	}, soon, tick)
	require.True(t, h.Alive())
	require.Empty(t, ends)

	require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID)).Err())
	require.NoError(t, rdb.Publish(t.Context(), keys.Revocations, `{"sessionId":"`+s.ID+`","code":"LOGGED_OUT","at":"yesterday"}`).Err())
	require.Equal(t, sessions.LoggedOut, told(t, ends).Code, "clumsy, but an end")
}

func TestTouchAllocatesNothing(t *testing.T) {
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	h := tracker.Open(create(t, store, sessions.Options{}), sessions.Listener{})
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 1 }, soon, tick)
	require.Zero(t, testing.AllocsPerRun(1000, h.Touch))
}

func TestReadyMeansThatNothingIsMissed(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	s := create(t, store, sessions.Options{})
	server.Pause()
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{CatchUp: 50 * time.Millisecond, Timeout: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	select {
	case <-tracker.Ready():
		require.FailNow(t, "Redis has not answered yet")
	case <-time.After(300 * time.Millisecond):
	}
	server.Resume()
	select {
	case <-tracker.Ready():
	case <-time.After(soon):
		require.FailNow(t, "the tracker is not ready")
	}
	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "bye"))
	require.Equal(t, "bye", told(t, ends).Reason)
}

func TestRunLeavesNothingBehind(t *testing.T) {
	rdb := redistest.Client(t)
	require.NoError(t, rdb.Ping(t.Context()).Err())
	store := sessions.New(rdb, sessions.Config{})
	before := goleak.IgnoreCurrent()
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	stop := follow(t, tracker)
	for range 100 {
		s := create(t, store, sessions.Options{})
		h := tracker.Open(s, sessions.Listener{})
		tracker.Open(s, sessions.Listener{}).Close()
		h.Close()
		h.Close()
	}
	stop()
	goleak.VerifyNone(t, before)
	require.Zero(t, gauge(t, tracker, "gateway_session_handles"))
	require.Zero(t, gauge(t, tracker, "gateway_sessions_followed"))
	require.Zero(t, gauge(t, tracker, "gateway_session_touches_pending"))
}

func TestManySessionsShareAPipeline(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	hook := &pipelines{}
	rdb.AddHook(hook)
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{Gather: 500 * time.Millisecond})
	var all []sessions.Session
	for range 100 {
		all = append(all, create(t, store, sessions.Options{}))
	}
	hook.n.Store(0)
	follow(t, tracker)
	for _, s := range all {
		tracker.Open(s, sessions.Listener{})
	}
	require.Eventually(t, func() bool { return metric(t, tracker, "stored") == 100 }, soon, tick)
	require.LessOrEqual(t, hook.n.Load(), int64(9), "touches, checks, and what the connections need to begin")
}
