package castlog_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A node is a log with what its members heard. It hears every channel.
type node struct {
	*castlog.Log
	name   string
	server atomic.Value // string

	stopListening func() // what openNode began

	mu     sync.Mutex
	heard  []string
	missed int
}

const pause = 10 * time.Millisecond

// quiet is as a gateway's clients are: else go-redis changes options that connections share.
var quiet = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

// openNode makes a node that hears one channel over a subscription of its own.
func openNode(t *testing.T, rdb redis.UniversalClient, name string, change ...func(*castlog.Config)) *node {
	t.Helper()
	n := &node{name: name}
	n.server.Store("server 1")
	cfg := castlog.Config{
		AwayAfter: 10 * time.Second, // so that a busy machine is no outage: see soonAway
		Redis:     rdb, Prefix: "test", Node: name, Server: func() string { return n.server.Load().(string) },
		Check: func(message []byte) (string, bool) {
			origin, _, ok := strings.Cut(string(message), " ")
			return origin, ok
		},
		Deliver: func(_ any, message []byte, _ castlog.Position) { n.note(textOf(message)) },
		OnForgotten: func() {
			go func() { _, _ = n.CatchUp(context.Background(), n.Generation(), []string{"r"}) }() // a failure shows in what is heard
		},
		OnMissed: func() { n.mu.Lock(); n.missed++; n.mu.Unlock() },
		Report:   func(err error) { t.Log(name, err) },
	}
	for _, f := range change {
		f(&cfg)
	}
	n.Log = castlog.New(cfg)
	n.Start()
	t.Cleanup(n.Close)
	n.stopListening = n.listen(t, rdb)
	return n
}

// soonAway is for tests in which Redis is away.
func soonAway(c *castlog.Config) { c.AwayAfter = 0 }

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

func (m member) Deliver(castlog.Position) { m.n.note(m.text) }
func (m member) HasMembers() bool         { return true }
func (m member) Release()                 {}

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

// A node that found no log, because it came first, hears the first casts of it.
func TestTheFirstCastsOfALogAreHeard(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	early := &node{name: "early"}
	early.Log = castlog.New(castlog.Config{
		Redis: rdb, Prefix: "test", Node: early.name, OnForgotten: func() {},
		Check:   func([]byte) (string, bool) { return "a", true },
		Deliver: func(_ any, message []byte, _ castlog.Position) { early.note(textOf(message)) },
	})
	require.False(t, early.catchUp(t))
	a := openNode(t, rdb, "a")
	for _, text := range []string{"1", "2", "3"} {
		require.False(t, a.say(t, text).IsLocal)
	}
	entries, err := rdb.LRange(t.Context(), "{test:log}:room:r", 0, -1).Result()
	require.NoError(t, err)
	require.True(t, early.hearEntry(entries[0])) // the others are on their way
	require.False(t, early.catchUp(t))
	require.True(t, early.hearEntry(entries[1]))
	require.Equal(t, []string{"1", "2", "3"}, early.texts())
}

// While Redis is away, the members on the node hear a cast at once and it is answered as local.
// When Redis is back everybody else hears it, once and in order, and what comes then is not local.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lose, back func(*redistest.Instance) }{
		"killed":  {(*redistest.Instance).Kill, (*redistest.Instance).Restart},
		"hanging": {(*redistest.Instance).Pause, (*redistest.Instance).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			a, b := openNode(t, server.Client(), "a", soonAway), openNode(t, server.Client(), "b", soonAway)
			require.False(t, a.say(t, "before").IsLocal)
			require.Eventually(t, func() bool { return len(a.texts())+len(b.texts()) == 2 }, 10*time.Second, pause)
			c.lose(server)
			want := []string{"before"}
			for i := range 20 {
				text := fmt.Sprint("meanwhile", i)
				require.True(t, a.say(t, text).IsLocal)
				want = append(want, text)
			}
			require.Equal(t, want, a.texts())
			require.True(t, a.IsAway())
			b.BeginCatchUp()
			c.back(server)
			require.Eventually(t, func() bool { return !a.say(t, "again").IsLocal }, 20*time.Second, pause)
			b.catchUp(t)
			require.Eventually(t, func() bool { return contains(b.texts(), "again") }, 10*time.Second, pause)
			require.Equal(t, want, withoutText(b.texts(), "again"))
			a.BeginCatchUp()
			a.catchUp(t)
			require.Equal(t, want, withoutText(a.texts(), "again"), "its own echo is not delivered")
		})
	}
}

