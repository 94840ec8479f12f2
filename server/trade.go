package server

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/trade"
)

// tradingParts are of a node.
type tradingParts struct {
	trades  *trade.Service
	returns *trade.Notifier

	lockServers []redis.UniversalClient // of --lock-redis
}

// trading makes the service of trades, and refuses what this Redis can not do.
func (n *node) trading(r trade.Caster) (*trade.Service, error) {
	n.trades = trade.New(n.rdb, n.locker(), characters{n.store, n.cfg.Dev}, r, trade.Config{
		OpenFor: n.cfg.TradeExpiry, Durability: n.cfg.TradeDurability, Missed: n.tradeMissed,
	})
	n.returns = trade.NewNotifier(n.trades)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := n.trades.Check(ctx)
	if errors.Is(err, trade.ErrRing) || errors.Is(err, trade.ErrDurability) {
		return nil, usage.Wrap(err)
	}
	return n.trades, err
}

// locker is what keeps trades apart. Only locks on the trades' own server can be seen by their scripts, however few servers
// --lock-redis names.
func (n *node) locker() trade.Locker {
	if len(n.cfg.LockRedisURLs) > 0 {
		return locker{n.locks}
	}
	return scriptLocker{locker{n.locks}}
}

func (n *node) tradeMissed(_ context.Context, err error) {
	n.log.Error("trade could not be told or tidied up; the sweeper goes on", zap.Error(err))
}
