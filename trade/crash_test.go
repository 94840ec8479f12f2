package trade_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// A blow falls on a process at its nth command to Redis.
type blow struct {
	at     int64
	after  bool          // the command was carried out, and its answer is lost
	dies   bool          // and everything later fails
	pauses chan struct{} // instead: it stops there, until this is closed

	mu      sync.Mutex
	n       int64         // guarded by mu
	dead    bool          // guarded by mu
	reached chan struct{} // closed when it falls
}

var errDead = errors.New("this process is dead")

func (b *blow) strike(next func() error) error {
	b.mu.Lock()
	b.n++
	now := b.n == b.at
	dead := b.dead
	if now {
		close(b.reached)
		b.dead = b.dies
	}
	b.mu.Unlock()
	switch {
	case dead:
		return errDead
	case !now:
		return next()
	}
	if b.after {
		_ = next()
	}
	if b.pauses != nil {
		<-b.pauses
		if b.after {
			return nil // the answer is there
		}
		return next()
	}
	return errDead
}

func (b *blow) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *blow) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := b.strike(func() error { return next(ctx, cmd) })
		if err != nil && cmd.Err() == nil || errors.Is(err, errDead) {
			cmd.SetErr(err)
		}
		return err
	}
}

func (b *blow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := b.strike(func() error { return next(ctx, cmds) })
		if errors.Is(err, errDead) {
			for _, c := range cmds {
				c.SetErr(err)
			}
		}
		return err
	}
}

// hit says whether the blow fell.
func (b *blow) hit() bool {
	select {
	case <-b.reached:
		return true
	default:
		return false
	}
}

// struck returns the town's service in a process of its own, on which the blow will fall.
func (w *town) struck(t *testing.T, b *blow) *trade.Service {
	b.reached = make(chan struct{})
	var rdb redis.UniversalClient
	switch c := w.rdb.(type) {
	case *redis.ClusterClient:
		rdb = redis.NewClusterClient(c.Options())
	case *redis.Client:
		o := *c.Options()
		o.MaxRetries = -1
		rdb = redis.NewClient(&o)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	require.NoError(t, rdb.Ping(t.Context()).Err())
	switch c := rdb.(type) {
	case *redis.ClusterClient:
		c.AddHook(b)
	case *redis.Client:
		c.AddHook(b)
	}
	return w.process(rdb, players, &casts{}, quickly)
}

// quickly is the configuration of tests in which processes die: a settlement that its process left
// is undone soon.
var quickly = trade.Config{DecideWithin: 300 * time.Millisecond, OpenFor: time.Minute}

// swept waits until nothing is left to be done.
func (w *town) swept() {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		_, err := w.SweepOnce(w.t.Context())
		require.NoError(w.t, err)
		ids, err := w.rdb.ZRange(w.t.Context(), keys.OpenTrades, 0, -1).Result()
		require.NoError(w.t, err)
		for _, id := range ids {
			h, err := w.rdb.HGetAll(w.t.Context(), keys.Trade(id)).Result()
			require.NoError(w.t, err)
			switch trade.Status(h["status"]) {
			case trade.Settling:
				return false
			case trade.Completed:
				if !w.rdb.HExists(w.t.Context(), keys.TradeLedgerIndex, h["ref"]).Val() {
					return false
				}
			}
		}
		return true
	}, waitFor, 20*time.Millisecond)
}

// everywhere runs a scenario with a blow before and after each command, until the scenario needs no
// more.
func everywhere(t *testing.T, w *town, dies bool, scenario func(t *testing.T, w *town, b *blow)) {
	commands := 0
	for _, after := range []bool{false, true} {
		for n := int64(1); ; n++ {
			w := w.anew(t)
			w.Service = w.with(players, quickly)
			w.mint("anna", "apple", 5, 0)
			w.mint("bobo", "", 0, 50)
			b := &blow{at: n, after: after, dies: dies}
			scenario(t, w, b)
			if !b.hit() {
				require.Greater(t, n, int64(1), "it was struck somewhere")
				break
			}
			commands++
			if t.Failed() {
				t.Fatalf("at command %d, after %v", n, after)
			}
		}
	}
	t.Logf("%d blows", commands)
}