func withoutText(list []string, text string) (out []string) {
	for _, s := range list {
		if s != text {
			out = append(out, s)
		}
	}
	return out
}

// What waits for Redis is bounded: beyond it a cast is refused, and what was taken arrives.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	a, b := openNode(t, server.Client(), "a", func(c *castlog.Config) { c.QueueBytes = 64 << 10 }), openNode(t, server.Client(), "b")
	require.False(t, a.say(t, "before").IsLocal)
	server.Pause()
	b.BeginCatchUp()
	var want []string
	for i := 0; ; i++ {
		text := fmt.Sprint(i, strings.Repeat("x", 1000))
		_, err := a.Append(a.cast(text), false)
		if err != nil {
			require.ErrorIs(t, err, castlog.ErrFull)
			break
		}
		want = append(want, text)
	}
	require.Greater(t, len(want), 50)
	require.LessOrEqual(t, a.Stats().Kept, 64<<10)
	_, err := a.Append(a.cast("small"), false)
	for err == nil {
		want = append(want, "small")
		_, err = a.Append(a.cast("small"), false)
	}
	server.Resume()
	require.Eventually(t, func() bool { return !a.say2(t, "again").IsLocal }, 20*time.Second, pause)
	b.catchUp(t)
	require.Eventually(t, func() bool { return contains(b.texts(), "again") }, 10*time.Second, pause)
	require.Equal(t, want, withoutText(withoutText(b.texts(), "again"), "before"))
}

// say2 is say that counts a refused cast as local.
func (n *node) say2(t *testing.T, text string) castlog.Outcome {
	t.Helper()
	p, err := n.Append(n.cast(text), true)
	if err != nil {
		return castlog.Outcome{IsLocal: true}
	}
	outcome, err := p.Wait(t.Context())
	require.NoError(t, err)
	return outcome
}

// A server that has forgotten the last casts gets them again, in order, before anything newer; who
// has heard them does not hear them twice. Positions go on above all that were heard.
func TestForgetfulServer(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	a, b := openNode(t, rdb, "a"), openNode(t, rdb, "b")
	require.False(t, a.say(t, "1").IsLocal)
	require.Eventually(t, func() bool { return len(b.texts()) == 1 }, 10*time.Second, pause)
	dumped := dump(t, rdb)
	want := []string{"1"}
	var last castlog.Outcome
	for i := 2; i < 12; i++ {
		want = append(want, fmt.Sprint(i))
		last = []*node{a, b}[i%2].say(t, fmt.Sprint(i))
	}
	require.Eventually(t, func() bool { return len(a.texts())+len(b.texts()) == 2*len(want) }, 10*time.Second, pause)

	restore(t, rdb, dumped) // as a replica that had received only the first one
	for _, n := range []*node{a, b} {
		n.server.Store("server 2")
	}
	b.say(t, "new") // perhaps local, while the others append again
	require.Eventually(t, func() bool { return a.Stats().Again == 5 && b.Stats().Again == 5 && b.Stats().Appended == 6 }, 10*time.Second, pause)
	require.Greater(t, b.say(t, "newer").At.Number, last.At.Number)
	want = append(want, "new", "newer")
	require.Equal(t, want, b.texts())
	entries, err := rdb.LRange(t.Context(), "{test:log}:room:r", 0, -1).Result()
	require.NoError(t, err)
	var texts []string
	for _, e := range entries {
		texts = append(texts, textOf([]byte(e)))
	}
	require.Equal(t, want, texts, "what was lacking comes before anything newer, in the order that it had")
	require.Eventually(t, func() bool { return len(a.texts()) == len(want) }, 10*time.Second, pause)
	require.Equal(t, texts, a.texts())
	require.Zero(t, a.missed+b.missed)
}

