package castlog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A node is a log with what its members heard. It hears every channel.
type node struct {
	*castlog.Log
	name   string
	server atomic.Value // string

	mu     sync.Mutex
	heard  []string
	missed int
}

const pause = 10 * time.Millisecond

// openNode makes a node that hears one channel over a subscription of its own.
func openNode(t *testing.T, rdb redis.UniversalClient, name string, change ...func(*castlog.Config)) *node {
	t.Helper()
	n := &node{name: name}
	n.server.Store("server 1")
	cfg := castlog.Config{
		Redis: rdb, Prefix: "test", Node: name, Server: func() string { return n.server.Load().(string) },
		Check: func(message []byte) (string, bool) {
			origin, _, ok := strings.Cut(string(message), " ")
			return origin, ok
		},
		Deliver:     func(_ any, message []byte) { n.note(textOf(message)) },
		OnForgotten: func() {},
		OnMissed:    func() { n.mu.Lock(); n.missed++; n.mu.Unlock() },
		Report:      func(err error) { t.Log(name, err) },
	}
	for _, f := range change {
		f(&cfg)
	}
	n.Log = castlog.New(cfg)
	n.Start()
	t.Cleanup(n.Close)
	n.listen(t, rdb)
	return n
}

// textOf returns what was cast.
func textOf(message []byte) string {
	_, text, _ := strings.Cut(string(message), " ")
	text, _, _ = strings.Cut(text, "\xcf")
	return text
}

func (n *node) note(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = append(n.heard, text)
}

func (n *node) texts() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.heard...)
}

// listen subscribes, and reads what was missed before.
func (n *node) listen(t *testing.T, rdb redis.UniversalClient) (stop func()) {
	t.Helper()
	n.BeginCatchUp()
	sub := rdb.Subscribe(t.Context(), "room", n.MarkChannel())
	for range 2 {
		_, err := sub.Receive(t.Context())
		require.NoError(t, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := range sub.Channel() {
			b := []byte(m.Payload)
			if at, ok := castlog.ReadMark(b); ok && m.Channel == n.MarkChannel() {
				n.HearMark(at)
				continue
			}
			sequence, at, ok := castlog.ReadTail(b)
			origin, _, isCast := strings.Cut(m.Payload, " ")
			if ok && isCast {
				n.Hear([]byte(origin), sequence, at, b, nil)
			}
		}
	}()
	n.catchUp(t)
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = sub.Close() // the test needs it no more
			<-done
		})
	}
	t.Cleanup(stop)
	return stop
}

func (n *node) catchUp(t *testing.T) (missed bool) {
	t.Helper()
	missed, err := n.CatchUp(t.Context(), n.Generation(), []string{"r"})
	require.NoError(t, err)
	return missed
}

// A member is the members of one cast on its own node.
type member struct {
	n    *node
	text string
}

func (m member) Deliver()         { m.n.note(m.text) }
func (m member) HasMembers() bool { return true }
func (m member) Release()         {}

func (n *node) cast(text string) castlog.Cast {
	return castlog.Cast{Rooms: []string{"r"}, Channels: []string{"room"}, Message: []byte(n.name + " " + text), Members: member{n, text}}
}

// say casts and waits.
func (n *node) say(t *testing.T, text string) castlog.Outcome {
	t.Helper()
	p, err := n.Append(n.cast(text), true)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	outcome, err := p.Wait(ctx)
	require.NoError(t, err)
	return outcome
}

// Every node hears every cast once, in one order, and the sender before its own cast is confirmed.
func TestOneOrder(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	nodes := []*node{openNode(t, rdb, "a"), openNode(t, rdb, "b"), openNode(t, rdb, "c")}
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			for i := range 200 {
				text := fmt.Sprint(n.name, i)
				outcome := n.say(t, text)
				if outcome.IsLocal || outcome.At.Number == 0 || outcome.Receivers != 3 {
					t.Error(outcome)
				}
				if got := n.texts(); !contains(got, text) {
					t.Error("the sender has not heard", text)
				}
			}
		})
	}
	all.Wait()
	for _, n := range nodes {
		require.Eventually(t, func() bool { return len(n.texts()) == 600 }, 10*time.Second, pause)
		require.Equal(t, nodes[0].texts(), n.texts())
	}
	s := nodes[0].Stats()
	require.Equal(t, int64(200), s.Appended)
	require.Zero(t, s.Local+s.Again+s.Lost+s.Missed+s.Malformed+s.Dropped)
}

func contains(list []string, text string) bool {
	for _, s := range list {
		if s == text {
			return true
		}
	}
	return false
}

// A node that was deaf reads what it missed, in order with what comes meanwhile, and nothing twice.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	a, b := openNode(t, rdb, "a"), openNode(t, rdb, "b", func(c *castlog.Config) { c.Node = "b" })
	var want []string
	say := func(text string) {
		require.False(t, a.say(t, text).IsLocal)
		want = append(want, text)
	}
	say("1")
	require.Eventually(t, func() bool { return len(b.texts()) == 1 }, 10*time.Second, pause)
	stop := b.listen(t, rdb) // what it hears twice it delivers once
	say("2")
	require.Eventually(t, func() bool { return len(b.texts()) == 2 }, 10*time.Second, pause)
	stop()
	b.BeginCatchUp()
	for i := range 50 {
		say(fmt.Sprint("missed", i))
	}
	require.Len(t, b.texts(), 2, "what comes is held back")
	require.False(t, b.catchUp(t))
	require.Equal(t, want, b.texts())
	say("3")
	require.Eventually(t, func() bool { return len(b.texts()) == len(want) }, 10*time.Second, pause)
	require.Equal(t, want, b.texts())
}
