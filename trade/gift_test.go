package trade_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

func aGiftMovesOnce(t *testing.T, w *town) {
	w.mint("anna", "sword", 2, 100)
	w.mint("anna", "apple", 5, 0)

	first, err := w.Execute(t.Context(), ann, gift("bob", "k1", 30, some("sword", 2), some("apple", 1)))
	require.NoError(t, err)
	w.has("anna", "4 apple, 70 gold")
	w.has("bobo", "1 apple, 2 sword, 30 gold")
	require.False(t, w.rdb.HExists(t.Context(), keys.Inventory("anna"), "item:sword").Val(), "what is gone leaves no field")
	require.Equal(t, trade.Completed, first.Status)
	require.Equal(t, int64(1), first.Version)
	require.Equal(t, []trade.Party{
		{UserID: "ann", CharacterID: "anna", Accepted: true, Offer: trade.Goods{Items: []trade.Line{some("apple", 1), some("sword", 2)}, Gold: 30}},
		{UserID: "bob", CharacterID: "bobo", Accepted: true, Offer: trade.Goods{Items: []trade.Line{}}},
	}, first.Parties)
	require.InDelta(t, time.Now().UnixMilli(), first.CreatedAt, 60_000)
	require.Equal(t, []told{{"user:ann", "trade:completed", first}, {"user:bob", "trade:completed", first}}, w.told.all)

	before := w.everything()
	again, err := w.Execute(t.Context(), ann, gift("bob", "k1", 30, some("apple", 1), some("sword", 2)))
	require.NoError(t, err)
	require.Equal(t, first, again, "the order of lines does not count")
	require.Equal(t, before, w.everything())
	require.Len(t, w.told.all, 2)

	r := w.clean()
	require.Equal(t, []int64{3, 1, 2}, []int64{r.Entries, r.Trades, r.Mints})
	require.Equal(t, "100", r.Minted["gold"].String())
}

func aKeyBelongsToItsCallerAndItsBody(t *testing.T, w *town) {
	w.mint("anna", "apple", 10, 10)
	w.mint("bobo", "apple", 10, 10)
	_, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	before := w.everything()
	for name, in := range map[string]trade.Gift{
		"other quantity": gift("bob", "k", 0, some("apple", 2)),
		"other gold":     gift("bob", "k", 1, some("apple", 1)),
		"other item":     gift("bob", "k", 0, some("sword", 1)),
		"other receiver": gift("mirror", "k", 0, some("apple", 1)),
	} {
		_, err := w.Execute(t.Context(), ann, in)
		require.Equal(t, "CONFLICT", code(err), name)
	}
	require.Equal(t, before, w.everything())

	_, err = w.Execute(t.Context(), bob, gift("ann", "k", 0, some("apple", 4)))
	require.NoError(t, err, "another caller's key is another key")
	w.has("anna", "13 apple, 10 gold")
	w.clean()
}