func dump(t *testing.T, rdb redis.UniversalClient) map[string]string {
	t.Helper()
	names, err := rdb.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	all := map[string]string{}
	for _, name := range names {
		all[name], err = rdb.Dump(t.Context(), name).Result()
		require.NoError(t, err)
	}
	return all
}

func restore(t *testing.T, rdb redis.UniversalClient, all map[string]string) {
	t.Helper()
	_, err := rdb.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.FlushAll(t.Context())
		for name, value := range all {
			p.Restore(t.Context(), name, 0, value)
		}
		return nil
	})
	require.NoError(t, err)
}

// A node that was gone when the server forgot is not waited for longer than a second, and everybody
// is told that something may be missed.
func TestMissedIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	a := openNode(t, rdb, "a")
	require.False(t, a.say(t, "1").IsLocal)
	now := float64(time.Now().UnixMilli())
	require.NoError(t, rdb.ZAdd(t.Context(), "{test:log}:alive", redis.Z{Score: now, Member: "a node that was killed"}).Err())
	a.server.Store("server 2")
	a.say(t, "2")
	require.Eventually(t, func() bool { return a.countMissed() == 1 }, 10*time.Second, pause)
	require.Eventually(t, func() bool { return !a.say(t, "3").IsLocal }, 10*time.Second, pause)
	require.Equal(t, 1, a.countMissed())
}

func (n *node) countMissed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.missed
}

// A room's log is bounded, and so are all logs together. A node that was deaf for longer than they
// reach back learns that something is missing.
func TestBoundsAreTold(t *testing.T) {
	t.Parallel()
	for name, bounds := range map[string]func(*castlog.Config){
		"of a room":   func(c *castlog.Config) { c.RoomBytes = 64 << 10 },
		"of all logs": func(c *castlog.Config) { c.MemoryBytes = 64 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Server(t).Client()
			a, b := openNode(t, rdb, "a", bounds), openNode(t, rdb, "b", bounds)
			b.BeginCatchUp()
			for i := range 64 {
				require.False(t, a.say(t, fmt.Sprint("short", i)).IsLocal)
			}
			if name == "of a room" {
				require.False(t, b.catchUp(t), "an entry counts as 1 KiB")
				require.Len(t, b.texts(), 64)
				b.BeginCatchUp()
			}
			for i := range 10 {
				require.False(t, a.say(t, fmt.Sprint(i, strings.Repeat("x", 10<<10))).IsLocal)
			}
			require.True(t, b.catchUp(t))
			require.Positive(t, a.Stats().Dropped)
			size, err := rdb.MemoryUsage(t.Context(), "{test:log}:room:r").Result()
			if err == nil {
				require.LessOrEqual(t, size, int64(96<<10))
			}
			kept, err := rdb.HGet(t.Context(), "{test:log}:head", "bytes").Int64()
			require.NoError(t, err)
			require.LessOrEqual(t, kept, int64(64<<10))
		})
	}
}

// What somebody else wrote into a log is dropped and counted, and what was cast is heard.
func TestForeignEntries(t *testing.T) {
	t.Parallel()
	const room = "{test:log}:room:r"
	tail := "\xcf\x00\x00\x00\x00\x00\x00\x00\x01\xa8EPOCHXXX\xb00000000000000005"
	for name, entry := range map[string]string{
		"empty": "", "cut off": "a te", "binary": "\x00\xff\xfe", "digits": "0000000000000005",
		"another epoch": "a text" + tail, "no digits": "a text" + tail[:len(tail)-1] + "x",
		"huge": strings.Repeat("x", 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Server(t).Client()
			a, b := openNode(t, rdb, "a"), openNode(t, rdb, "b")
			b.BeginCatchUp()
			require.False(t, a.say(t, "1").IsLocal)
			entries := []any{entry}
			if len(entry) < 1000 {
				entries = slices.Repeat(entries, 40) // more than one piece of a read
			}
			require.NoError(t, rdb.RPush(t.Context(), room, entries...).Err())
			require.False(t, a.say(t, "2").IsLocal)
			require.NoError(t, rdb.RPush(t.Context(), room, entries...).Err())
			b.catchUp(t)
			require.Equal(t, []string{"1", "2"}, b.texts())
			require.Equal(t, int64(2*len(entries)), b.Stats().Malformed)
		})
	}
	for name, spoil := range map[string]func(rdb redis.UniversalClient) error{
		"a position far above": func(rdb redis.UniversalClient) error {
			return rdb.RPush(t.Context(), room, "a text"+strings.Replace(tail, "\xb00", "\xb09", 1)).Err()
		},
		"another type":   func(rdb redis.UniversalClient) error { return rdb.Set(t.Context(), room, "x", 0).Err() },
		"the sizes gone": func(rdb redis.UniversalClient) error { return rdb.Del(t.Context(), "{test:log}:sizes").Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Server(t).Client()
			a, b := openNode(t, rdb, "a"), openNode(t, rdb, "b")
			b.BeginCatchUp()
			require.NoError(t, spoil(rdb))
			require.False(t, a.say(t, "1").IsLocal)
			b.catchUp(t)
			require.Equal(t, []string{"1"}, b.texts())
		})
	}
}

