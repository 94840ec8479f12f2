package server

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/presence"
)

// Of a player who comes back on another node nobody is told that they left or joined, and who asks
// finds them in their channels.
func TestWhoComesBackWasNeverGone(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	told := &toldOfPresence{}
	observe := func() presenceObserver {
		s := presence.New(rdb, told, presence.Config{Grace: 2 * time.Second})
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		var run sync.WaitGroup
		run.Go(func() { _ = s.Run(ctx) })
		t.Cleanup(func() { stop(); run.Wait() })
		return presenceObserver{s}
	}
	one, two := observe(), observe()
	ann, bob := event.Player{UserID: "ann", Conn: "c1"}, event.Player{UserID: "bob", Conn: "c2"}
	for _, p := range []event.Player{ann, bob} {
		one.Connected(p)
		one.Joined(p, "zone:z")
	}
	require.Eventually(t, func() bool { return len(told.list()) == 2 }, 20*time.Second, 10*time.Millisecond)
	one.Disconnected(ann)
	two.Recovered(ann, []string{"chat:zone:z", "user:ann"})
	one.Disconnected(bob)
	require.Eventually(t, func() bool { return len(told.list()) > 2 }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, []string{"presence:joined", "presence:joined", "presence:left"}, told.list(), "of bob alone, who left later")
	listed, err := two.List(t.Context(), ann, presence.Query{Channel: "zone:z"})
	require.NoError(t, err)
	require.Len(t, listed.Users, 1)
	require.Equal(t, "ann", listed.Users[0].UserID)
}

// toldOfPresence are the rooms that presence casts to.
type toldOfPresence struct {
	mu     sync.Mutex
	events []string // guarded by mu
}

func (o *toldOfPresence) Broadcast(_ context.Context, _, name string, _ any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, name)
	return nil
}

func (o *toldOfPresence) list() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.events...)
}
