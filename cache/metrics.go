package cache

import "github.com/prometheus/client_golang/prometheus"

var (
	readsDesc      = prometheus.NewDesc("gateway_cache_reads_total", "Reads, by where the value came from.", []string{"prefix", "from"}, nil)
	loadsDesc      = prometheus.NewDesc("gateway_cache_loads_total", "Loads from the source, by outcome.", []string{"prefix", "outcome"}, nil)
	refreshesDesc  = prometheus.NewDesc("gateway_cache_refreshes_total", "Loads before the end of the TTL.", []string{"prefix"}, nil)
	errorsDesc     = prometheus.NewDesc("gateway_cache_redis_errors_total", "Failed calls to Redis.", []string{"prefix"}, nil)
	unreadableDesc = prometheus.NewDesc("gateway_cache_unreadable_values_total", "Stored values that could not be decoded, and counted as misses.", []string{"prefix"}, nil)
	evictionsDesc  = prometheus.NewDesc("gateway_cache_local_evictions_total", "Values evicted from L1 because it was full.", []string{"prefix"}, nil)
	bytesDesc      = prometheus.NewDesc("gateway_cache_local_bytes", "Approximate size of L1.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readsDesc, loadsDesc, refreshesDesc, errorsDesc, unreadableDesc, evictionsDesc, bytesDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	s := m.Stats()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for prefix, t := range s.Prefixes {
		count(readsDesc, t.LocalHits, prefix, "local")
		count(readsDesc, t.Hits, prefix, "redis")
		count(readsDesc, t.Misses, prefix, "miss")
		count(readsDesc, t.Stale, prefix, "stale")
		count(loadsDesc, t.Loads-min(t.Loads, t.LoadErrors), prefix, "ok")
		count(loadsDesc, t.LoadErrors, prefix, "error")
		count(refreshesDesc, t.Refreshes, prefix)
		count(errorsDesc, t.Errors, prefix)
		count(unreadableDesc, t.Unreadable, prefix)
		count(evictionsDesc, t.Evictions, prefix)
	}
	ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(s.LocalBytes))
}