// Casts of a stream are numbered by their places, whichever node they come from and in whichever
// order. A gap is waited for 2 s.
func TestPlaces(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	a, b := openNode(t, rdb, "a"), openNode(t, rdb, "b")
	place := func(n *node, stream string, at int64) {
		c := n.cast(fmt.Sprint(stream, at))
		c.Stream, c.Place = stream, at
		_, err := n.Append(c, false)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return n.Stats().Appended > 0 }, 10*time.Second, pause)
	}
	expect := func(want ...string) {
		t.Helper()
		for _, n := range []*node{a, b} {
			require.Eventually(t, func() bool { return len(n.texts()) >= len(want) }, 10*time.Second, pause)
			require.Equal(t, want, n.texts())
		}
	}
	place(a, "x", 1)
	expect("x1")
	place(b, "x", 3)
	place(b, "y", 1)
	expect("x1", "y1")
	place(a, "x", 4)
	place(a, "x", 2)
	expect("x1", "y1", "x2", "x3", "x4")
	place(a, "x", 2) // it is over
	place(a, "x", 6)
	place(b, "x", 7)
	expect("x1", "y1", "x2", "x3", "x4", "x6", "x7")
	place(b, "z", 2) // the first that Redis sees of a stream
	place(a, "z", 1)
	expect("x1", "y1", "x2", "x3", "x4", "x6", "x7", "z1", "z2")
}

// A cast is answered twice the same way: refused because it is early, and because it was said.
func TestClaims(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	a := openNode(t, rdb, "a")
	say := func(id string, slow time.Duration, record string) castlog.Outcome {
		c := a.cast(id)
		c.History = &castlog.History{Key: "history", Length: 100, Age: time.Hour, Text: []byte(`{"id":"` + id + `","at":1700000000000}`)}
		c.History.Claim = &castlog.Claim{SlowKey: "slow", SlowInterval: slow, Record: record, Token: "t", Digest: "0123456789abcdef", Keep: time.Minute, Answer: `+{"n":1}`}
		p, err := a.Append(c, true)
		require.NoError(t, err)
		outcome, err := p.Wait(t.Context())
		require.NoError(t, err)
		return outcome
	}
	require.Nil(t, say("A1", time.Hour, "").Refused)
	require.Equal(t, "early", say("A2", time.Hour, "").Refused[0])
	require.Nil(t, say("A3", 0, "record").Refused)
	require.Equal(t, []string{"answer", `+{"n":1}`}, say("A4", 0, "record").Refused)
	require.Equal(t, []string{"A1", "A3"}, a.texts())
	require.NoError(t, rdb.Del(t.Context(), "history").Err())
	require.NoError(t, rdb.Set(t.Context(), "history", "of another program", 0).Err())
	require.Nil(t, say("A5", 0, "").Refused)
	require.Equal(t, []string{"A1", "A3", "A5"}, a.texts())
}

