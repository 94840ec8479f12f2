package sessions

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	touches                                   *prometheus.CounterVec
	touchesStored, touchesGone, touchesFailed prometheus.Counter
	subscribed, heard, dropped                prometheus.Counter
	recovered, unfounded, deletions           prometheus.Counter
	ends                                      *prometheus.CounterVec
	latency                                   prometheus.Histogram
	handles, followed, pending                prometheus.GaugeFunc
}

func newMetrics(t *Tracker) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string, value func() int) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			t.mu.Lock()
			defer t.mu.Unlock()
			return float64(value())
		})
	}
	m := &metrics{
		touches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_session_touches_total", Help: "Touches, by result: stored, gone (no such session), failed (kept and sent again).",
		}, []string{"result"}),
		subscribed: counter("gateway_session_subscriptions_total", "Subscriptions to the revocation channel; more than one means that connections were lost."),
		heard:      counter("gateway_session_revocations_heard_total", "Revocations that were received on the channel, from any program."),
		dropped:    counter("gateway_session_revocations_dropped_total", "Messages on the revocation channel, and entries of its log, that were not revocations."),
		recovered:  counter("gateway_session_revocations_recovered_total", "Revocations of sessions here that were found in the log, because their message was missed."),
		unfounded:  counter("gateway_session_revocations_unfounded_total", "Revocations of sessions here that were not ended, because Redis still has the session. Their publisher uses another database of the same server, or has not deleted the session."),
		deletions:  counter("gateway_session_deletions_heard_total", "Keyspace events about the deletion of a session that is followed here."),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_session_ends_total", Help: "Handles that were told the end of their session, by code.",
		}, []string{"code"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gateway_session_revocation_seconds", Help: "Time from the end of a session, as published, until its sockets here were told.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 15, 60},
		}),
		handles:  gauge("gateway_session_handles", "Sockets that use a session.", func() int { return t.handles }),
		followed: gauge("gateway_sessions_followed", "Sessions with at least one socket here.", func() int { return len(t.sessions) }),
		pending:  gauge("gateway_session_touches_pending", "Touches that wait for Redis.", func() int { return len(t.pending) }),
	}
	m.touchesStored, m.touchesGone, m.touchesFailed = m.touches.WithLabelValues("stored"), m.touches.WithLabelValues("gone"), m.touches.WithLabelValues("failed")
	return m
}

// Describe implements prometheus.Collector.
func (t *Tracker) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(t, ch) }

// Collect implements prometheus.Collector.
func (t *Tracker) Collect(ch chan<- prometheus.Metric) {
	m := t.metrics
	for _, c := range []prometheus.Collector{m.touches, m.subscribed, m.heard, m.dropped, m.recovered, m.unfounded, m.deletions, m.ends, m.latency, m.handles, m.followed, m.pending} {
		c.Collect(ch)
	}
}

func (m *metrics) countEnded(rev Revocation, handles int) {
	m.ends.WithLabelValues(rev.Code).Add(float64(handles))
}
