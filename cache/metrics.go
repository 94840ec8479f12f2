package cache

import "github.com/prometheus/client_golang/prometheus"

var (
	readsDesc     = prometheus.NewDesc("cache_reads_total", "Values asked for, by what answered.", []string{"prefix", "from"}, nil)
	loadsDesc     = prometheus.NewDesc("cache_loads_total", "Times that the source was asked.", []string{"prefix", "outcome"}, nil)
	refreshesDesc = prometheus.NewDesc("cache_refreshes_total", "Loads ahead of time.", []string{"prefix"}, nil)
	errorsDesc    = prometheus.NewDesc("cache_redis_errors_total", "Calls that Redis did not serve.", []string{"prefix"}, nil)
	evictionsDesc = prometheus.NewDesc("cache_local_evictions_total", "Values that L1 had no room for.", []string{"prefix"}, nil)
	bytesDesc     = prometheus.NewDesc("cache_local_bytes", "What L1 holds, about.", nil, nil)
)

// Describe tells the registry what Collect sends.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readsDesc, loadsDesc, refreshesDesc, errorsDesc, evictionsDesc, bytesDesc} {
		ch <- d
	}
}

// Collect sends the statistics of now.
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
		count(evictionsDesc, t.Evictions, prefix)
	}
	ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(s.LocalBytes))
}
