package server

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/trade"
)

// How often a node asks Redis again what it keeps. A node that hears of another server asks at
// once.
const (
	durabilityEvery  = 5 * time.Second
	persistenceEvery = time.Minute
)

// redisPromises are what Redis keeps of what it was told, as far as this node knows.
type redisPromises struct {
	wake    redisx.Signal // another server answers
	checked time.Time     // when the persistence was asked for; owned by the caller of judgePromises

	mu     sync.Mutex
	trades trade.Judgement // guarded by mu
}

func newRedisPromises() *redisPromises { return &redisPromises{wake: redisx.NewSignal()} }

// durability returns what an acknowledged trade has waited for, and why.
func (p *redisPromises) durability() trade.Judgement {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trades
}

// setDurability stores a judgement, and reports whether another durability holds than before.
func (p *redisPromises) setDurability(trades trade.Judgement) (isChange bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	isChange = p.trades.Durability != trades.Durability
	p.trades = trades
	return isChange
}

// judgePromises asks Redis what it keeps, and warns of what it does not. It logs which durability
// trades have when that changes, and when isNewServer says that another server answers. Where Redis
// does not answer, what is known holds.
func (n *node) judgePromises(ctx context.Context, isNewServer bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	trades, err := n.features.trade.JudgeDurability(ctx)
	if n.promises.setDurability(trades) || isNewServer && n.outage.isOver() { // else its end tells
		n.log.Info("trade durability", zap.String("durability", string(trades.Durability)), zap.String("why", trades.Why), zap.Error(err))
	}
	if isNewServer {
		if err := n.features.trade.Check(ctx); err != nil {
			n.log.Error("trades are refused: Redis can not do what --trade-durability asks for", zap.Error(err))
		}
	}
	if err == nil {
		isChosen := n.cfg.TradeDurability == trade.None // by an operator who knows
		n.warnings.set(tradesAreUnsafe, trades.Durability == trade.None && !isChosen, zap.String("why", trades.Why))
	}
	if !isNewServer && time.Since(n.promises.checked) < persistenceEvery {
		return
	}
	n.promises.checked = time.Now()
	health := redisconn.Check(ctx, n.redis.client)
	if health.Status == redisconn.StatusDown {
		return
	}
	n.warnings.set(redisKeepsNone, n.redis.embedded != nil || health.Persistence == "none")
	n.warnings.set(redisMayEvict, health.MayEvict(), zap.String("policy", health.EvictionPolicy))
}

// watchPromises asks again until ctx ends.
func (n *node) watchPromises(ctx context.Context) error {
	tick := time.NewTicker(durabilityEvery)
	defer tick.Stop()
	for {
		isNewServer := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.promises.wake.C():
			isNewServer = true
		}
		n.judgePromises(ctx, isNewServer)
		n.measureRedis(ctx)
	}
}
