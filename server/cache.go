package server

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/profiles"
	"github.com/aeturnis/realtime/redisconn"
)

// makeCache puts the cache behind a breaker of its own: without Redis, sources answer at once.
//
// Trades have none. A breaker would not turn an unknown outcome into a refusal, since UNAVAILABLE says that the
// outcome is open; but it would cut off what follows a decision on its way (the escrow, the ledger, the telling),
// which then waits for the sweeper, its budget would end a wait for a replica or the disk, and on a Cluster its
// client has no hooks of ours. Fights have none either: the first command that
// times out ends the request, as with trades.
func (n *node) makeCache() {
	n.cacheBreaker = redisconn.NewBreaker(n.rdb, "cache", redisconn.BreakerConfig{
		Budget: 300 * time.Millisecond, OnChange: n.breakerChanged,
	})
	n.cache = cache.New(n.cacheBreaker.Client(), cache.Config{
		TTL: n.cfg.CacheTTL, OnError: n.cacheFailed,
		Local: cache.Local{Off: n.cfg.CacheLocalBytes < 0, Bytes: uint64(max(0, n.cfg.CacheLocalBytes))},
	})
}

// closeCache waits for loads that are under way.
func (n *node) closeCache() {
	if n.cache != nil {
		n.cache.Close()
		_ = n.cacheBreaker.Close() // nothing was sent
	}
}

func (n *node) cacheMetrics() error {
	return errors.Join(n.registry.Register(n.cache), n.cacheBreaker.Metrics(n.registry))
}

func (n *node) breakerChanged(feature, state string) {
	n.log.Warn("breaker changed", zap.String("feature", feature), zap.String("state", state))
}

func (n *node) cacheFailed(doing string, err error) {
	n.log.Warn("cache failed", zap.String("doing", doing), zap.Error(err))
}

// breakers are the states of all, by what stands behind them.
func (n *node) breakers() map[string]string {
	all := map[string]string{"cache": n.cacheBreaker.State()}
	if u, ok := n.people.(*profiles.Upstream); ok {
		all["profiles"] = u.BreakerState()
	}
	return all
}
