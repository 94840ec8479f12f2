package combat_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
)

// When many actions arrive on all nodes at the same time, each version comes from one of them, and
// each node sends the updates of its own actions in order.
func TestActionsAtOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	nodes := []world{node(t, rdb, combat.Config{}), node(t, rdb, combat.Config{}), node(t, rdb, combat.Config{})}
	id := nodes[0].start(t, ann, "training-dummy").CombatID

	const each = 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	versions := map[int64]int{}
	for i := range len(nodes) * each {
		wg.Go(func() {
			out, err := nodes[i%len(nodes)].act(ann, id, "attack")
			for errors.Is(err, fault.ErrLocked) { // a client would try again too
				out, err = nodes[i%len(nodes)].act(ann, id, "attack")
			}
			if err != nil {
				t.Errorf("action %d: %v", i, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			versions[out.State.Version]++
		})
	}
	wg.Wait()
	require.Len(t, versions, len(nodes)*each, "each version comes from one action")
	last := nodes[0].state(t, id)
	require.EqualValues(t, 1+len(nodes)*each, last.Version)

	seen := map[int64]bool{}
	for _, n := range nodes {
		before := int64(0)
		for _, c := range n.rooms.told() {
			v := c.payload.(*combat.Update).State.Version
			require.Greater(t, v, before)
			require.False(t, seen[v])
			before, seen[v] = v, true
		}
	}
	require.Len(t, seen, len(nodes)*each)
}

// When several moves could end a fight, only one of them does.
func TestAFightEndsOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a, b := node(t, rdb, combat.Config{}), node(t, rdb, combat.Config{})
	id := a.start(t, ann, "training-dummy").CombatID
	var wg sync.WaitGroup
	var done, over atomic.Int32
	for i := range 20 {
		wg.Go(func() {
			w := a
			if i%2 == 1 {
				w = b
			}
			switch _, err := w.act(ann, id, "flee"); {
			case err == nil:
				done.Add(1)
			case fault.Of(err).Code == "COMBAT_OVER":
				over.Add(1)
			default:
				t.Errorf("flee: %v", err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, done.Load())
	require.EqualValues(t, 19, over.Load())
	ended := 0
	for _, c := range append(a.rooms.told(), b.rooms.told()...) {
		if c.event == "combat:ended" {
			ended++
		}
	}
	require.Equal(t, 1, ended)
}

// A node whose remembered state forbids an action reads the state from Redis before it refuses.
func TestAStaleNodeAsksBeforeItRefuses(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a, b := node(t, rdb, combat.Config{}), node(t, rdb, combat.Config{})
	id := a.start(t, ann, "training-dummy").CombatID
	_, err := a.act(ann, id, "skill")
	require.NoError(t, err)
	for range 3 {
		_, err = b.act(ann, id, "defend")
		require.NoError(t, err)
	}
	out, err := a.act(ann, id, "skill") // in the state that a remembers, the skill is not ready yet
	require.NoError(t, err)
	require.EqualValues(t, 6, out.State.Version)
}

// An action costs one round trip to Redis on the node that served the action before.
func TestAnActionIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	id := w.start(t, ann, "training-dummy").CombatID
	_, err := w.act(ann, id, "attack") // loads the script
	require.NoError(t, err)
	var trips counter
	w.rdb.AddHook(&trips)
	for range 10 {
		_, err := w.act(ann, id, "attack")
		require.NoError(t, err)
	}
	require.EqualValues(t, 10, trips.Load())
	_, err = w.act(bob, id, "attack")
	require.ErrorIs(t, err, fault.ErrForbidden)
	require.EqualValues(t, 10, trips.Load(), "refusing a stranger needs no round trip")
}

// Replaying the log in Redis from its base gives the state in Redis, also after the log has been
// started again.
func TestAStoredFightReplays(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	id := w.start(t, ann, "training-dummy").CombatID
	longest := 0
	for i := range 300 {
		action := []string{"attack", "defend", "attack", "skill"}[i%4]
		_, err := w.act(ann, id, action)
		if err != nil {
			require.Contains(t, []string{"COMBAT_COOLDOWN", "COMBAT_NO_ENERGY"}, fault.Of(err).Code)
		}
		stored, err := combat.Verify(t.Context(), w.rdb, id)
		require.NoError(t, err)
		require.Equal(t, w.state(t, id).Version, stored.Version)
		longest = max(longest, len(w.rdb.HGet(t.Context(), keys.Combat(id), "log").Val()))
	}
	require.Less(t, longest, 4096, "the log stays short")

	log := func() int { return len(w.rdb.HGet(t.Context(), keys.Combat(id), "log").Val()) }
	for log() < longest/2 { // a short log could lead to the same state with another seed
		_, err := w.act(ann, id, "attack")
		require.NoError(t, err)
	}
	noticed := 0
	for seed := range 8 { // with one seed, everything may come out the same by chance
		require.NoError(t, w.rdb.HSet(t.Context(), keys.Combat(id), "seed", seed).Err())
		if _, err := combat.Verify(t.Context(), w.rdb, id); err != nil {
			noticed++
		}
	}
	require.Positive(t, noticed, "Verify notices another seed")
}

// When the answer to a change is lost and go-redis sends the call again, the action is done once.
func TestALostAnswerIsNotASecondAction(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	id := w.start(t, ann, "training-dummy").CombatID
	_, err := w.act(ann, id, "attack")
	require.NoError(t, err)
	twice := &again{}
	w.rdb.AddHook(twice)
	out, err := w.act(ann, id, "attack")
	require.NoError(t, err)
	require.EqualValues(t, 1, twice.sent.Load())
	require.EqualValues(t, 3, out.State.Version)
	require.EqualValues(t, 3, w.state(t, id).Version)
}

// counter counts the round trips to Redis.
type counter struct{ atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.Add(1); return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.Add(1); return next(ctx, cmds) }
}

// again sends each script twice, as go-redis does when the first answer was lost.
type again struct {
	counter
	sent atomic.Int64
}

func (a *again) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "evalsha") {
			a.sent.Add(1)
			if err := next(ctx, cmd); err != nil {
				return fmt.Errorf("first: %w", err)
			}
		}
		return next(ctx, cmd)
	}
}