// Nodes with the same prefix on another database of the server have another log, and hear each
// other all the same.
func TestAnotherDatabaseIsHeard(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	o := *server.Client().(*redis.Client).Options()
	o.DB = 1
	other := redis.NewClient(&o)
	t.Cleanup(func() { _ = other.Close() })
	a, b := openNode(t, server.Client(), "a"), openNode(t, other, "b")
	want := []string{"1", "2", "3", "4"}
	for i, text := range want {
		require.False(t, []*node{a, b}[i%2].say(t, text).IsLocal)
	}
	for _, n := range []*node{a, b} {
		require.Eventually(t, func() bool { return len(n.texts()) == len(want) }, 10*time.Second, pause)
		require.ElementsMatch(t, want, n.texts())
		require.Zero(t, n.Stats().Malformed)
	}
}

// A log is kept for as long as something is said in its room, however often Redis is told so, and
// then for KeepFor.
func TestLogsAreKeptWhileTheyAreWritten(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	const keepFor = 1200 * time.Millisecond
	a := openNode(t, rdb, "a", func(c *castlog.Config) { c.KeepFor = keepFor })
	said := 0
	for end := time.Now().Add(3 * keepFor); time.Now().Before(end); said++ {
		require.False(t, a.say(t, fmt.Sprint(said)).IsLocal)
	}
	last := time.Now()
	length := rdb.LLen(t.Context(), "{test:log}:room:r").Val()
	require.GreaterOrEqual(t, length, int64(min(said, 960)), "what was said first is still there")
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), "{test:log}:room:r").Val() == 0 }, 4*keepFor, pause)
	require.Greater(t, time.Since(last), keepFor-50*time.Millisecond)
	require.Eventually(t, func() bool { return rdb.HGet(t.Context(), "{test:log}:head", "bytes").Val() == "0" }, 10*time.Second, pause)
	require.Zero(t, rdb.ZCard(t.Context(), "{test:log}:rooms").Val())
}

// Without memory Redis refuses a cast whole: nothing is published that is not logged.
func TestFullMemory(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	a, b := openNode(t, rdb, "a", soonAway), openNode(t, rdb, "b", soonAway)
	require.False(t, a.say(t, "before").IsLocal)
	require.Eventually(t, func() bool { return len(b.texts()) == 1 }, 10*time.Second, pause)
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.True(t, a.say(t, "meanwhile").IsLocal)
	require.Equal(t, []string{"before"}, b.texts())
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.Eventually(t, func() bool { return len(b.texts()) == 2 }, 10*time.Second, pause)
	require.False(t, a.say(t, "after").IsLocal)
	require.Equal(t, []string{"before", "meanwhile", "after"}, a.texts())
	require.Eventually(t, func() bool { return len(b.texts()) == 3 }, 10*time.Second, pause)
	require.Equal(t, a.texts(), b.texts())
}

// While delivery is locked, no member receives anything: neither what is heard nor what is
// delivered without Redis.
func TestNothingIsDeliveredWhileDeliveryIsLocked(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	n := openNode(t, r.Client(), "a", soonAway)
	n.say(t, "1")
	r.Pause()
	_, err := n.Append(n.cast("2"), false)
	require.NoError(t, err)
	require.Eventually(t, n.IsAway, 10*time.Second, pause)
	require.Equal(t, []string{"1", "2"}, n.texts())
	_, isHearing := n.LockDelivery()
	require.True(t, isHearing)
	appended := make(chan struct{})
	go func() {
		defer close(appended)
		_, _ = n.Append(n.cast("3"), false) // it is delivered at once
	}()
	select {
	case <-appended:
		require.Fail(t, "it was delivered")
	case <-time.After(100 * time.Millisecond): // nothing may happen in this time
	}
	require.Equal(t, []string{"1", "2"}, n.texts())
	n.UnlockDelivery()
	<-appended
	require.Equal(t, []string{"1", "2", "3"}, n.texts())
	r.Resume()
}

