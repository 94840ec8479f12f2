package trade_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// What a decided trade owes stays in escrow while it can not be added, and comes once it can: here
// another program wrote into the inventory meanwhile.
func TestEscrowIsKeptUntilItCanBeAdded(t *testing.T) {
	t.Parallel()
	town := newTown(t, clusterClient(t, redistest.StartCluster(t)))
	for at := int64(1); ; at++ {
		require.Less(t, at, int64(30), "no process died between the decision and the end of an escrow")
		w := town.anew(t)
		w.Service = trade.New(w.rdb, w.locks, players, w.told, quickly)
		w.mint("anna", "apple", 5, 0)
		w.mint("bobo", "", 0, 50)
		o := w.barter()
		_, _ = w.struck(t, &blow{at: at, after: true, dies: true}).Accept(t.Context(), bob, agree(o)) // the process is gone
		status, err := w.rdb.HGet(t.Context(), keys.Trade(o.TradeID), "status").Result()
		require.NoError(t, err)
		hold := "hold:" + o.TradeID
		if trade.Status(status) != trade.Completed || !w.rdb.HExists(t.Context(), keys.Inventory("bobo"), hold).Val() {
			continue
		}
		require.NoError(t, w.rdb.HSet(t.Context(), keys.Inventory("bobo"), "item:apple", "some").Err())
		sweep := func() error {
			require.NoError(t, w.rdb.ZAdd(t.Context(), keys.OpenTrades, redis.Z{Member: o.TradeID}).Err())
			_, err := w.SweepOnce(t.Context())
			return err
		}
		require.ErrorContains(t, sweep(), "holds no amount")
		require.True(t, w.rdb.HExists(t.Context(), keys.Inventory("bobo"), hold).Val())
		require.NoError(t, w.rdb.HDel(t.Context(), keys.Inventory("bobo"), "item:apple").Err())
		require.NoError(t, sweep())
		w.has("anna", "3 apple, 10 gold")
		w.has("bobo", "2 apple, 40 gold")
		w.clean()
		return
	}
}
