package lock

import "github.com/prometheus/client_golang/prometheus"

var (
	heldDesc     = prometheus.NewDesc("lock_held", "Leases that this node holds.", nil, nil)
	waitingDesc  = prometheus.NewDesc("lock_waiting", "Acquisitions that wait on this node.", nil, nil)
	acquiredDesc = prometheus.NewDesc("lock_acquisitions_total", "Acquisitions, by what came of them: acquired, refused (somebody else held it) or unavailable.", []string{"outcome"}, nil)
	lostDesc     = prometheus.NewDesc("lock_lost_total", "Leases that ended before their release.", nil, nil)
	leftDesc     = prometheus.NewDesc("lock_unreleased_total", "Releases that Redis did not answer: these leases ran out.", nil, nil)
	waitDesc     = prometheus.NewDesc("lock_wait_seconds", "How long acquisitions took, also those that failed.", nil, nil)
	holdDesc     = prometheus.NewDesc("lock_hold_seconds", "How long leases were held.", nil, nil)
)

// Describe tells the registry what Collect sends.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{heldDesc, waitingDesc, acquiredDesc, lostDesc, leftDesc, waitDesc, holdDesc} {
		ch <- d
	}
}

// Collect sends the statistics of now. Names are none of it: they hold users' ids.
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
	count(leftDesc, s.Unreleased)
	ended := s.Acquired - min(s.Acquired, uint64(max(0, s.Held)))
	ch <- prometheus.MustNewConstSummary(waitDesc, s.Acquired+s.Refused+s.Unavailable, s.Waited.Seconds(),
		map[float64]float64{0.5: s.WaitP50.Seconds(), 0.99: s.WaitP99.Seconds()})
	ch <- prometheus.MustNewConstSummary(holdDesc, ended, s.Holding.Seconds(),
		map[float64]float64{0.5: s.HoldP50.Seconds(), 0.99: s.HoldP99.Seconds()})
}
