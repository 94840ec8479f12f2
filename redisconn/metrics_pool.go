package redisconn

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// A poolCollector reports a client's pool statistics at every scrape.
type poolCollector struct{ client redis.UniversalClient }

var (
	connsDesc    = prometheus.NewDesc("gateway_redis_pool_connections", "Open connections to Redis.", []string{"pool", "state"}, nil)
	hitsDesc     = poolDesc("hits_total", "Times a free connection was found.")
	missesDesc   = poolDesc("misses_total", "Times none was, and one was dialled.")
	timeoutsDesc = poolDesc("timeouts_total", "Times a caller gave up waiting for one.")
	waitsDesc    = poolDesc("waits_total", "Times a caller waited for one.")
	waitedDesc   = poolDesc("wait_seconds_total", "Time that callers waited.")
	staleDesc    = poolDesc("stale_total", "Connections thrown away.")
)

func poolDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("gateway_redis_pool_"+name, help, []string{"pool"}, nil)
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connsDesc, hitsDesc, missesDesc, timeoutsDesc, waitsDesc, waitedDesc, staleDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.client.PoolStats()
	sendPoolStats(ch, "main", s)
	if s.PipelineStats != nil {
		sendPoolStats(ch, "pipeline", (*redis.PoolStats)(s.PipelineStats))
	}
}

func sendPoolStats(ch chan<- prometheus.Metric, pool string, s *redis.PoolStats) {
	busy := max(0, int64(s.TotalConns)-int64(s.IdleConns)) // read one after the other
	ch <- prometheus.MustNewConstMetric(connsDesc, prometheus.GaugeValue, float64(busy), pool, "busy")
	ch <- prometheus.MustNewConstMetric(connsDesc, prometheus.GaugeValue, float64(s.IdleConns), pool, "idle")
	for d, v := range map[*prometheus.Desc]float64{
		hitsDesc: float64(s.Hits), missesDesc: float64(s.Misses), timeoutsDesc: float64(s.Timeouts),
		waitsDesc: float64(s.WaitCount), staleDesc: float64(s.StaleConns),
		waitedDesc: time.Duration(s.WaitDurationNs).Seconds(),
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, pool)
	}
}