func refusalsMoveNothing(t *testing.T, w *town) {
	many := make([]trade.Line, trade.MaxLines+1)
	for i := range many {
		many[i] = some(fmt.Sprint("i", i), 1)
	}
	for name, c := range map[string]struct {
		who  event.Player
		in   trade.Gift
		code string
		at   string // field, or the item of the refusal
	}{
		"too few":              {ann, gift("bob", "k", 0, some("apple", 11)), "INSUFFICIENT_ITEMS", "apple"},
		"one of two too few":   {ann, gift("bob", "k", 5, some("apple", 1), some("sword", 3)), "INSUFFICIENT_ITEMS", "sword"},
		"none of a known item": {bob, gift("ann", "k", 0, some("sword", 1)), "INSUFFICIENT_ITEMS", "sword"},
		"too little gold":      {ann, gift("bob", "k", 101, some("apple", 1)), "INSUFFICIENT_GOLD", ""},
		"unknown item":         {ann, gift("bob", "k", 0, some("unicorn", 1)), "ITEM_UNKNOWN", "unicorn"},
		"to oneself":           {ann, gift("ann", "k", 1), "TRADE_SELF", ""},
		"to one's character":   {ann, gift("mirror", "k", 1), "TRADE_SELF", ""},
		"nothing":              {ann, gift("bob", "k", 0), "TRADE_EMPTY", ""},
		"too many lines":       {ann, gift("bob", "k", 0, many...), "TRADE_TOO_MANY_LINES", ""},
		"zero":                 {ann, gift("bob", "k", 1, some("apple", 0)), "INVALID", "give.items[0].qty"},
		"negative":             {ann, gift("bob", "k", 0, some("sword", 1), some("apple", -1)), "INVALID", "give.items[1].qty"},
		"the most negative":    {ann, gift("bob", "k", 0, some("apple", math.MinInt64)), "INVALID", "give.items[0].qty"},
		"negative gold":        {ann, gift("bob", "k", -1, some("apple", 1)), "INVALID", "give.gold"},
		"an item twice":        {ann, gift("bob", "k", 0, some("apple", 1), some("apple", 1)), "INVALID", "give.items[1].itemId"},
		"over the most":        {ann, gift("bob", "k", 0, some("apple", trade.Max+1)), "TRADE_OVERFLOW", "apple"},
		"far over the most":    {ann, gift("bob", "k", 0, some("apple", math.MaxInt64)), "TRADE_OVERFLOW", "apple"},
		"gold over the most":   {ann, gift("bob", "k", math.MaxInt64), "TRADE_OVERFLOW", ""},
		"more than they hold":  {ann, gift("bob", "k", 0, some("dust", 1)), "TRADE_OVERFLOW", "dust"},
		"no item id":           {ann, gift("bob", "k", 0, some("", 1)), "INVALID", "give.items[0].itemId"},
		"bad item id":          {ann, gift("bob", "k", 0, some("a b", 1)), "INVALID", "give.items[0].itemId"},
		"long item id":         {ann, gift("bob", "k", 0, some(strings.Repeat("a", 65), 1)), "INVALID", "give.items[0].itemId"},
		"no receiver":          {ann, gift("", "k", 1), "INVALID", "to"},
		"bad receiver":         {ann, gift("bob\n", "k", 1), "INVALID", "to"},
		"long receiver":        {ann, gift(strings.Repeat("b", 129), "k", 1), "INVALID", "to"},
		"unknown receiver":     {ann, gift("nobody", "k", 1), "NOT_FOUND", "to"},
		"no key":               {ann, gift("bob", "", 1), "INVALID", "idempotencyKey"},
		"long key":             {ann, gift("bob", strings.Repeat("k", 129), 1), "INVALID", "idempotencyKey"},
		"no character":         {cat, gift("bob", "k", 1), "NO_CHARACTER", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.anew(t)
			w.mint("anna", "apple", 10, 100)
			w.mint("anna", "sword", 2, 0)
			w.mint("anna", "dust", 5, 0)
			w.mint("bobo", "dust", trade.Max, 0)
			before := w.everything()
			got, err := w.Execute(t.Context(), c.who, c.in)
			require.Equal(t, c.code, code(err), err)
			require.Zero(t, got)
			if c.at != "" {
				f := fault.Of(err)
				require.Contains(t, []any{f.Detail("field"), f.Detail("itemId")}, any(c.at))
			}
			require.Equal(t, before, w.everything(), "not a byte of Redis has changed")
			require.Empty(t, w.told.all)
			w.clean()
		})
	}
}

func aRefusedKeyMayBeUsedAgain(t *testing.T, w *town) {
	w.mint("bobo", "apple", 1, 0)
	_, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 3)))
	require.Equal(t, "INSUFFICIENT_ITEMS", code(err))
	w.mint("anna", "apple", 3, 0)
	_, err = w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 3)))
	require.NoError(t, err)
	w.has("bobo", "4 apple, 0 gold")
}

func theLargestAmountsStayExact(t *testing.T, w *town) {
	w.mint("anna", "dust", trade.Max, trade.Max)
	_, err := w.Mint(t.Context(), grant("anna", "dust", 1, 0))
	require.Equal(t, "TRADE_OVERFLOW", code(err))
	_, err = w.Execute(t.Context(), ann, gift("bob", "k1", trade.Max-1, some("dust", 1)))
	require.NoError(t, err)
	w.has("anna", "999999999999 dust, 1 gold")
	w.has("bobo", "1 dust, 999999999999 gold")
	_, err = w.Execute(t.Context(), bob, gift("ann", "k1", 999_999_999_999, some("dust", 1)))
	require.NoError(t, err)
	w.has("anna", "1000000000000 dust, 1000000000000 gold")
	w.clean()
}

