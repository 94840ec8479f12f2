package trade_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// away is a hook that fails the commands that match, as when their server is away.
type away struct {
	match func(args string) bool
	back  atomic.Bool
	n     atomic.Int64 // that did not go through
}

var errAway = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

func (a *away) stops(cmd redis.Cmder) bool {
	words := []string{}
	for _, arg := range cmd.Args() {
		if p, ok := arg.(*string); ok {
			arg = *p
		}
		words = append(words, fmt.Sprint(arg))
	}
	if a.back.Load() || !a.match(strings.Join(words, " ")) {
		return false
	}
	a.n.Add(1)
	cmd.SetErr(errAway)
	return true
}

func (a *away) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *away) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if a.stops(cmd) {
			return errAway
		}
		return next(ctx, cmd)
	}
}

func (a *away) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var through []redis.Cmder
		var err error
		for _, cmd := range cmds {
			if a.stops(cmd) {
				err = errAway
			} else {
				through = append(through, cmd)
			}
		}
		if len(through) == 0 {
			return err
		}
		if failed := next(ctx, through); err == nil {
			err = failed
		}
		return err
	}
}

// abandoned is a trade that a process left settling, with goods in escrow on both sides.
func (w *town) abandoned(t *testing.T, a, b event.Player) trade.Trade {
	t.Helper()
	for n := int64(1); ; n++ {
		o := w.propose(a, b.UserID)
		o = w.offer(a, o, 0, some("apple", 1))
		o = w.accept(a, w.offer(b, o, 0, some("apple", 2)))
		_, err := w.struck(t, &blow{at: n, dies: true}).Accept(t.Context(), b, agree(o))
		require.Error(t, err, "it lived")
		state, err := w.State(t.Context(), a, trade.Ask{TradeID: o.TradeID})
		require.NoError(t, err)
		if state.Status == trade.Open {
			_, err := w.Cancel(t.Context(), a, trade.Cancellation{TradeID: o.TradeID})
			require.NoError(t, err)
			continue
		}
		require.Equal(t, trade.Settling, state.Status)
		held := 0
		for _, p := range []event.Player{a, b} {
			if w.rdb.HExists(t.Context(), keys.Inventory(p.CharacterID), "hold:"+o.TradeID).Val() {
				held++
			}
		}
		if held == 2 {
			return state
		}
		_, err = w.Execute(t.Context(), a, gift(b.UserID, "next", 0, some("unicorn", 1))) // ends it, and no other pair's
		require.Equal(t, "ITEM_UNKNOWN", code(err))
	}
}

// A part of a Cluster is away: trades without keys there are settled meanwhile, and the others when
// it is back.
func TestAPartOfAClusterThatIsAwayHoldsUpNoOtherTrade(t *testing.T) {
	t.Parallel()
	w := newTown(t, clusterClient(t, redistest.StartCluster(t)))
	w.Service = trade.New(w.rdb, w.locks, players, w.told, quickly)
	zoe := event.Player{UserID: "zoe", CharacterID: "zoe"}
	for _, p := range []event.Player{ann, bob, zoe, {CharacterID: "p7"}} {
		w.mint(p.CharacterID, "apple", 10, 0)
	}
	p7 := event.Player{UserID: "p7", CharacterID: "p7"}
	first := w.abandoned(t, ann, zoe)
	second := w.abandoned(t, bob, p7)

	rdb := redis.NewClusterClient(w.rdb.(*redis.ClusterClient).Options())
	t.Cleanup(func() { _ = rdb.Close() })
	gone := &away{match: func(args string) bool { return strings.Contains(args, "char:zoe:") }}
	rdb.AddHook(gone)
	sweeper := trade.New(rdb, w.locks, players, w.told, quickly)
	is := func(o trade.Trade) trade.Status {
		got, err := w.Show(t.Context(), o.TradeID)
		require.NoError(t, err)
		return got.Status
	}
	require.Eventually(t, func() bool {
		_, _ = sweeper.SweepOnce(t.Context())
		return gone.n.Load() > 0 && is(second) == trade.Failed && !w.rdb.HExists(t.Context(), keys.Inventory("bobo"), "hold:"+second.TradeID).Val()
	}, waitFor, tick)
	w.has("bobo", "10 apple, 0 gold")
	w.has("p7", "10 apple, 0 gold")
	require.True(t, w.rdb.HExists(t.Context(), keys.Inventory("zoe"), "hold:"+first.TradeID).Val())
	require.Eventually(t, func() bool {
		before := gone.n.Load()
		_, err := sweeper.SweepOnce(t.Context())
		return err == nil && gone.n.Load() == before
	}, waitFor, tick, "what failed is put off")

	gone.back.Store(true)
	require.Eventually(t, func() bool {
		_, err := sweeper.SweepOnce(t.Context())
		return err == nil && !w.rdb.HExists(t.Context(), keys.Inventory("zoe"), "hold:"+first.TradeID).Val()
	}, 5*time.Second, tick)
	w.has("zoe", "10 apple, 0 gold")
	w.clean()
}