func giftIn(dies bool) func(*testing.T, *town) {
	return func(t *testing.T, w *town) {
		everywhere(t, w, dies, func(t *testing.T, w *town, b *blow) {
			present := gift("bob", "k", 0, some("apple", 2))
			_, first := w.struck(t, b).Execute(t.Context(), ann, present)
			if first != nil {
				require.NotEqual(t, "INSUFFICIENT_ITEMS", code(first))
			}
			w.swept()
			w.clean()
			var done trade.Trade
			require.Eventually(t, func() bool {
				var err error
				done, err = w.Execute(t.Context(), ann, present)
				return err == nil
			}, waitFor, tick)
			w.has("anna", "3 apple, 0 gold")
			w.has("bobo", "2 apple, 50 gold")
			require.Equal(t, trade.Completed, done.Status)
			r := w.clean()
			require.EqualValues(t, 1, r.Trades)
		})
	}
}

func aProcessDiesInAGift(t *testing.T, w *town)   { giftIn(true)(t, w) }
func anAnswerIsLostInAGift(t *testing.T, w *town) { giftIn(false)(t, w) }

func tradeIn(dies bool) func(*testing.T, *town) {
	return func(t *testing.T, w *town) {
		everywhere(t, w, dies, func(t *testing.T, w *town, b *blow) {
			opened := w.barter()
			got, first := w.struck(t, b).Accept(t.Context(), bob, agree(opened))
			w.swept()
			w.clean()
			state, err := w.State(t.Context(), ann, trade.Ask{TradeID: opened.TradeID})
			require.NoError(t, err)
			if first == nil {
				require.Equal(t, trade.Completed, got.Status)
				require.Equal(t, trade.Completed, state.Status, "an ok holds")
			}
			if state.Status == trade.Open {
				state = w.accept(bob, state)
			}
			switch state.Status {
			case trade.Completed:
				w.has("anna", "3 apple, 10 gold")
				w.has("bobo", "2 apple, 40 gold")
				require.EqualValues(t, 1, w.clean().Trades)
			case trade.Failed:
				w.has("anna", "5 apple, 0 gold")
				w.has("bobo", "50 gold")
				require.EqualValues(t, 0, w.clean().Trades)
			default:
				require.Fail(t, string(state.Status))
			}
			// Whoever it was, both hear of it, and may trade again.
			require.Eventually(t, func() bool {
				_, err := w.SweepOnce(t.Context())
				_, open := w.Propose(t.Context(), ann, trade.Proposal{To: "bob"})
				return err == nil && open == nil
			}, waitFor, tick)
		})
	}
}

func aProcessDiesInATrade(t *testing.T, w *town)   { tradeIn(true)(t, w) }
func anAnswerIsLostInATrade(t *testing.T, w *town) { tradeIn(false)(t, w) }

func aProcessDiesInAMint(t *testing.T, w *town) {
	everywhere(t, w, true, func(t *testing.T, w *town, b *blow) {
		reward := trade.MintRequest{Key: "fight", CharacterID: "anna", Items: []trade.Line{some("tooth", 2)}}
		_, _ = w.struck(t, b).Mint(t.Context(), reward)
		w.swept()
		w.clean()
		require.Eventually(t, func() bool {
			_, err := w.Mint(t.Context(), reward)
			return err == nil
		}, waitFor, tick)
		w.has("anna", "5 apple, 2 tooth, 0 gold")
		require.EqualValues(t, 3, w.clean().Mints)
	})
}

func aProcessDiesInACancel(t *testing.T, w *town) {
	everywhere(t, w, true, func(t *testing.T, w *town, b *blow) {
		opened := w.barter()
		_, first := w.struck(t, b).Cancel(t.Context(), ann, trade.Cancellation{TradeID: opened.TradeID})
		state, err := w.State(t.Context(), bob, trade.Ask{TradeID: opened.TradeID})
		require.NoError(t, err)
		if first == nil {
			require.Equal(t, trade.Cancelled, state.Status)
		}
		if state.Status == trade.Open {
			_, err = w.Cancel(t.Context(), ann, trade.Cancellation{TradeID: opened.TradeID})
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool {
			_, err := w.SweepOnce(t.Context())
			_, open := w.Propose(t.Context(), ann, trade.Proposal{To: "bob"})
			return err == nil && open == nil
		}, waitFor, tick)
		w.has("anna", "5 apple, 0 gold")
		w.clean()
	})
}

