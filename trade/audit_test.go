package trade_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// A bug, or somebody with redis-cli, changes what it should not: the audit names it.
func TestAuditFindsWhatWasPlanted(t *testing.T) {
	t.Parallel()
	ledger, index := keys.TradeLedger, keys.TradeLedgerIndex
	for name, c := range map[string]struct {
		plant func(ctx context.Context, w *town) error
		names string // a part of the break that must be named
	}{
		"a doubled item": {func(ctx context.Context, w *town) error {
			return w.rdb.HIncrBy(ctx, keys.Inventory("bobo"), "item:apple", 3).Err()
		}, "character bobo: item:apple is 6, the ledger says 3"},
		"a lost item": {func(ctx context.Context, w *town) error {
			return w.rdb.HDel(ctx, keys.Inventory("bobo"), "item:apple").Err()
		}, "character bobo: item:apple is 0, the ledger says 3"},
		"a lost inventory": {func(ctx context.Context, w *town) error {
			return w.rdb.Del(ctx, keys.Inventory("anna")).Err()
		}, "character anna: gold is 0, the ledger says 95"},
		"gold from nowhere": {func(ctx context.Context, w *town) error {
			return w.rdb.HSet(ctx, keys.Inventory("eve"), "gold", 1).Err()
		}, "character eve: gold is 1, the ledger says 0"},
		"a negative amount": {func(ctx context.Context, w *town) error {
			return w.rdb.HSet(ctx, keys.Inventory("anna"), "gold", -95).Err()
		}, "character anna: gold: \"-95\" is negative"},
		"no amount at all": {func(ctx context.Context, w *town) error {
			return w.rdb.HSet(ctx, keys.Inventory("anna"), "gold", "1e3").Err()
		}, "character anna: gold: \"1e3\" is no amount"},
		"an unknown field": {func(ctx context.Context, w *town) error {
			return w.rdb.HSet(ctx, keys.Inventory("anna"), "itm:apple", 1).Err()
		}, "character anna: unknown inventory field itm:apple"},
		"an edited entry": {func(ctx context.Context, w *town) error {
			return rewrite(ctx, w.rdb, func(i int, m *redis.XMessage) {
				if i == 1 {
					m.Values["body"] = strings.Replace(m.Values["body"].(string), `"gold":5`, `"gold":6`, 1)
				}
			})
		}, "ledger entry 2 (3-0): its hash does not fit its content"},
		"a removed entry": {func(ctx context.Context, w *town) error {
			all, err := w.rdb.XRange(ctx, ledger, "-", "+").Result()
			if err != nil {
				return err
			}
			return w.rdb.XDel(ctx, ledger, all[1].ID).Err()
		}, "comes after entry 1"},
		"the newest entry removed": {func(ctx context.Context, w *town) error {
			all, err := w.rdb.XRange(ctx, ledger, "-", "+").Result()
			if err != nil {
				return err
			}
			return w.rdb.XDel(ctx, ledger, all[len(all)-1].ID).Err()
		}, "the ledger ends at entry 2, its head says"},
		"the ledger removed": {func(ctx context.Context, w *town) error {
			return w.rdb.Del(ctx, ledger).Err()
		}, "the ledger ends at entry 0, its head says"},
		"an entry twice": {func(ctx context.Context, w *town) error {
			all, err := w.rdb.XRange(ctx, ledger, "-", "+").Result()
			if err != nil {
				return err
			}
			return w.rdb.XAdd(ctx, &redis.XAddArgs{Stream: ledger, Values: all[1].Values}).Err()
		}, "is in the ledger twice"},
		"an index that leads nowhere": {func(ctx context.Context, w *town) error {
			t, err := w.List(ctx)
			if err != nil {
				return err
			}
			return w.rdb.HDel(ctx, index, t[0].TradeID).Err()
		}, "the index does not lead to"},
		"a trade that nobody wrote down": {func(ctx context.Context, w *town) error {
			return w.rdb.HSet(ctx, keys.Trade(strings.Repeat("X", 26)), "status", "completed").Err()
		}, "trade XXXXXXXXXXXXXXXXXXXXXXXXXX: completed, and not in the ledger"},
		"a trade that was written down, and failed":        {undone(trade.Failed), "in the ledger, and failed"},
		"a trade that was written down, and was cancelled": {undone(trade.Cancelled), "in the ledger, and cancelled"},
		"a trade that was written down, and is open":       {undone(trade.Open), "in the ledger, and open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t, redistest.Client(t))
			w.mint("anna", "apple", 10, 100)
			_, err := w.Execute(t.Context(), ann, gift("bob", "k1", 5, some("apple", 3)))
			require.NoError(t, err)
			w.mint("anna", "sword", 1, 0)
			w.clean()
			require.NoError(t, c.plant(t.Context(), w))
			r, err := w.Audit(t.Context())
			require.NoError(t, err)
			require.False(t, r.Clean())
			require.Contains(t, strings.Join(r.Breaks, "\n"), c.names)
		})
	}
}

// undone makes of a trade that was completed another.
func undone(status trade.Status) func(ctx context.Context, w *town) error {
	return func(ctx context.Context, w *town) error {
		o := w.accept(ann, w.offer(ann, w.propose(ann, "bob"), 1))
		o = w.accept(bob, o)
		return w.rdb.HSet(ctx, keys.Trade(o.TradeID), "status", string(status)).Err()
	}
}

// rewrite replaces the ledger by an edited copy of itself with the stream ids 2-0, 3-0, …
func rewrite(ctx context.Context, rdb redis.UniversalClient, edit func(i int, m *redis.XMessage)) error {
	all, err := rdb.XRange(ctx, keys.TradeLedger, "-", "+").Result()
	if err != nil {
		return err
	}
	if err := rdb.Del(ctx, keys.TradeLedger).Err(); err != nil {
		return err
	}
	for i, m := range all {
		edit(i, &m)
		id := strconv.Itoa(i+2) + "-0"
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.TradeLedger, ID: id, Values: m.Values}).Err(); err != nil {
			return err
		}
		if err := rdb.HSet(ctx, keys.TradeLedgerIndex, m.Values["ref"], id).Err(); err != nil {
			return err
		}
	}
	return nil
}

func auditIsExactWhileTradesGoOn(t *testing.T, w *town) {
	w.mint("anna", "apple", 1000, 0)
	w.mint("bobo", "apple", 1000, 0)
	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for i := range 2 {
		busy.Go(func() {
			who, to := ann, "bob"
			if i == 1 {
				who, to = bob, "ann"
			}
			for n := 0; ctx.Err() == nil; n++ {
				_, _ = w.Execute(ctx, who, gift(to, fmt.Sprint("n", n), 0, some("apple", int64(n%7+1))))
				_, _ = w.Mint(ctx, grant(fmt.Sprint("new", n%100), "apple", 1, 0))
			}
		})
	}
	var entries int64
	for range 8 {
		entries = w.clean().Entries
	}
	stop()
	busy.Wait()
	require.Greater(t, entries, int64(2), "something went on meanwhile")
	w.clean()
}

func TestAnEmptyWorldIsClean(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	r := w.clean()
	require.Zero(t, r.Entries)
	require.Zero(t, r.Characters)
}
