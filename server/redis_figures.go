package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/redisconn"
)

// redisFigures are metrics that only Redis knows. A node asks every five seconds; a scrape asks
// nothing.
type redisFigures struct {
	clockOffset  prometheus.Gauge
	tradeBacklog prometheus.Gauge
}

func newRedisFigures() redisFigures {
	return redisFigures{
		clockOffset: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gateway_redis_clock_offset_seconds", Help: "How far the clock of this machine is ahead of Redis's, to half a round trip; negative when it is behind.",
		}),
		tradeBacklog: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gateway_trade_backlog", Help: "Trades in Redis that the sweepers should have looked at ten seconds ago: 0 while any node sweeps.",
		}),
	}
}

// measureRedis asks Redis. What it does not answer stays as it was.
func (n *node) measureRedis(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if offset, err := redisconn.ClockOffset(ctx, n.redis.client); err == nil {
		n.redisFigures.clockOffset.Set(offset.Seconds())
	}
	if overdue, err := n.features.trade.Backlog(ctx, 10*time.Second); err == nil {
		n.redisFigures.tradeBacklog.Set(float64(overdue))
	}
}