// A session's user id may hold any printable character, so a receiver's may.
func idsWithSpacesAndColons(t *testing.T, w *town) {
	s := w.with(plays{"Bob of: Ålesund": "Bob of: Ålesund"}, trade.Config{})
	w.mint("anna", "", 0, 9)
	_, err := s.Execute(t.Context(), ann, gift("Bob of: Ålesund", "k", 4))
	require.NoError(t, err)
	w.has("Bob of: Ålesund", "4 gold")
	w.clean()
}

// Whoever was overtaken must not commit, and must not be able to later.
func aStaleHolderCannotCommit(t *testing.T, w *town) {
	w.mint("anna", "apple", 10, 0)
	w.mint("bobo", "apple", 10, 0)
	use := func(fence int64) { w.locks.before = func(int64) (int64, error) { return fence, nil } }

	use(7)
	_, err := w.Execute(t.Context(), ann, gift("bob", "k1", 0, some("apple", 1)))
	require.NoError(t, err)
	before := w.everything()
	use(6)
	for _, who := range []event.Player{ann, bob} { // one fence for both directions
		to := map[string]string{"ann": "bob", "bob": "ann"}[who.UserID]
		_, err = w.Execute(t.Context(), who, gift(to, "k2", 0, some("apple", 1)))
		require.Equal(t, "LOCKED", code(err))
	}
	require.Equal(t, before, w.everything())
	use(8)
	_, err = w.Execute(t.Context(), ann, gift("bob", "k2", 0, some("apple", 1)))
	require.NoError(t, err)
	ttl, err := w.rdb.PTTL(t.Context(), "trade:fence:ann:bob").Result()
	require.NoError(t, err)
	require.Positive(t, ttl, "pairs that rest leave nothing behind")
	w.clean()
}

func theLockDecidesNothingAfterTheCommit(t *testing.T, w *town) {
	w.mint("anna", "apple", 10, 0)
	w.locks.after = errors.New("the lease was lost")
	first, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err, "what is done is done")

	w.locks.before = func(int64) (int64, error) { return 0, fault.ErrLocked }
	again, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err, "a repeat is answered while the lock is busy")
	require.Equal(t, first, again)
	_, err = w.Execute(t.Context(), ann, gift("bob", "k2", 0, some("apple", 1)))
	require.Equal(t, "LOCKED", code(err))
	w.has("anna", "9 apple, 0 gold")
}

func TestATellingThatFailsIsReportedAndTheGiftStands(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	var missed []error
	w.told.fail = errors.New("no bus")
	s := trade.New(w.rdb, w.locks, plays{"bob": "bobo"}, w.told, trade.Config{Missed: func(_ context.Context, err error) { missed = append(missed, err) }})
	w.mint("anna", "", 0, 5)
	_, err := s.Execute(t.Context(), ann, gift("bob", "k", 5))
	require.NoError(t, err)
	require.Len(t, missed, 1)
	require.ErrorIs(t, missed[0], w.told.fail)
}

