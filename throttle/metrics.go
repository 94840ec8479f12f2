package throttle

import "github.com/prometheus/client_golang/prometheus"

var (
	decisionsDesc = prometheus.NewDesc("gateway_ratelimit_decisions_total",
		"Decisions by policy: allowed or refused, by redis, memory or the local window.",
		[]string{"policy", "scope", "decision", "source"}, nil)
	degradedDesc = prometheus.NewDesc("gateway_ratelimit_degraded",
		"1 while local windows decide because Redis does not answer.", nil, nil)
	differencesDesc = prometheus.NewDesc("gateway_settings_differences",
		"Settings that must be one, and that another living node has differently.", nil, nil)
)

// Describe implements prometheus.Collector.
func (l *Limiter) Describe(ch chan<- *prometheus.Desc) {
	ch <- decisionsDesc
	ch <- degradedDesc
	ch <- differencesDesc
}

// Collect implements prometheus.Collector: register the Limiter itself.
func (l *Limiter) Collect(ch chan<- prometheus.Metric) {
	for _, p := range *l.table.Load() {
		scope := string(p.active.Load().Scope)
		for i, source := range sources {
			if n := p.allowed[i].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(decisionsDesc, prometheus.CounterValue, float64(n), p.name, scope, "allowed", source)
			}
			if n := p.refused[i].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(decisionsDesc, prometheus.CounterValue, float64(n), p.name, scope, "refused", source)
			}
		}
	}
	degraded := 0.0
	if l.Degraded() {
		degraded = 1
	}
	ch <- prometheus.MustNewConstMetric(degradedDesc, prometheus.GaugeValue, degraded)
	l.mu.Lock()
	differences := len(l.differences)
	l.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(differencesDesc, prometheus.GaugeValue, float64(differences))
}
