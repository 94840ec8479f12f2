package trade_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// propose, offer and accept fail the test when they are refused.
func (w *town) propose(p event.Player, to string) trade.Trade {
	w.t.Helper()
	t, err := w.Propose(w.t.Context(), p, trade.Proposal{To: to})
	require.NoError(w.t, err)
	return t
}

func (w *town) offer(p event.Player, t trade.Trade, gold int64, items ...trade.Line) trade.Trade {
	w.t.Helper()
	next, err := w.Offer(w.t.Context(), p, terms(t, gold, items...))
	require.NoError(w.t, err)
	return next
}

func (w *town) accept(p event.Player, t trade.Trade) trade.Trade {
	w.t.Helper()
	next, err := w.Accept(w.t.Context(), p, agree(t))
	require.NoError(w.t, err)
	return next
}

// barter is a trade in which ann gives two apples for ten of bob's gold, accepted by ann.
func (w *town) barter() trade.Trade {
	w.t.Helper()
	t := w.propose(ann, "bob")
	t = w.offer(ann, t, 0, some("apple", 2))
	t = w.offer(bob, t, 10)
	return w.accept(ann, t)
}

func terms(t trade.Trade, gold int64, items ...trade.Line) trade.Terms {
	return trade.Terms{TradeID: t.TradeID, Items: items, Gold: gold, Version: t.Version}
}

func agree(t trade.Trade) trade.Agreement {
	return trade.Agreement{TradeID: t.TradeID, Version: t.Version}
}

func twoTrade(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 3)
	w.mint("bobo", "sword", 1, 50)
	opened := w.propose(ann, "bob")
	require.Equal(t, trade.Open, opened.Status)
	require.Equal(t, int64(1), opened.Version)
	require.Equal(t, (5 * time.Minute).Milliseconds(), opened.ExpiresAt-opened.CreatedAt)
	require.Equal(t, map[string][]any{"user:ann": {opened}, "user:bob": {opened}}, w.told.heard("trade:proposed"))

	next := w.offer(bob, opened, 20, some("sword", 1))
	next = w.offer(ann, next, 0, some("apple", 4))
	require.Equal(t, int64(3), next.Version)
	require.Len(t, w.told.heard("trade:updated")["user:bob"], 2)
	next = w.accept(bob, next)
	require.Equal(t, []bool{false, true}, []bool{next.Parties[0].Accepted, next.Parties[1].Accepted})
	w.has("anna", "5 apple, 3 gold")
	require.Equal(t, next, w.accept(bob, next), "to accept twice is to accept")

	done := w.accept(ann, next)
	require.Equal(t, trade.Completed, done.Status)
	w.has("anna", "1 apple, 1 sword, 23 gold")
	w.has("bobo", "4 apple, 30 gold")
	require.Equal(t, map[string][]any{"user:ann": {done}, "user:bob": {done}}, w.told.heard("trade:completed"))
	require.Equal(t, done, w.accept(ann, next), "the answer got lost: accept again")
	require.Equal(t, done, w.accept(bob, next))
	require.Len(t, w.told.heard("trade:completed")["user:ann"], 1)
	state, err := w.State(t.Context(), bob, trade.Ask{TradeID: done.TradeID})
	require.NoError(t, err)
	require.Equal(t, done, state)

	r := w.clean()
	require.Equal(t, []int64{3, 1, 2}, []int64{r.Entries, r.Trades, r.Mints})
	list, err := w.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, done.TradeID, list[0].TradeID)
	require.Equal(t, done.Parties, list[0].Parties, "the ledger has both halves")
	require.Equal(t, trade.Open, w.propose(bob, "ann").Status, "the pair is free again")
}

