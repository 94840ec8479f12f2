package backend

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/fault"
)

// metrics are those of all backends.
type metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	casts    *prometheus.CounterVec
	backends []*backend // set once
}

var (
	descState   = prometheus.NewDesc("gateway_backend_reachable", "Whether the breaker of a backend is closed (1), tries whether it is back (0.5), or is open (0).", []string{"backend"}, nil)
	descWaiting = prometheus.NewDesc("gateway_backend_waiting", "Events that a backend has not answered yet.", []string{"backend"}, nil)
)

func newMetrics() *metrics {
	return &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_backend_calls_total", Help: "Calls of backends, by event and by what became of them: ok, UNAVAILABLE, TIMEOUT, or BACKEND_ANSWER. A refusal that the backend answered is ok.",
		}, []string{"backend", "event", "code"}),
		casts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_backend_casts_failed_total", Help: "Casts of backends that nobody heard, or only players on this node.",
		}, []string{"backend"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gateway_backend_seconds", Help: "How long a call of a backend took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"backend"}),
	}
}

// Describe makes metrics a prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.calls.Describe(ch)
	m.seconds.Describe(ch)
	m.casts.Describe(ch)
	ch <- descState
	ch <- descWaiting
}

// Collect makes metrics a prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.calls.Collect(ch)
	m.seconds.Collect(ch)
	m.casts.Collect(ch)
	for _, b := range m.backends {
		state := 0.0
		switch {
		case b.breaker.IsClosed():
			state = 1
		case b.breaker.IsHalfOpen():
			state = 0.5
		}
		ch <- prometheus.MustNewConstMetric(descState, prometheus.GaugeValue, state, b.cfg.Name)
		ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(len(b.slots)+len(b.judging)), b.cfg.Name)
	}
}

// counters are the metrics of one backend.
type counters struct {
	calls       *prometheus.CounterVec
	seconds     prometheus.Observer
	failedCasts prometheus.Counter
}

func (m *metrics) countersOf(backend string) *counters {
	return &counters{m.calls.MustCurryWith(prometheus.Labels{"backend": backend}), m.seconds.WithLabelValues(backend), m.casts.WithLabelValues(backend)}
}

// countCall counts a call and what became of it.
func (c *counters) countCall(event string, started time.Time, err error) {
	code := "ok"
	if err != nil {
		if f := fault.Of(err); slices.Contains(ownCodes, f.Code) {
			code = f.Code
		}
	}
	c.calls.WithLabelValues(event, code).Inc()
	c.seconds.Observe(time.Since(started).Seconds())
}
