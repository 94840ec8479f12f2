package trade_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// crowd adds so many strangers to the town. Some have characters that come before everybody else's,
// the others' come after: places are taken in that order.
func (w *town) crowd(n int) []event.Player {
	known := maps.Clone(players)
	strangers := make([]event.Player, n)
	for i := range strangers {
		id := fmt.Sprintf("%c-stranger-%02d", "0~"[i%2], i)
		known[id], strangers[i] = id, event.Player{UserID: id, CharacterID: id}
	}
	w.Service = w.with(known, trade.Config{})
	return strangers
}

// incoming counts the places that the proposals of others hold at a character.
func (w *town) incoming(character string) (n int) {
	own := fmt.Sprint(character)
	for id := range w.rdb.HGetAll(w.t.Context(), keys.CharacterTrades(own)).Val() {
		if w.rdb.HGet(w.t.Context(), keys.Trade(id), "b:character").Val() == own {
			n++
		}
	}
	return n
}

// Proposals count against those who make them: ten strangers, two of them with all five of theirs,
// take nothing from ann. An eleventh cancels the oldest.
func strangersTakeNothing(t *testing.T, w *town) {
	strangers := w.crowd(13)
	var opened []trade.Trade
	for _, s := range strangers[:10] {
		opened = append(opened, w.propose(s, "ann"))
		waitForNextMillisecond() // which of two is the oldest is known by the millisecond
	}
	for i := range 5 {
		w.propose(ann, fmt.Sprint("p", i))
	}
	_, err := w.Propose(t.Context(), ann, trade.Proposal{To: "zoe"})
	require.ErrorIs(t, err, trade.ErrTooManyOpen)
	require.Equal(t, "ann", fault.Of(err).Detail("userId"))
	require.Equal(t, 10, w.incoming("anna"))
	require.Empty(t, w.told.heard("trade:cancelled"))

	// A sender with five open trades replaces nobody's, whichever character comes first.
	for i, full := range strangers[10:12] {
		for j := range 5 {
			w.propose(full, fmt.Sprint("p", j))
		}
		_, err := w.Propose(t.Context(), full, trade.Proposal{To: "ann"})
		require.ErrorIs(t, err, trade.ErrTooManyOpen, i)
		require.Equal(t, full.UserID, fault.Of(err).Detail("userId"))
	}
	require.Empty(t, w.told.heard("trade:cancelled"))
	require.Equal(t, 10, w.incoming("anna"))

	eleventh := w.propose(strangers[12], "ann")
	replaced, err := w.State(t.Context(), ann, trade.Ask{TradeID: opened[0].TradeID})
	require.NoError(t, err)
	require.Equal(t, trade.Cancelled, replaced.Status)
	require.Equal(t, "replaced", replaced.Reason)
	require.Equal(t, map[string][]any{"user:ann": {replaced}, "user:" + strangers[0].UserID: {replaced}}, w.told.heard("trade:cancelled"))
	require.Equal(t, 10, w.incoming("anna"))
	for _, o := range append(opened[1:], eleventh) {
		still, err := w.State(t.Context(), ann, trade.Ask{TradeID: o.TradeID})
		require.NoError(t, err)
		require.Equal(t, trade.Open, still.Status)
	}
	w.propose(strangers[0], "ann") // who was replaced may try again: the next oldest goes
	next, err := w.State(t.Context(), ann, trade.Ask{TradeID: opened[1].TradeID})
	require.NoError(t, err)
	require.Equal(t, "replaced", next.Reason)
}

func waitForNextMillisecond() {
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
		time.Sleep(100 * time.Microsecond)
	}
}

// However many propose at the same time, ten of their trades are open, and nobody is refused
// because of the others.
func manyProposeAtOnce(t *testing.T, w *town) {
	strangers := w.crowd(30)
	var g errgroup.Group
	for _, s := range strangers {
		g.Go(func() error {
			for {
				_, err := w.Propose(context.Background(), s, trade.Proposal{To: "ann"})
				if code(err) != "LOCKED" {
					return err
				}
			}
		})
	}
	require.NoError(t, g.Wait())
	open, err := w.OpenTrades(t.Context())
	require.NoError(t, err)
	require.Len(t, open, 10)
	require.Equal(t, 10, w.incoming("anna"))
	cancelled := w.told.heard("trade:cancelled")
	require.Len(t, cancelled["user:ann"], 20)
	for _, c := range cancelled["user:ann"] {
		require.Equal(t, "replaced", c.(trade.Trade).Reason)
	}
}

