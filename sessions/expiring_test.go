package sessions_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/sessions"
)

func warned(t *testing.T, ch chan time.Duration) time.Duration {
	t.Helper()
	select {
	case left := <-ch:
		return left
	case <-time.After(soon):
		require.FailNow(t, "no warning came")
		panic("unreachable")
	}
}

func TestExpiringIsToldAtATenth(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	const ttl = 6 * time.Second // a busy machine has 600 ms to tell it
	s := create(t, store, sessions.Options{TTL: ttl})
	onEnd, ends := end()
	warnings := make(chan time.Duration, 16)
	on := sessions.Listener{Ended: onEnd, Expiring: func(left time.Duration) { warnings <- left }}
	begun := time.Now()
	h := tracker.Open(s, on)
	tracker.Open(s, on)
	for range 2 { // each socket
		left := warned(t, warnings)
		require.LessOrEqual(t, left, ttl/10)
		require.Positive(t, left)
	}
	require.GreaterOrEqual(t, time.Since(begun), ttl*9/10-50*time.Millisecond)
	require.Empty(t, ends)

	h.Touch() // which slides it
	require.Eventually(t, func() bool { return h.TTL() > ttl/2 }, soon, tick)
	for range 2 {
		warned(t, warnings)
	}
	require.Equal(t, sessions.Expired, told(t, ends).Code)
	require.Empty(t, warnings, "one warning for each time that the session was slid")
}

func TestNoWarningWhileAnotherNodeSlides(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: 2 * time.Second})
	warnings := make(chan time.Duration, 16)
	tracker.Open(s, sessions.Listener{Expiring: func(left time.Duration) { warnings <- left }})
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); {
		_, err := store.Touch(t.Context(), s.ID)
		require.NoError(t, err)
		select {
		case left := <-warnings:
			require.FailNow(t, "warned", left)
		case <-time.After(100 * time.Millisecond):
		}
	}
	warned(t, warnings)
}

func TestTTLCountsATouchThatIsOnItsWay(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: 5 * time.Second})
	h := tracker.Open(s, sessions.Listener{})
	require.Eventually(t, func() bool { return h.TTL() < 4300*time.Millisecond }, soon, tick)
	h.Touch()
	require.Greater(t, h.TTL(), 4900*time.Millisecond)
}