func aChangedOfferMustBeAcceptedAnew(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	was := w.barter()
	now := w.offer(bob, was, 9)
	require.Equal(t, []bool{false, false}, []bool{now.Parties[0].Accepted, now.Parties[1].Accepted})
	for name, ask := range map[string]func() (trade.Trade, error){
		"accepting the old version": func() (trade.Trade, error) { return w.Accept(t.Context(), bob, agree(was)) },
		"changing the old version":  func() (trade.Trade, error) { return w.Offer(t.Context(), ann, terms(was, 0, some("apple", 1))) },
		"what one offers already, at the old version": func() (trade.Trade, error) {
			return w.Offer(t.Context(), ann, terms(was, 0, some("apple", 2)))
		},
		"a version of the future": func() (trade.Trade, error) {
			return w.Accept(t.Context(), bob, trade.Agreement{TradeID: was.TradeID, Version: now.Version + 1})
		},
	} {
		_, err := ask()
		require.ErrorIs(t, err, trade.ErrStale, name)
		require.Equal(t, now.Version, fault.Of(err).Detail("version"), name)
	}
	w.accept(bob, now)
	w.has("bobo", "50 gold")
	w.accept(ann, now)
	w.has("bobo", "2 apple, 41 gold")
	w.clean()
}

func whatMayNotBeOffered(t *testing.T, w *town) {
	w.mint("anna", "apple", 10, 100)
	w.mint("bobo", "sword", 2, 0)
	many := make([]trade.Line, trade.MaxLines+1)
	for i := range many {
		many[i] = some(fmt.Sprint("i", i), 1)
	}
	opened := w.propose(ann, "bob")
	for name, c := range map[string]struct {
		in   trade.Terms
		code string
	}{
		"more than one has":     {terms(opened, 0, some("apple", 11)), "INSUFFICIENT_ITEMS"},
		"what another has":      {terms(opened, 0, some("sword", 1)), "INSUFFICIENT_ITEMS"},
		"more gold":             {terms(opened, 101), "INSUFFICIENT_GOLD"},
		"an unknown item":       {terms(opened, 0, some("unicorn", 1)), "ITEM_UNKNOWN"},
		"zero":                  {terms(opened, 1, some("apple", 0)), "INVALID"},
		"negative":              {terms(opened, 0, some("apple", -1)), "INVALID"},
		"negative gold":         {terms(opened, -1), "INVALID"},
		"an item twice":         {terms(opened, 0, some("apple", 1), some("apple", 1)), "INVALID"},
		"overflow":              {terms(opened, 0, some("apple", math.MaxInt64)), "TRADE_OVERFLOW"},
		"too many lines":        {terms(opened, 0, many...), "TRADE_TOO_MANY_LINES"},
		"to no trade":           {trade.Terms{TradeID: strings.Repeat("A", 26), Gold: 1, Version: 1}, "NOT_FOUND"},
		"to no trade's name":    {trade.Terms{TradeID: "open", Gold: 1, Version: 1}, "NOT_FOUND"},
		"without a trade":       {trade.Terms{Gold: 1, Version: 1}, "INVALID"},
		"to an unknown version": {trade.Terms{TradeID: opened.TradeID, Gold: 1, Version: 7}, "TRADE_STALE"},
	} {
		_, err := w.Offer(t.Context(), ann, c.in)
		require.Equal(t, c.code, code(err), name)
	}
	state, err := w.State(t.Context(), ann, trade.Ask{TradeID: opened.TradeID})
	require.NoError(t, err)
	require.Equal(t, opened, state)
	_, err = w.Accept(t.Context(), ann, agree(opened))
	require.ErrorIs(t, err, trade.ErrEmpty)
	next := w.offer(ann, opened, 7)
	next = w.offer(ann, next, 0)
	require.Zero(t, next.Parties[0].Offer.Gold, "an offer may be taken back")
	w.clean()
}

