package chat_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
)

// clusterClient returns a client of a Redis Cluster that the test starts.
func clusterClient(t *testing.T) redis.UniversalClient {
	c := redistest.StartCluster(t)
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	return impatient(t, &redis.UniversalOptions{IsClusterMode: true, Addrs: addrs}, 5*time.Second)
}

func impatient(t *testing.T, o *redis.UniversalOptions, limit time.Duration) redis.UniversalClient {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = limit, limit, limit, limit
	o.DialerRetries, o.MaxRetries, o.ContextTimeoutEnabled = 1, 1, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Without Redis the members on one node hear each other, retries and slow channels are decided by
// what the node remembers, sanctions hold, and the history is UNAVAILABLE. When Redis is back, all
// works.
func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lose, back func(*redistest.Instance) }{
		"killed":  {(*redistest.Instance).Kill, (*redistest.Instance).Restart},
		"hanging": {(*redistest.Instance).Pause, (*redistest.Instance).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			rdb := impatient(t, &redis.UniversalOptions{Addrs: []string{server.Addr()}}, 300*time.Millisecond)
			s, heard := node(t, rdb, chat.Config{RedisTimeout: 300 * time.Millisecond})
			d := newDesk(t, s, rdb)
			say1 := func(raw string) string {
				out, err := d.ask(t, ann, "chat:message", raw)
				require.NoError(t, err)
				return out
			}
			_, err := s.Mute(t.Context(), mod, chat.SanctionRequest{UserID: "bob", ForMs: 3_600_000})
			require.NoError(t, err)
			_, err = s.Join(t.Context(), ann, chat.Channel{Channel: "zone:1"})
			require.NoError(t, err)
			_, err = s.SetSlowMode(t.Context(), mod, chat.SlowModeRequest{Channel: "zone:1", EveryMs: new(int64(3_600_000))})
			require.NoError(t, err)
			const known, fresh = `{"channel":"global","text":"before","clientId":"c0"}`, `{"channel":"global","text":"meanwhile","clientId":"c1"}`
			first := say1(known)

			c.lose(server)
			before := len(heard.heard())
			require.Equal(t, first, say1(known), "the node remembers messages that Redis accepted")
			first = say1(fresh)
			require.Equal(t, first, say1(fresh))
			_, err = s.Send(t.Context(), ann, say("plain"))
			require.NoError(t, err)
			slow := chat.Draft{Channel: "zone:1", Text: "x"}
			_, err = s.Send(t.Context(), ann, slow)
			require.NoError(t, err)
			_, err = s.Send(t.Context(), ann, slow)
			require.ErrorIs(t, err, fault.ErrRateLimited)
			require.Len(t, heard.heard(), before+3)
			_, err = s.Send(t.Context(), bob, say("muted"))
			require.ErrorIs(t, err, chat.ErrMuted)
			got, err := s.Whisper(t.Context(), ann, chat.WhisperDraft{To: "bob", Text: "x", ClientID: "w"})
			require.NoError(t, err)
			require.True(t, got.Delivered)

			for name, call := range map[string]func() error{
				"history": func() error { _, err := s.History(t.Context(), ann, chat.HistoryQuery{Channel: "global"}); return err },
				"mute": func() error {
					_, err := s.Mute(t.Context(), mod, chat.SanctionRequest{UserID: "x", ForMs: 1000})
					return err
				},
				"unmute": func() error { _, err := s.Unmute(t.Context(), mod, chat.LiftRequest{UserID: "bob"}); return err },
				"delete": func() error {
					_, err := s.Delete(t.Context(), mod, chat.DeleteRequest{Channel: "global", ID: "01JZZZZZZZZZZZZZZZZZZZZZZZ"})
					return err
				},
			} {
				f := fault.Of(call())
				require.ErrorIs(t, f, fault.ErrUnavailable, name)
				require.Equal(t, "chat", f.Detail("feature"), name)
			}

			c.back(server)
			require.Eventually(t, func() bool {
				_, err := s.Send(t.Context(), ann, say("again"))
				h, lost := s.History(t.Context(), ann, chat.HistoryQuery{Channel: "global"})
				return err == nil && lost == nil && len(h.Messages) > 0 && h.Messages[len(h.Messages)-1].Text == "again"
			}, 10*time.Second, 20*time.Millisecond)
			before = len(heard.heard())
			require.Equal(t, first, say1(fresh), "a message sent during the outage is not sent again after it")
			require.Len(t, heard.heard(), before)
		})
	}
}

// When Redis hangs, a message waits for RedisTimeout at most, and a message without a key does not
// wait at all.
func TestPatience(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	s, _ := node(t, impatient(t, &redis.UniversalOptions{Addrs: []string{server.Addr()}}, 2*time.Second), chat.Config{RedisTimeout: 50 * time.Millisecond})
	server.Pause()
	defer server.Resume()
	begun := time.Now()
	for range 100 {
		_, err := s.Send(t.Context(), ann, say("plain"))
		require.NoError(t, err)
	}
	require.Less(t, time.Since(begun), time.Second)
	draft := say("x")
	draft.ClientID = "c"
	begun = time.Now()
	_, err := send(t, s, ann, draft)
	require.NoError(t, err)
	require.Less(t, time.Since(begun), time.Second)
}

// While the history can not keep up, messages are still sent; the queue of the history is bounded.
func TestTheHistoryMayMissWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	var missed atomic.Int64
	s, heard := node(t, impatient(t, &redis.UniversalOptions{Addrs: []string{server.Addr()}}, 2*time.Second), chat.Config{Report: func(error) { missed.Add(1) }})
	server.Pause()
	long := say(strings.Repeat("\U0001F600", 500)) // 2 KB each; the queue holds 8 MiB
	for range 6000 {
		_, err := s.Send(t.Context(), ann, long)
		require.NoError(t, err)
	}
	require.Len(t, heard.heard(), 6000)
	require.Positive(t, missed.Load())
	server.Resume()
	require.Eventually(t, func() bool {
		_, err := s.Send(t.Context(), ann, say("again"))
		h, lost := s.History(t.Context(), ann, chat.HistoryQuery{Channel: "global", Limit: 1})
		return err == nil && lost == nil && len(h.Messages) == 1 && h.Messages[0].Text == "again"
	}, 10*time.Second, 20*time.Millisecond)
}

// The sets of the game decide who may join the channel of a guild or a party.
func TestRoster(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	require.NoError(t, rdb.SAdd(t.Context(), "guild:wolves:members", "ann").Err())
	require.NoError(t, rdb.SAdd(t.Context(), "party:p1:members", "bob").Err())
	roster := chat.RedisMembership{Redis: rdb}
	for _, c := range []struct {
		p       event.Player
		channel string
		may     bool
	}{
		{ann, "guild:wolves", true},
		{bob, "guild:wolves", false},
		{bob, "party:p1", true},
		{ann, "party:p1", false},
		{ann, "guild:unknown", false},
		{mod, "guild:wolves", true},
		{bob, "global", true},
		{bob, "zone:wolves", true},
		{bob, "combat:wolves", true},
	} {
		may, err := roster.MayJoin(t.Context(), c.p, c.channel)
		require.NoError(t, err)
		require.Equal(t, c.may, may, "%s in %s", c.p.UserID, c.channel)
	}
	server := redistest.Server(t)
	gone := chat.RedisMembership{Redis: impatient(t, &redis.UniversalOptions{Addrs: []string{server.Addr()}}, time.Second)}
	server.Kill()
	_, err := gone.MayJoin(t.Context(), ann, "guild:wolves")
	require.ErrorIs(t, err, fault.ErrUnavailable, "nobody may join while the membership is not known")
}
