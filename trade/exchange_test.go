package trade_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/trade"
)

// stock is what somebody has or offers: amounts by item id, or "gold". Zeros do not stand in it.
type stock map[string]int64

func (s stock) add(what string, n int64) {
	if s[what] += n; s[what] == 0 {
		delete(s, what)
	}
}

func (s stock) goods() (g trade.Goods) {
	for _, what := range slices.Sorted(maps.Keys(s)) {
		if what == "gold" {
			g.Gold = s[what]
		} else {
			g.Items = append(g.Items, some(what, s[what]))
		}
	}
	return g
}

func stockOf(g trade.Goods) stock {
	s := stock{}
	for _, l := range g.Items {
		s.add(l.ItemID, l.Qty)
	}
	s.add("gold", g.Gold)
	return s
}

// objections are the codes for which one who has s can not give out and get in; none: it must
// succeed.
func (s stock) objections(out, in stock) map[string]bool {
	codes := map[string]bool{}
	for what, n := range out {
		if s[what] >= n {
			continue
		}
		if what == "gold" {
			codes["INSUFFICIENT_GOLD"] = true
		} else {
			codes["INSUFFICIENT_ITEMS"] = true
		}
	}
	for what, n := range in {
		if s[what]-out[what]+n > trade.Max {
			codes["TRADE_OVERFLOW"] = true
		}
	}
	return codes
}

// Whatever two have and offer each other, and whatever they spend and get before both have
// accepted: either exactly what was offered changes hands, or nothing does and the code is one that
// holds for whom it names.
func exchanges(t *testing.T, w *town) {
	for _, what := range []string{"apple", "sword"} { // no item is unknown
		w.mint("founder", what, 1, 0)
	}
	run, ended := 0, map[trade.Status]int{}
	rapid.Check(t, func(rt *rapid.T) {
		run++
		users := []event.Player{}
		roles, owned, offers := plays{}, []stock{{}, {}}, []stock{{}, {}}
		for _, letter := range "xyz" {
			id := fmt.Sprint(string(letter), run)
			users, roles[id] = append(users, event.Player{UserID: id, CharacterID: id}), id
		}
		s := w.with(roles, trade.Config{})
		things := []string{"apple", "gold", "sword"}
		amount := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(trade.Max-3, trade.Max))
		mint := func(side int, what string, n int64) {
			in := trade.MintRequest{CharacterID: users[side].CharacterID, Items: stock{what: n}.goods().Items, Gold: stock{what: n}.goods().Gold}
			_, err := s.Mint(t.Context(), in)
			if owned[side][what]+n > trade.Max {
				require.Equal(rt, "TRADE_OVERFLOW", code(err))
				return
			}
			require.NoError(rt, err)
			owned[side].add(what, n)
		}
		// part is an amount of what somebody has: at the edges, and now and then beyond them.
		part := func(have int64) int64 {
			edges := []int64{1, max(have-1, 1), max(have, 1), max(have, 1), min(have+1, trade.Max)}
			return rapid.OneOf(rapid.SampledFrom(edges), rapid.Int64Range(1, max(have, 1))).Draw(rt, "part")
		}
		for side := range 2 {
			for _, what := range rapid.SliceOfNDistinct(rapid.SampledFrom(things), 2, 3, rapid.ID).Draw(rt, "has") {
				mint(side, what, amount.Draw(rt, "much"))
			}
		}
		deal, err := s.Propose(t.Context(), users[0], trade.Proposal{To: users[1].UserID})
		require.NoError(rt, err)
		for side := range 2 {
			offer := stock{}
			for _, what := range rapid.SliceOfNDistinct(rapid.SampledFrom(things), 0, 3, rapid.ID).Draw(rt, "offers") {
				if have := owned[side][what]; have > 0 || rapid.IntRange(0, 9).Draw(rt, "rash") == 0 {
					offer.add(what, part(have))
				}
			}
			g := offer.goods()
			next, err := s.Offer(t.Context(), users[side], terms(deal, g.Gold, g.Items...))
			if why := owned[side].objections(offer, nil); len(why) > 0 {
				require.Contains(rt, why, code(err))
				continue
			}
			require.NoError(rt, err)
			deal, offers[side] = next, offer
		}
		first := rapid.IntRange(0, 1).Draw(rt, "first")
		next, err := s.Accept(t.Context(), users[first], agree(deal))
		if len(offers[0])+len(offers[1]) == 0 {
			require.ErrorIs(rt, err, trade.ErrEmpty)
			return
		}
		require.NoError(rt, err)
		require.Equal(rt, trade.Open, next.Status)
		// An offer is a promise: what it names may be spent, and more may come.
		for range rapid.IntRange(0, 2).Draw(rt, "meanwhile") {
			side, what := rapid.IntRange(0, 1).Draw(rt, "whose"), rapid.SampledFrom(things).Draw(rt, "what")
			if have := owned[side][what]; have == 0 || rapid.Bool().Draw(rt, "comes") {
				mint(side, what, amount.Draw(rt, "more"))
			} else if n := min(part(have), have); n+stockOf(must(s.Owned(t.Context(), users[2].CharacterID)))[what] <= trade.Max {
				key := fmt.Sprint(rapid.Uint64().Draw(rt, "key"))
				_, err := s.Execute(t.Context(), users[side], trade.Gift{To: users[2].UserID, Give: stock{what: n}.goods(), IdempotencyKey: key})
				if code(err) == "CONFLICT" { // the same key was drawn
					continue
				}
				require.NoError(rt, err)
				owned[side].add(what, -n)
			}
		}
		done, err := s.Accept(t.Context(), users[1-first], agree(deal))
		blame := map[string]map[string]bool{}
		for side := range 2 {
			if why := owned[side].objections(offers[side], offers[1-side]); len(why) > 0 {
				blame[users[side].UserID] = why
			}
		}
		if len(blame) == 0 {
			require.NoError(rt, err)
			require.Equal(rt, trade.Completed, done.Status)
			for side := range 2 {
				for what, n := range offers[side] {
					owned[side].add(what, -n)
					owned[1-side].add(what, n)
				}
			}
		} else {
			whose, _ := detail(err, "userId").(string)
			require.Contains(rt, blame[whose], code(err), "%s of %q; %v", code(err), whose, blame)
			done, err = s.State(t.Context(), users[first], trade.Ask{TradeID: deal.TradeID})
			require.NoError(rt, err)
			require.Equal(rt, trade.Failed, done.Status)
		}
		ended[done.Status]++
		for side := range 2 {
			require.Equal(rt, owned[side], stockOf(must(s.Owned(t.Context(), users[side].CharacterID))), users[side].UserID)
		}
	})
	require.NotZero(t, ended[trade.Completed])
	require.NotZero(t, ended[trade.Failed])
	require.EqualValues(t, ended[trade.Completed], w.tradesOfTwo())
	w.clean()
	t.Logf("%d trades: %v", run, ended)
}

// tradesOfTwo counts the trades between two in the ledger.
func (w *town) tradesOfTwo() (n int) {
	w.t.Helper()
	for after := ""; ; {
		entries, err := w.Ledger(w.t.Context(), after, 500)
		require.NoError(w.t, err)
		if len(entries) == 0 {
			return n
		}
		for _, e := range entries {
			if after = e.StreamID; e.Kind == "trade" {
				n++
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func detail(err error, name string) any {
	if err == nil {
		return nil
	}
	return fault.Of(err).Detail(name)
}
