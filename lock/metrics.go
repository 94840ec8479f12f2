package lock

import "github.com/prometheus/client_golang/prometheus"

var (
	heldDesc       = prometheus.NewDesc("gateway_lock_held", "Leases that this node holds now.", nil, nil)
	waitingDesc    = prometheus.NewDesc("gateway_lock_waiting", "Acquisitions that wait on this node now.", nil, nil)
	acquiredDesc   = prometheus.NewDesc("gateway_lock_acquisitions_total", "Acquisitions by outcome: acquired, refused (another holder had the lock) or unavailable (Redis did not answer).", []string{"outcome"}, nil)
	lostDesc       = prometheus.NewDesc("gateway_lock_lost_total", "Leases that ended before their release.", nil, nil)
	unreleasedDesc = prometheus.NewDesc("gateway_lock_unreleased_total", "Releases that Redis did not answer; the locks expired by themselves.", nil, nil)
)

// lockBuckets are from a round trip to the longest wait.
var lockBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Describe implements prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{heldDesc, waitingDesc, acquiredDesc, lostDesc, unreleasedDesc} {
		ch <- d
	}
	m.counters.waitSeconds.Describe(ch)
	m.counters.holdSeconds.Describe(ch)
}

// Collect implements prometheus.Collector. It sends no names of locks: these contain the ids of
// users.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	s := m.Stats()
	gauge := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(heldDesc, s.Held)
	gauge(waitingDesc, s.Waiting)
	count(acquiredDesc, s.Acquired, "acquired")
	count(acquiredDesc, s.Refused, "refused")
	count(acquiredDesc, s.Unavailable, "unavailable")
	count(lostDesc, s.Lost)
	count(unreleasedDesc, s.Unreleased)
	m.counters.waitSeconds.Collect(ch)
	m.counters.holdSeconds.Collect(ch)
}
