package presence_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/presence"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const (
	soon = 15 * time.Second
	tick = 2 * time.Millisecond
)

// hall collects what the players of all nodes of a test receive.
type hall struct {
	mu   sync.Mutex
	said []string    // guarded by mu
	at   []time.Time // when each was said; guarded by mu
}

func (h *hall) Broadcast(_ context.Context, channel, event string, payload any) error {
	m := payload.(presence.Movement)
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Channel != channel {
		panic("told in another channel")
	}
	h.at = append(h.at, time.Now())
	h.said = append(h.said, event[len("presence:"):]+" "+channel+" "+m.User.UserID)
	return nil
}

func (h *hall) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.said...)
}

// node is the presence of one node, with connections named by device.
type node struct {
	*presence.Service
	t    testing.TB
	stop func()
	kill func() // ends the node like a crash
}

func start(t testing.TB, rdb redis.UniversalClient, h *hall, cfg presence.Config) *node {
	t.Helper()
	if cfg.Report == nil {
		cfg.Report = func(err error) { t.Log(err) }
	}
	own := rdb
	if c, ok := rdb.(*redis.Client); ok { // a client whose connection can be cut
		o := *c.Options()
		own = redis.NewClient(&o)
	}
	s := presence.New(own, h, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	n := &node{Service: s, t: t}
	n.stop = func() { once.Do(func() { cancel(); require.NoError(t, <-done); own.Close() }) }
	n.kill = func() { once.Do(func() { own.Close(); cancel(); <-done }) }
	t.Cleanup(n.stop)
	return n
}

func on(user, device string) event.Player {
	return event.Player{UserID: user, Username: "The " + user, CharacterID: "c-" + user, Conn: user + "/" + device}
}

// come connects a device and joins channels.
func (n *node) come(user, device string, channels ...string) event.Player {
	p := on(user, device)
	n.Connected(p)
	for _, c := range channels {
		n.Joined(p, c)
	}
	return p
}

// ids lists who is in a channel, page by page. The player that asks is its only member from
// outside.
func (n *node) ids(channel string, limit int) (all []string) {
	n.t.Helper()
	var asks event.Player
	if channel != "" {
		asks = event.Player{UserID: "me", Conn: "me/ask"}
		n.Connected(asks)
		n.Joined(asks, channel)
		defer n.Left(asks, channel)
	}
	for after := ""; ; {
		page, err := n.List(context.Background(), asks, presence.Query{Channel: channel, After: after, Limit: limit})
		require.NoError(n.t, err)
		for _, u := range page.Users {
			if u.UserID != "me" {
				all = append(all, u.UserID)
			}
		}
		if after = page.Next; after == "" {
			return all
		}
	}
}

// online waits until exactly these users are online.
func (n *node) online(want ...string) {
	n.t.Helper()
	var got []string
	require.Eventually(n.t, func() bool {
		got = n.ids("", 3)
		return fmt.Sprint(got) == fmt.Sprint(want)
	}, soon, tick, "wanted %v, got %v", want, &got)
}

// says waits until exactly these events have been broadcast.
func (h *hall) says(t testing.TB, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(h.heard()) >= len(want) }, soon, tick, "wanted %v, heard %v", want, h.heard())
	require.ElementsMatch(t, want, h.heard())
}