// A proposal whose answer was lost has opened a trade or not. If it has, the trade holds its
// places: both are told of it when they come back, it counts as the pair's open trade, and it can
// be settled.
func proposalIn(dies bool) func(*testing.T, *town) {
	return func(t *testing.T, w *town) {
		everywhere(t, w, dies, func(t *testing.T, w *town, b *blow) {
			_, _ = w.struck(t, b).Propose(t.Context(), ann, trade.Proposal{To: "bob"})
			open, err := w.OpenTrades(t.Context())
			require.NoError(t, err)
			require.LessOrEqual(t, len(open), 1)
			again, err := w.Propose(t.Context(), bob, trade.Proposal{To: "ann"})
			switch code(err) {
			case "": // there was none
				require.Empty(t, open)
			case "TRADE_OPEN":
				if len(open) == 0 { // places that nobody freed, as yet
					return
				}
				again = open[0]
				require.Equal(t, again.TradeID, detail(err, "tradeId"))
			default:
				require.NoError(t, err)
			}
			w.told.mu.Lock()
			w.told.all = nil
			w.told.mu.Unlock()
			require.NoError(t, w.Resend(t.Context(), ann, bob))
			require.Equal(t, map[string][]any{"user:ann": {again}, "user:bob": {again}}, w.told.heard("trade:updated"))
			again = w.accept(ann, w.offer(ann, again, 0, some("apple", 1)))
			require.Equal(t, trade.Completed, w.accept(bob, again).Status)
			w.clean()
		})
	}
}

func aProcessDiesInAProposal(t *testing.T, w *town)   { proposalIn(true)(t, w) }
func anAnswerIsLostInAProposal(t *testing.T, w *town) { proposalIn(false)(t, w) }

// A process stands still before or after any of its commands, for longer than its lease. Others
// acquire the lock, settle what it left and trade on; then it goes on. It must not commit.
func aProcessStopsAndGoesOn(t *testing.T, w *town) {
	everywhere(t, w, false, func(t *testing.T, w *town, b *blow) {
		b.pauses = make(chan struct{})
		opened := w.barter()
		w.locks.run = true // the lease has run out: nobody is held back
		asked := make(chan error, 1)
		paused := w.struck(t, b)
		go func() {
			_, err := paused.Accept(context.WithoutCancel(t.Context()), bob, agree(opened))
			asked <- err
		}()
		select {
		case <-b.reached:
		case err := <-asked: // it needed no such command
			require.NoError(t, err)
			return
		}
		// Somebody else acts for the pair. What that ends may not be done by the paused one.
		_, err := w.Execute(t.Context(), bob, gift("ann", "k", 45))
		require.Contains(t, []string{"", "INSUFFICIENT_GOLD", "LOCKED"}, code(err), err)
		before, e := w.State(t.Context(), ann, trade.Ask{TradeID: opened.TradeID})
		require.NoError(t, e)
		close(b.pauses)
		late := <-asked
		w.swept()
		after, e := w.State(t.Context(), ann, trade.Ask{TradeID: opened.TradeID})
		require.NoError(t, e)
		if before.Status == trade.Failed || before.Status == trade.Completed {
			require.Equal(t, before.Status, after.Status, "a decision is final")
		}
		if err == nil && before.Status != trade.Completed {
			require.NotEqual(t, trade.Completed, after.Status, "bob has not the gold any more")
			require.Error(t, late)
		}
		r := w.clean()
		moved := int64(0)
		for _, ok := range []bool{err == nil, after.Status == trade.Completed} {
			if ok {
				moved++
			}
		}
		require.Equal(t, moved, r.Trades, fmt.Sprint(err, after.Status, late))
	})
}

// The sweeper leaves a settlement alone whose process is still at work.
func aLivingSettlementIsLeftAlone(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	for n := int64(1); ; n++ {
		b := &blow{at: n, pauses: make(chan struct{})}
		o := w.propose(ann, "bob")
		o = w.offer(bob, o, 1)
		o = w.accept(ann, o)
		asked := make(chan error, 1)
		slow := w.struck(t, b)
		go func() {
			_, err := slow.Accept(context.WithoutCancel(t.Context()), bob, agree(o))
			asked <- err
		}()
		select {
		case <-b.reached:
			_, err := w.SweepOnce(t.Context()) // well within the time that it has
			require.NoError(t, err)
			close(b.pauses)
			require.NoError(t, <-asked, "paused at command %d", n)
		case err := <-asked:
			require.NoError(t, err)
			require.Greater(t, n, int64(3))
			w.clean()
			return
		}
	}
}