// A single server that is away is not asked for each of thousands of trades.
func TestASweepStopsWhereTheOneServerIsAway(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	w.due(500)
	gone := &away{match: func(args string) bool { return strings.HasPrefix(args, "hgetall trade:") }}
	w.rdb.AddHook(gone)
	_, err := w.SweepOnce(t.Context())
	require.Equal(t, "UNAVAILABLE", code(err))
	require.Less(t, gone.n.Load(), int64(50))
	require.EqualValues(t, 500, w.rdb.ZCard(t.Context(), keys.OpenTrades).Val())
}

// due puts so many trades on the sweeper's list that do not exist.
func (w *town) due(n int) {
	pipe := w.rdb.Pipeline()
	for i := range n {
		pipe.ZAdd(w.t.Context(), keys.OpenTrades, redis.Z{Score: 1, Member: fmt.Sprintf("%026d", i)})
	}
	_, err := pipe.Exec(w.t.Context())
	require.NoError(w.t, err)
}

// Thousands that are due at once are all looked at within five seconds.
func TestABacklogIsSweptAtOnce(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	w.due(5000)
	ctx, stop := context.WithCancel(t.Context())
	var sweep sync.WaitGroup
	sweep.Go(func() { _ = w.Sweep(ctx) })
	require.Eventually(t, func() bool { return w.rdb.ZCard(t.Context(), keys.OpenTrades).Val() == 0 }, 5*time.Second, tick)
	stop()
	sweep.Wait()
}

// meanwhile is a hook that does something right after a trade was read.
type meanwhile func()

func (m meanwhile) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m meanwhile) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "hgetall" {
			m()
		}
		return err
	}
}

func (m meanwhile) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// The sweeper reads an open trade that expires much later. Before it postpones the check, a process
// begins to settle the trade and schedules an early check. The early check stays.
func TestTheSweeperDoesNotPutOffWhatSomebodyBegins(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	o := w.propose(ann, "bob")
	look := func(at float64) {
		require.NoError(t, w.rdb.ZAdd(t.Context(), keys.OpenTrades, redis.Z{Score: at, Member: o.TradeID}).Err())
	}
	look(1)
	_, err := w.SweepOnce(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, o.ExpiresAt, w.rdb.ZScore(t.Context(), keys.OpenTrades, o.TradeID).Val())

	look(1)
	soon := float64(time.Now().Add(2 * time.Second).UnixMilli())
	other := redis.NewClient(w.rdb.(*redis.Client).Options())
	t.Cleanup(func() { _ = other.Close() })
	other.AddHook(meanwhile(func() { look(soon) }))
	_, err = trade.New(other, w.locks, players, w.told, trade.Config{}).SweepOnce(t.Context())
	require.NoError(t, err)
	require.InDelta(t, soon, w.rdb.ZScore(t.Context(), keys.OpenTrades, o.TradeID).Val(), 0)
}

// On a Cluster the sweeper's list lies on another server than the trade: an ok waits for both.
func TestOnAClusterTheSweepersListIsAsDurableAsTheRest(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rdb := clusterClient(t, cluster)
	w := newTown(t, rdb)
	w.Service = trade.New(rdb, w.locks, selfPlayed{}, w.told, trade.Config{Durability: trade.Wait})
	master := func(key string) string {
		m, err := rdb.MasterForKey(t.Context(), key)
		require.NoError(t, err)
		return m.Options().Addr
	}
	lists := master(keys.OpenTrades)
	for i, n := range cluster.Nodes[:3] {
		if n.Addr() == lists {
			cluster.Nodes[i+3].Kill()
		}
	}
	proposed := 0
	for i := 0; proposed < 12; i++ {
		a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
		if master(keys.CharacterTrades(a)) == lists || master(keys.CharacterTrades(b)) == lists {
			continue
		}
		_, err := w.Propose(t.Context(), event.Player{UserID: a, CharacterID: a}, trade.Proposal{To: b})
		require.Equal(t, "UNAVAILABLE", code(err))
		proposed++
	}
}

// The script that waits for the disk does not create a key that is gone.
func TestWhatIsGoneIsNotTouched(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	s := trade.New(w.rdb, w.locks, players, w.told, trade.Config{Durability: trade.Wait})
	require.Error(t, trade.Settled(s, t.Context(), keys.Trade("GONE")), "there is no replica")
	require.Zero(t, w.rdb.Exists(t.Context(), keys.Trade("GONE")).Val())
}

// When all is settled, an inventory holds goods only, and the sweeper has nothing more to look at.
func nothingStaysBehind(t *testing.T, w *town) {
	w.Service = w.with(players, trade.Config{DecideWithin: 300 * time.Millisecond, Skew: 100 * time.Millisecond})
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	w.accept(bob, w.barter())
	_, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	_, err = w.Execute(t.Context(), ann, gift("bob", "k2", 0, some("apple", 9)))
	require.ErrorIs(t, err, trade.ErrItems)
	require.Eventually(t, func() bool {
		_, err := w.SweepOnce(t.Context())
		return err == nil && w.rdb.ZCard(t.Context(), keys.OpenTrades).Val() == 0
	}, waitFor, tick)
	for character, fields := range map[string][]string{"anna": {"gold", "item:apple"}, "bobo": {"gold", "item:apple"}} {
		require.ElementsMatch(t, fields, w.rdb.HKeys(t.Context(), keys.Inventory(character)).Val(), character)
	}
	w.clean()
}