func BenchmarkAction(b *testing.B) {
	r := redistest.Client(b)
	s := combat.New(r, silent{}, combat.Config{})
	f, err := s.Start(context.Background(), ann, combat.StartRequest{NPC: "training-dummy"})
	if err != nil {
		b.Fatal(err)
	}
	raw, dst := []byte(`{"combatId":"`+f.CombatID+`","action":"attack"}`), make([]byte, 0, 4096)
	route := s.Routes()[1]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := route.Serve(context.Background(), &ann, raw, dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// silent is a gateway that does nothing, so that the benchmark measures combat alone.
type silent struct{}

func (silent) Join(context.Context, string, string) (int, error)  { return 1, nil }
func (silent) Leave(context.Context, string, string) (int, error) { return 0, nil }
func (silent) CastExcept(context.Context, string, string, string, any) error {
	return nil
}

// Everything works on a Redis Cluster, because each script uses only one key.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	rdb, err := redisconn.Open(t.Context(), c.URL(), redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	a := newArena(t, rdb)
	b := a.quick(t, rdb)
	b.run(t)
	id := a.challenge(t, ann, "c-bob").CombatID
	end := turns(t, id, a, b)
	require.Len(t, a.bank.paid, 1)
	require.Equal(t, combat.Defeated, end.Outcome)
	_, err = combat.Verify(t.Context(), rdb, id)
	require.NoError(t, err)

	abandoned := a.start(t, ann, "goblin").CombatID
	running, err := a.List(t.Context(), ann, event.None{})
	require.NoError(t, err)
	require.Len(t, running.Combats, 1)
	a.clock.advance(3 * time.Minute)
	eventually(t, "the end", func() bool { return len(endings(abandoned, b)) == 1 })
	a.challenge(t, bob, "c-ann")
}