// One stack, fifty givers on both sides at once, each gift sent twice.
func concurrentGiftsLoseAndDoubleNothing(t *testing.T, w *town) {
	for name, locked := range map[string]bool{"inside the lock": true, "with a lock that holds nobody back": false} {
		t.Run(name, func(t *testing.T) {
			w := w.anew(t)
			s := w.Service
			if !locked && !w.ships { // whose scripts hold nobody back anyhow
				s = trade.New(w.rdb, open{}, plays{"ann": "anna", "bob": "bobo"}, w.told, trade.Config{})
			}
			w.mint("anna", "apple", 40, 40)
			w.mint("bobo", "apple", 40, 40)
			var mu sync.Mutex
			sent := map[string]int64{}
			ids := map[string]string{}
			var g errgroup.Group
			for i := range 100 {
				who, to, name := ann, "bob", fmt.Sprint("a", i/2)
				if i%4 >= 2 {
					who, to, name = bob, "ann", fmt.Sprint("b", i/2)
				}
				g.Go(func() error {
					qty := int64(i/2%5 + 1)
					done, err := s.Execute(t.Context(), who, gift(to, name, 1, some("apple", qty)))
					if errors.Is(err, trade.ErrItems) || errors.Is(err, trade.ErrGold) || errors.Is(err, fault.ErrLocked) {
						return nil
					}
					if err != nil {
						return err
					}
					mu.Lock()
					defer mu.Unlock()
					if was, ok := ids[name]; ok && was != done.TradeID {
						return fmt.Errorf("%s was done twice: %s and %s", name, was, done.TradeID)
					} else if !ok {
						ids[name] = done.TradeID
						sent[who.UserID] += qty
						sent[who.UserID+" gold"]++
					}
					return nil
				})
			}
			require.NoError(t, g.Wait())
			r := w.clean()
			require.Equal(t, int64(len(ids)), r.Trades, "every ok is in the ledger, and no more")
			w.has("anna", fmt.Sprintf("%d apple, %d gold", 40-sent["ann"]+sent["bob"], 40-sent["ann gold"]+sent["bob gold"]))
			w.has("bobo", fmt.Sprintf("%d apple, %d gold", 40-sent["bob"]+sent["ann"], 40-sent["bob gold"]+sent["ann gold"]))
		})
	}
}

// open is a lock that everybody gets at once: the script alone keeps the truth.
type open struct{}

func (open) Do(ctx context.Context, _ string, _ trade.Holder, fn func(context.Context, int64) error) error {
	return fn(ctx, 1)
}

// Whatever is minted and given, the inventories are what plain arithmetic says.
func arithmetic(t *testing.T, w *town) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		users := []string{fmt.Sprint("x", run), fmt.Sprint("y", run), fmt.Sprint("z", run)}
		s := w.with(plays{users[0]: users[0], users[1]: users[1], users[2]: users[2]}, trade.Config{})
		model := map[string]int64{}
		amount := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(trade.Max-2, trade.Max))
		user, item := rapid.SampledFrom(users), rapid.SampledFrom([]string{"apple", "sword"})
		rt.Repeat(map[string]func(*rapid.T){
			"mint": func(rt *rapid.T) {
				who, what, n := user.Draw(rt, "who"), item.Draw(rt, "what"), amount.Draw(rt, "n")
				_, err := s.Mint(t.Context(), grant(who, what, n, 0))
				if model[who+what]+n > trade.Max {
					require.Equal(rt, "TRADE_OVERFLOW", code(err))
					return
				}
				require.NoError(rt, err)
				model[who+what] += n
			},
			"give": func(rt *rapid.T) {
				from, to, n := user.Draw(rt, "from"), user.Draw(rt, "to"), amount.Draw(rt, "n")
				m := amount.Draw(rt, "m")
				_, err := s.Execute(t.Context(), event.Player{UserID: from, CharacterID: from}, gift(to, fmt.Sprint(rapid.Uint64().Draw(rt, "key")), 0, some("apple", n), some("sword", m)))
				switch c := code(err); c {
				case "":
					model[from+"apple"] -= n
					model[from+"sword"] -= m
					model[to+"apple"] += n
					model[to+"sword"] += m
				case "TRADE_SELF":
					require.Equal(rt, from, to)
				case "INSUFFICIENT_ITEMS", "ITEM_UNKNOWN":
					require.True(rt, model[from+"apple"] < n || model[from+"sword"] < m)
				case "TRADE_OVERFLOW":
					require.True(rt, model[to+"apple"]+n > trade.Max || model[to+"sword"]+m > trade.Max)
				case "CONFLICT": // the same key was drawn
				default:
					require.Fail(rt, c)
				}
			},
			"": func(rt *rapid.T) {
				for _, u := range users {
					g, err := s.Owned(t.Context(), u)
					require.NoError(rt, err)
					got := map[string]int64{}
					for _, l := range g.Items {
						got[l.ItemID] = l.Qty
					}
					for _, what := range []string{"apple", "sword"} {
						require.GreaterOrEqual(rt, model[u+what], int64(0))
						require.Equal(rt, model[u+what], got[what], u+" "+what)
					}
				}
			},
		})
	})
	w.clean()
}