func whoMayNotTrade(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	for name, c := range map[string]struct {
		who  event.Player
		to   string
		code string
	}{
		"with oneself":             {ann, "ann", "TRADE_SELF"},
		"with one's own character": {ann, "mirror", "TRADE_SELF"},
		"with nobody":              {ann, "nobody", "NOT_FOUND"},
		"without a name":           {ann, "", "INVALID"},
		"with a bad name":          {ann, "b\x00b", "INVALID"},
		"without a character":      {cat, "bob", "NO_CHARACTER"},
	} {
		_, err := w.Propose(t.Context(), c.who, trade.Proposal{To: c.to})
		require.Equal(t, c.code, code(err), name)
	}
	opened := w.barter()
	eve := event.Player{UserID: "eve", CharacterID: "evelyn"}
	other := event.Player{UserID: "bob", CharacterID: "bobo's brother"}
	for name, ask := range map[string]func(p event.Player) error{
		"offer":  func(p event.Player) error { _, err := w.Offer(t.Context(), p, terms(opened, 0)); return err },
		"accept": func(p event.Player) error { _, err := w.Accept(t.Context(), p, agree(opened)); return err },
		"cancel": func(p event.Player) error {
			_, err := w.Cancel(t.Context(), p, trade.Cancellation{TradeID: opened.TradeID})
			return err
		},
		"state": func(p event.Player) error {
			_, err := w.State(t.Context(), p, trade.Ask{TradeID: opened.TradeID})
			return err
		},
	} {
		require.Equal(t, "NOT_FOUND", code(ask(eve)), name)
		if name == "offer" || name == "accept" {
			require.ErrorIs(t, ask(other), trade.ErrCharacter, name)
		}
	}
	w.has("anna", "5 apple, 0 gold")
	w.clean()
}

// Between offer and acceptance goods can be spent: offers are promises, not holds.
func promisesThatCannotBeKeptEndATrade(t *testing.T, w *town) {
	for name, c := range map[string]struct {
		before func(w *town)
		code   string
		whose  string
	}{
		"the other spent their apples": {func(w *town) {
			_, err := w.Execute(t.Context(), ann, gift("zoe", "k", 0, some("apple", 4)))
			require.NoError(t, err)
		}, "INSUFFICIENT_ITEMS", "ann"},
		"one spent one's gold": {func(w *town) {
			_, err := w.Execute(t.Context(), bob, gift("zoe", "k", 45))
			require.NoError(t, err)
		}, "INSUFFICIENT_GOLD", "bob"},
		"it would be too much": {func(w *town) { w.mint("anna", "", 0, trade.Max-5) }, "TRADE_OVERFLOW", "ann"},
	} {
		w := w.anew(t)
		w.mint("anna", "apple", 5, 0)
		w.mint("bobo", "", 0, 50)
		opened := w.barter()
		c.before(w)
		before := w.everything()
		_, err := w.Accept(t.Context(), bob, agree(opened))
		require.Equal(t, c.code, code(err), name)
		require.Equal(t, c.whose, fault.Of(err).Detail("userId"), name)
		if c.whose == "ann" {
			require.Nil(t, fault.Of(err).Detail("have"), "nobody is told what another has")
		}
		after := w.everything()
		for k, v := range before {
			if strings.HasSuffix(k, ":inventory") || strings.HasPrefix(k, "{") {
				require.Equal(t, v, after[k], name)
			}
		}
		ended, err := w.State(t.Context(), ann, trade.Ask{TradeID: opened.TradeID})
		require.NoError(t, err)
		require.Equal(t, trade.Failed, ended.Status)
		require.Equal(t, c.code, ended.Reason)
		require.Equal(t, map[string][]any{"user:ann": {ended}, "user:bob": {ended}}, w.told.heard("trade:cancelled"))
		_, err = w.Accept(t.Context(), bob, agree(opened))
		require.ErrorIs(t, err, trade.ErrOver)
		require.Equal(t, "failed", fault.Of(err).Detail("status"))
		w.propose(bob, "ann")
		w.clean()
	}
}

