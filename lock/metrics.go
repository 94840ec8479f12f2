package lock

import "github.com/prometheus/client_golang/prometheus"

var (
	heldDesc       = prometheus.NewDesc("lock_held", "Leases that this node holds now.", nil, nil)
	waitingDesc    = prometheus.NewDesc("lock_waiting", "Acquisitions that wait on this node now.", nil, nil)
	acquiredDesc   = prometheus.NewDesc("lock_acquisitions_total", "Acquisitions by outcome: acquired, refused (another holder had the lock) or unavailable (Redis did not answer).", []string{"outcome"}, nil)
	lostDesc       = prometheus.NewDesc("lock_lost_total", "Leases that ended before their release.", nil, nil)
	unreleasedDesc = prometheus.NewDesc("lock_unreleased_total", "Releases that Redis did not answer; the locks expired by themselves.", nil, nil)
	waitDesc       = prometheus.NewDesc("lock_wait_seconds", "How long acquisitions took, including those that failed.", nil, nil)
	holdDesc       = prometheus.NewDesc("lock_hold_seconds", "How long leases were held until their release.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{heldDesc, waitingDesc, acquiredDesc, lostDesc, unreleasedDesc, waitDesc, holdDesc} {
		ch <- d
	}
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
	ended := s.Acquired - min(s.Acquired, uint64(max(0, s.Held)))
	ch <- prometheus.MustNewConstSummary(waitDesc, s.Acquired+s.Refused+s.Unavailable, s.TotalWait.Seconds(),
		map[float64]float64{0.5: s.WaitP50.Seconds(), 0.99: s.WaitP99.Seconds()})
	ch <- prometheus.MustNewConstSummary(holdDesc, ended, s.TotalHold.Seconds(),
		map[float64]float64{0.5: s.HoldP50.Seconds(), 0.99: s.HoldP99.Seconds()})
}