// ignorers are users who ignore others: "ann bob" says that ann ignores bob.
type ignorers struct {
	mu   sync.Mutex
	who  map[string]bool // guarded by mu
	fail error
}

func (i *ignorers) Ignores(_ context.Context, userID, otherID string) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.who[userID+" "+otherID], i.fail
}

// The proposal of somebody whom the receiver ignores looks like any other to its sender. The
// receiver is told nothing of it, and it takes none of their places.
func whoIsIgnoredIsNotHeard(t *testing.T, w *town) {
	cfg := trade.Config{Ignores: &ignorers{who: map[string]bool{"ann bob": true}}}
	w.Service = w.with(players, cfg)
	o := w.propose(bob, "ann")
	require.Equal(t, trade.Open, o.Status)
	require.Equal(t, map[string][]any{"user:bob": {o}}, w.told.heard("trade:proposed"))
	require.Zero(t, w.rdb.HLen(t.Context(), keys.CharacterTrades("anna")).Val())
	require.EqualValues(t, 1, w.rdb.HLen(t.Context(), keys.CharacterTrades("bobo")).Val(), "it counts against its sender")
	_, err := w.Propose(t.Context(), bob, trade.Proposal{To: "ann"})
	require.ErrorIs(t, err, trade.ErrOpen)

	offered, err := w.Offer(t.Context(), bob, trade.Terms{TradeID: o.TradeID, Version: 1})
	require.NoError(t, err)
	require.NoError(t, w.Resend(t.Context(), ann, bob))
	require.Equal(t, map[string][]any{"user:bob": {offered, offered}}, w.told.heard("trade:updated"))
	ended, err := w.Cancel(t.Context(), bob, trade.Cancellation{TradeID: o.TradeID})
	require.NoError(t, err)
	require.NoError(t, w.Resend(t.Context(), ann))
	require.Equal(t, map[string][]any{"user:bob": {ended}}, w.told.heard("trade:cancelled"))
	require.Zero(t, w.rdb.Exists(t.Context(), keys.TradeOutcomes("ann")).Val())

	// A user who is ignored by another proposes to a third, and is proposed to, as ever.
	w.propose(bob, "zoe")
	w.told.all = nil
	w.propose(ann, "bob")
	require.Len(t, w.told.heard("trade:proposed"), 2)
	w.clean()
}

// A user who ignores another but wants to trade is shown the trade that the other has proposed, and
// from their first act on both hear of it.
func whoActsInATradeHearsOfIt(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.Service = w.with(players, trade.Config{Ignores: &ignorers{who: map[string]bool{"ann bob": true}}})
	o := w.propose(bob, "ann")
	_, err := w.Propose(t.Context(), ann, trade.Proposal{To: "bob"})
	require.ErrorIs(t, err, trade.ErrOpen)
	require.Equal(t, o.TradeID, fault.Of(err).Detail("tradeId"))
	offered, err := w.Offer(t.Context(), ann, trade.Terms{TradeID: o.TradeID, Version: 1, Items: []trade.Line{some("apple", 2)}})
	require.NoError(t, err)
	require.Equal(t, map[string][]any{"user:ann": {offered}, "user:bob": {offered}}, w.told.heard("trade:updated"))
	_, err = w.Accept(t.Context(), bob, agree(offered))
	require.NoError(t, err)
	done, err := w.Accept(t.Context(), ann, agree(offered))
	require.NoError(t, err)
	require.Equal(t, trade.Completed, done.Status)
	require.Equal(t, map[string][]any{"user:ann": {done}, "user:bob": {done}}, w.told.heard("trade:completed"))
	w.clean()
}

// While it is not known whether the receiver ignores the sender, nothing is proposed.
func whoIsIgnoredMustBeKnown(t *testing.T, w *town) {
	w.Service = w.with(players, trade.Config{Ignores: &ignorers{fail: fault.Unavailable("ignores", 0, context.DeadlineExceeded)}})
	_, err := w.Propose(t.Context(), bob, trade.Proposal{To: "ann"})
	require.ErrorIs(t, err, fault.ErrUnavailable)
	require.Equal(t, "trade", fault.Of(err).Detail("feature"))
	require.Empty(t, w.told.all)
}
