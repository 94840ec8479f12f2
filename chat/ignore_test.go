package chat_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A whisper to somebody who ignores the sender is answered like one to somebody who is offline, on
// any node, from the moment on when user:ignore is answered until user:unignore is.
func TestWhispersOfTheIgnoredDoNotArrive(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	one, heard := node(t, rdb, chat.Config{})
	two, _ := node(t, rdb, chat.Config{})
	heard.users = map[string]event.Player{bob.Conn: bob}
	whisper := func() bool {
		t.Helper()
		before := len(heard.told)
		done, err := one.Whisper(t.Context(), ann, chat.WhisperDraft{To: "bob", Text: "psst"})
		require.NoError(t, err)
		require.NotEmpty(t, done.ID)
		require.NotZero(t, done.At)
		require.Equal(t, done.Delivered, len(heard.told) == before+1)
		return done.Delivered
	}
	require.True(t, whisper())
	for range 2 {
		out, err := ask(t, two, bob, "user:ignore", `{"userId":"ann"}`)
		require.NoError(t, err)
		require.Equal(t, `{"userId":"ann","total":1}`, out)
	}
	require.False(t, whisper())
	ignores, err := one.Ignores(t.Context(), "bob", "ann")
	require.NoError(t, err)
	require.True(t, ignores)
	ignores, err = one.Ignores(t.Context(), "ann", "bob")
	require.NoError(t, err)
	require.False(t, ignores, "it holds in one direction")
	out, err := ask(t, one, bob, "user:ignored", `{}`)
	require.NoError(t, err)
	require.Equal(t, `{"users":["ann"]}`, out)

	for range 2 {
		out, err = ask(t, two, bob, "user:unignore", `{"userId":"ann"}`)
		require.NoError(t, err)
		require.Equal(t, `{"userId":"ann","total":0}`, out)
	}
	require.True(t, whisper())
	out, err = ask(t, one, bob, "user:ignored", `{}`)
	require.NoError(t, err)
	require.Equal(t, `{"users":[]}`, out)
	require.Zero(t, rdb.Exists(t.Context(), keys.IgnoredUsers("bob")).Val())
}

// A user ignores at most 200 others, however many are added at the same time.
func TestAUserIgnoresTwoHundredAtMost(t *testing.T) {
	t.Parallel()
	s, _ := node(t, redistest.Client(t), chat.Config{})
	var wg sync.WaitGroup
	for i := range 210 {
		wg.Go(func() {
			_, err := s.Ignore(t.Context(), bob, chat.IgnoreRequest{UserID: fmt.Sprint("u", i)})
			if err != nil && fault.Of(err).Code != "TOO_MANY_IGNORED" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := s.ListIgnored(t.Context(), bob, event.None{})
	require.NoError(t, err)
	require.Len(t, all.Users, 200)
	_, err = s.Ignore(t.Context(), bob, chat.IgnoreRequest{UserID: "one more"})
	require.ErrorIs(t, err, chat.ErrTooManyIgnored)
	require.Equal(t, 200, fault.Of(err).Detail("limit"))
	again, err := s.Ignore(t.Context(), bob, chat.IgnoreRequest{UserID: all.Users[0]})
	require.NoError(t, err, "whom they ignore already")
	require.Equal(t, 200, again.Total)
	_, err = s.Unignore(t.Context(), bob, chat.IgnoreRequest{UserID: all.Users[0]})
	require.NoError(t, err)
	again, err = s.Ignore(t.Context(), bob, chat.IgnoreRequest{UserID: "one more"})
	require.NoError(t, err)
	require.Equal(t, 200, again.Total)
}

func TestWhomOneMayIgnore(t *testing.T) {
	t.Parallel()
	s, _ := node(t, redistest.Client(t), chat.Config{})
	for _, raw := range []string{`{}`, `{"userId":""}`, `{"userId":" bob"}`, `{"userId":"bob"}`, `{"userId":7}`} {
		_, err := ask(t, s, bob, "user:ignore", raw)
		require.ErrorIs(t, err, fault.ErrInvalid, raw)
		require.Equal(t, "userId", fault.Of(err).Detail("field"), raw)
	}
}

// While Redis is away, what this node knew last holds, a whisper waits at most once in half a
// second for Redis, and a new user to ignore is UNAVAILABLE.
func TestTheIgnoredWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*redistest.Instance){
		"killed":  (*redistest.Instance).Kill,
		"hanging": (*redistest.Instance).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			rdb := impatient(t, &redis.UniversalOptions{Addrs: []string{server.Addr()}}, 300*time.Millisecond)
			now := time.Now()
			s, heard := node(t, rdb, chat.Config{RedisTimeout: 300 * time.Millisecond, Now: func() time.Time { return now }})
			_, err := s.Ignore(t.Context(), bob, chat.IgnoreRequest{UserID: "ann"})
			require.NoError(t, err)
			heard.users = map[string]event.Player{ann.Conn: ann, bob.Conn: bob}
			lose(server)
			if name == "hanging" {
				t.Cleanup(server.Resume)
			}
			for range 100 { // the clock stands: only the first asks Redis
				done, err := s.Whisper(t.Context(), ann, chat.WhisperDraft{To: "bob", Text: "psst"})
				require.NoError(t, err)
				require.False(t, done.Delivered)
				done, err = s.Whisper(t.Context(), bob, chat.WhisperDraft{To: "ann", Text: "psst"})
				require.NoError(t, err)
				require.True(t, done.Delivered)
			}
			ignores, err := s.Ignores(t.Context(), "bob", "ann")
			require.ErrorIs(t, err, fault.ErrUnavailable)
			require.True(t, ignores)
			_, err = s.Ignore(t.Context(), bob, chat.IgnoreRequest{UserID: "eve"})
			require.ErrorIs(t, err, fault.ErrUnavailable)
		})
	}
}