func oneOpenTradeForAPairFiveForEach(t *testing.T, w *town) {
	first := w.propose(ann, "bob")
	for _, who := range []event.Player{ann, bob} {
		to := map[string]string{"ann": "bob", "bob": "ann"}[who.UserID]
		_, err := w.Propose(t.Context(), who, trade.Proposal{To: to})
		require.ErrorIs(t, err, trade.ErrOpen)
		require.Equal(t, first.TradeID, fault.Of(err).Detail("tradeId"))
	}
	for i := range trade.MaxOpen - 1 {
		w.propose(ann, fmt.Sprint("p", i))
	}
	_, err := w.Propose(t.Context(), ann, trade.Proposal{To: "zoe"})
	require.ErrorIs(t, err, trade.ErrTooManyOpen)
	require.Equal(t, "ann", fault.Of(err).Detail("userId"))
	open, err := w.OpenTrades(t.Context())
	require.NoError(t, err)
	require.Len(t, open, trade.MaxOpen)
	_, err = w.Cancel(t.Context(), bob, trade.Cancellation{TradeID: first.TradeID})
	require.NoError(t, err)
	w.propose(ann, "zoe")

	// Many at once: still one for a pair.
	var g errgroup.Group
	for i := range 10 {
		who, to := event.Player{UserID: "p7", CharacterID: "p7"}, "p8"
		if i%2 == 1 {
			who, to = event.Player{UserID: "p8", CharacterID: "p8"}, "p7"
		}
		g.Go(func() error {
			_, err := w.Propose(t.Context(), who, trade.Proposal{To: to})
			if c := code(err); c != "" && c != "TRADE_OPEN" {
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	pairs := map[string]int{}
	open, err = w.OpenTrades(t.Context())
	require.NoError(t, err)
	for _, o := range open {
		pairs[min(o.Parties[0].UserID, o.Parties[1].UserID)+max(o.Parties[0].UserID, o.Parties[1].UserID)]++
	}
	for pair, n := range pairs {
		require.Equal(t, 1, n, pair)
	}
}

func cancelledAndExpiredTradesMoveNothing(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	opened := w.barter()
	ended, err := w.Cancel(t.Context(), ann, trade.Cancellation{TradeID: opened.TradeID})
	require.NoError(t, err)
	require.Equal(t, trade.Cancelled, ended.Status)
	require.Equal(t, "ann", ended.Reason)
	again, err := w.Cancel(t.Context(), bob, trade.Cancellation{TradeID: opened.TradeID})
	require.NoError(t, err)
	require.Equal(t, ended, again)
	require.Equal(t, map[string][]any{"user:ann": {ended}, "user:bob": {ended}}, w.told.heard("trade:cancelled"))
	_, err = w.Accept(t.Context(), bob, agree(opened))
	require.Equal(t, "cancelled", fault.Of(err).Detail("status"))

	w.Service = w.with(players, trade.Config{OpenFor: 60 * time.Millisecond})
	opened = w.propose(ann, "bob")
	require.Eventually(t, func() bool {
		_, err = w.Offer(t.Context(), bob, terms(opened, 1))
		return err != nil
	}, waitFor, tick)
	require.ErrorIs(t, err, trade.ErrOver)
	require.Eventually(t, func() bool {
		_, err := w.SweepOnce(t.Context())
		state, e := w.State(t.Context(), bob, trade.Ask{TradeID: opened.TradeID})
		return err == nil && e == nil && state.Status == trade.Expired
	}, waitFor, tick)
	require.Equal(t, 2, len(w.told.heard("trade:cancelled")["user:bob"]))
	w.propose(ann, "bob")
	w.has("anna", "5 apple, 0 gold")
	w.clean()
}

func whoComesBackIsTold(t *testing.T, w *town) {
	w.mint("anna", "apple", 5, 0)
	w.mint("bobo", "", 0, 50)
	back := func(p event.Player) (names []string, all []any) {
		w.told.mu.Lock()
		before := len(w.told.all)
		w.told.mu.Unlock()
		require.NoError(t, w.Resend(t.Context(), p))
		w.told.mu.Lock()
		defer w.told.mu.Unlock()
		for _, x := range w.told.all[before:] {
			require.Equal(t, "user:"+p.UserID, x.room)
			names, all = append(names, x.event), append(all, x.payload)
		}
		return names, all
	}
	opened := w.barter()
	names, all := back(bob)
	require.Equal(t, []string{"trade:updated"}, names)
	require.Equal(t, []any{opened}, all, "the trade has survived")

	w.told.away = map[string]bool{"user:ann": true}
	done := w.accept(bob, opened)
	names, all = back(ann)
	require.Equal(t, []string{"trade:completed"}, names)
	require.Equal(t, []any{done}, all)
	score, err := w.rdb.ZScore(t.Context(), keys.TradeOutcomes("ann"), done.TradeID).Result()
	require.NoError(t, err)
	require.InDelta(t, time.Now().Add(time.Minute).UnixMilli(), score, 30_000, "once more, should this connection be dead")

	opened = w.propose(ann, "bob")
	_, err = w.Cancel(t.Context(), bob, trade.Cancellation{TradeID: opened.TradeID})
	require.NoError(t, err)
	names, _ = back(ann)
	require.Contains(t, names, "trade:cancelled")
	names, _ = back(cat)
	require.Empty(t, names)
}

func bothAcceptAndCancelAtOnce(t *testing.T, w *town) {
	w.mint("anna", "apple", 100, 0)
	w.mint("bobo", "", 0, 500)
	completed := 0
	for i := range 12 {
		o := w.propose(ann, "bob")
		o = w.offer(ann, o, 0, some("apple", 2))
		o = w.offer(bob, o, 10)
		var g errgroup.Group
		oks := make([]trade.Status, 4)
		for j, who := range []event.Player{ann, bob} {
			g.Go(func() error {
				got, err := w.Accept(t.Context(), who, agree(o))
				if c := code(err); c != "" && c != "TRADE_OVER" && c != "LOCKED" {
					return err
				}
				oks[j] = got.Status
				return nil
			})
			if i%2 == 0 {
				g.Go(func() error {
					got, err := w.Cancel(t.Context(), who, trade.Cancellation{TradeID: o.TradeID})
					if c := code(err); c != "" && c != "TRADE_OVER" && c != "LOCKED" {
						return err
					}
					oks[2+j] = got.Status
					return nil
				})
			}
		}
		require.NoError(t, g.Wait())
		state, err := w.State(t.Context(), ann, trade.Ask{TradeID: o.TradeID})
		require.NoError(t, err)
		for _, s := range oks {
			if s == trade.Completed || s == trade.Cancelled {
				require.Equal(t, state.Status, s, "what one was told is what it is")
			}
		}
		switch state.Status {
		case trade.Completed:
			completed++
		case trade.Cancelled:
		default: // both acceptances were refused: it is still open
			_, err := w.Cancel(t.Context(), ann, trade.Cancellation{TradeID: o.TradeID})
			require.NoError(t, err)
		}
	}
	require.NotZero(t, completed)
	w.has("anna", fmt.Sprintf("%d apple, %d gold", 100-2*completed, 10*completed))
	require.EqualValues(t, completed, w.clean().Trades)
}

// Four characters, everybody with everybody, all at once.
func manyTradesAtOnce(t *testing.T, w *town) {
	var users []event.Player
	for i := range 4 {
		users = append(users, event.Player{UserID: fmt.Sprint("p", i), CharacterID: fmt.Sprint("p", i)})
		w.mint(users[i].CharacterID, "apple", 50, 100)
	}
	var g errgroup.Group
	for i, a := range users {
		for j, b := range users {
			if i >= j {
				continue
			}
			g.Go(func() error {
				for n := range 5 {
					o, err := w.Propose(t.Context(), a, trade.Proposal{To: b.UserID})
					if err != nil {
						return err
					}
					if o, err = w.Offer(t.Context(), a, terms(o, 0, some("apple", int64(n+1)))); err == nil {
						o, err = w.Offer(t.Context(), b, terms(o, int64(n+3), some("apple", 1)))
					}
					if err == nil {
						_, err = w.Accept(t.Context(), a, agree(o))
					}
					if err == nil {
						_, err = w.Accept(t.Context(), b, agree(o))
					}
					if err != nil {
						if c := code(err); c != "INSUFFICIENT_ITEMS" && c != "INSUFFICIENT_GOLD" && c != "LOCKED" {
							return fmt.Errorf("%s and %s: %w", a.UserID, b.UserID, err)
						}
						_, _ = w.Cancel(t.Context(), a, trade.Cancellation{TradeID: o.TradeID})
					}
				}
				return nil
			})
		}
	}
	require.NoError(t, g.Wait())
	require.Positive(t, w.clean().Trades)
	sum, gold := int64(0), int64(0)
	for _, u := range users {
		g, err := w.Owned(t.Context(), u.CharacterID)
		require.NoError(t, err)
		for _, l := range g.Items {
			sum += l.Qty
		}
		gold += g.Gold
	}
	require.Equal(t, []int64{200, 400}, []int64{sum, gold})
}