// A node that casts to a room to which it is just subscribing does not hear that, and is not deaf.
func TestACastBeforeTheSubscriptionDoesNotMakeDeaf(t *testing.T) {
	t.Parallel()
	deaf := atomic.Int64{}
	n := openNode(t, redistest.Server(t).Client(), "a", func(c *castlog.Config) { c.OnDeaf, c.AwayAfter = func() { deaf.Add(1) }, 2*time.Second })
	early := n.cast("early")
	early.Channels = []string{"elsewhere"}
	released := make(chan struct{})
	early.Members = lateMembers{released}
	_, err := n.Append(early, false)
	require.NoError(t, err)
	n.say(t, "later")
	select {
	case <-released:
	case <-time.After(10 * time.Second):
		require.Fail(t, "it is waited for")
	}
	require.Zero(t, deaf.Load())
	require.Equal(t, []string{"later"}, n.texts())
}

// lateMembers are members who are not there yet.
type lateMembers struct{ released chan struct{} }

func (lateMembers) Deliver(castlog.Position) { panic("it was not heard") }
func (lateMembers) HasMembers() bool         { return true }
func (m lateMembers) Release()               { close(m.released) }

// Where Redis refuses a command of the log for want of a right, nothing is written or heard that is
// not in it, and everything once when the right is given.
func TestARightIsMissing(t *testing.T) {
	t.Parallel()
	for _, right := range []string{"rpush", "lindex", "lrange", "ltrim", "hincrby", "xadd", "publish"} {
		t.Run(right, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			admin := server.Client()
			rules := func(rules ...any) {
				require.NoError(t, admin.Do(t.Context(), append([]any{"acl", "setuser", "game"}, rules...)...).Err())
			}
			rules("on", ">secret", "~*", "&*", "+@all")
			user := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "game", Password: "secret", MaintNotificationsConfig: quiet})
			t.Cleanup(func() { _ = user.Close() })
			a, b := openNode(t, user, "a", soonAway), openNode(t, admin, "b")
			said := func(text string) castlog.Outcome {
				c := a.cast(text)
				c.History = &castlog.History{Key: "history", Length: 100, Age: time.Hour, Text: []byte(`{"id":"x","at":1700000000000}`)}
				p, err := a.Append(c, true)
				require.NoError(t, err)
				outcome, err := p.Wait(t.Context())
				require.NoError(t, err)
				return outcome
			}
			require.False(t, said("1").IsLocal)
			rules("-" + right)
			require.True(t, said("2").IsLocal)
			require.True(t, said("3").IsLocal)
			require.False(t, b.say(t, "between").IsLocal)
			require.Equal(t, []string{"1", "between"}, b.texts())
			require.EqualValues(t, 1, admin.XLen(t.Context(), "history").Val())
			rules("+" + right)
			require.Eventually(t, func() bool { return len(b.texts()) == 4 && len(a.texts()) == 4 }, 10*time.Second, pause)
			require.Equal(t, []string{"1", "between", "2", "3"}, b.texts())
			require.EqualValues(t, 3, admin.XLen(t.Context(), "history").Val())
		})
	}
}

// A cast that was heard is in the log: who cast it is not kept waiting for an answer that was lost.
func TestALostAnswerToWhatWasHeard(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	wire := redistest.Toxic(t, server)
	options, err := redis.ParseURL(wire.URL())
	require.NoError(t, err)
	options.MaintNotificationsConfig = quiet
	overWire := redis.NewClient(options)
	t.Cleanup(func() { _ = overWire.Close() })
	direct := server.Client()
	a, b := openNode(t, direct, "a", soonAway, func(c *castlog.Config) { c.Redis = overWire }), openNode(t, direct, "b")
	require.False(t, a.say(t, "1").IsLocal)
	var connections sync.WaitGroup // of which one is ready then: a new one could not greet
	for range 4 {
		connections.Go(func() { overWire.BLPop(t.Context(), 100*time.Millisecond, "none") })
	}
	connections.Wait()
	wire.BlackHole()
	p, err := a.Append(a.cast("2"), true)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	outcome, err := p.Wait(ctx)
	require.NoError(t, err)
	require.False(t, outcome.IsLocal)
	require.Equal(t, []string{"1", "2"}, a.texts())
	require.Eventually(t, func() bool { return len(b.texts()) == 2 }, 10*time.Second, pause)
	wire.Mend()
	require.Eventually(t, func() bool { return !a.say(t, "later").IsLocal }, 20*time.Second, pause)
	require.Equal(t, []string{"1", "2"}, b.texts()[:2])
}
