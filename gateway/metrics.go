package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/internal/tracing"
)

// Metrics counts what a gateway does. It is a prometheus.Collector, to be registered by the caller.
type Metrics struct {
	connections prometheus.Gauge
	opens       prometheus.Counter
	refusals    *prometheus.CounterVec
	closes      *prometheus.CounterVec

	joinsRefused prometheus.Counter
	roundTrips   prometheus.Histogram
	recoveries   *prometheus.CounterVec
	events       *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	questions    *prometheus.CounterVec
	cluster      atomic.Pointer[clusterMetrics] // of the gateway that counts here
	castLog      atomic.Pointer[logMetrics]     // the same
	engine       atomic.Pointer[engineMetrics]  // the same
}

// NewMetrics makes the metrics of one gateway.
func NewMetrics() *Metrics {
	return &Metrics{
		connections:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_connections", Help: "Players connected to this node."}),
		opens:        prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_connections_opened_total", Help: "Connections that were admitted."}),
		refusals:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_connections_refused_total", Help: "Clients that were turned away, or left, before they were connected, by code."}, []string{"code"}),
		closes:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_connections_closed_total", Help: "Connections that ended, by reason."}, []string{"reason"}),
		joinsRefused: prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_joins_refused_total", Help: "Joins that another program asked for and that --max-rooms refused."}),
		roundTrips: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gateway_connection_round_trip_seconds", Help: "From a ping to its pong, over all connections.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .2, .4, .8, 1.6, 5, 20},
		}),
		recoveries: newRecoveries(),
		events:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_events_total", Help: "Events of clients, by outcome: ok or the code of the refusal."}, []string{"event", "code"}),
		questions:  newQuestions(),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gateway_event_seconds", Help: "From the turn of an event to its answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5},
		}, []string{"event"}),
	}
}

// Describe sends the description of every metric.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect sends every metric.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.connections, m.opens, m.refusals, m.closes, m.joinsRefused, m.roundTrips, m.recoveries, m.events, m.seconds, m.questions} {
		c.Collect(ch)
	}
	if bus := m.cluster.Load(); bus != nil {
		bus.collect(ch)
	}
	if engine := m.engine.Load(); engine != nil {
		ch <- prometheus.MustNewConstMetric(descVolatileDropped, prometheus.CounterValue, float64(engine.droppedVolatile()))
	}
	if castLog := m.castLog.Load(); castLog != nil {
		castLog.collect(ch)
	}
}

// engineMetrics exports the counters of the engine.
type engineMetrics struct{ droppedVolatile func() int64 }

var descVolatileDropped = prometheus.NewDesc("gateway_volatile_dropped_total", "Volatile casts that a client missed because it was behind, each counted for each client.", nil, nil)

func (m *Metrics) countOpened() {
	m.connections.Inc()
	m.opens.Inc()
}

func (m *Metrics) countClosed(reason string) {
	m.connections.Dec()
	m.closes.WithLabelValues(reason).Inc()
}

func (m *Metrics) countRefused(code string) { m.refusals.WithLabelValues(code).Inc() }
func (m *Metrics) countUnknownEvent()       { m.events.WithLabelValues("unknown", "UNKNOWN_EVENT").Inc() }

// eventCounters holds the counters of one event, so that they are looked up once.
type eventCounters struct {
	metrics         *Metrics
	event           string
	good            prometheus.Counter
	seconds         prometheus.ExemplarObserver
	codes           sync.Map // code → prometheus.Counter; as many as there are codes
	rateLimitedOnce sync.Once
	rateLimited     prometheus.Counter // of RATE_LIMITED; made by rateLimitedOnce
}

func (m *Metrics) countersOf(event string) *eventCounters {
	return &eventCounters{metrics: m, event: event, good: m.events.WithLabelValues(event, "ok"), seconds: m.seconds.WithLabelValues(event).(prometheus.ExemplarObserver)}
}

func (o *eventCounters) countSuccess(start time.Time, span *tracing.Span) {
	o.good.Inc()
	o.observe(start, span)
}

// observe notes how long an event took. A traced one becomes an exemplar.
func (o *eventCounters) observe(start time.Time, span *tracing.Span) {
	var exemplar prometheus.Labels
	if span != nil {
		exemplar = prometheus.Labels{"trace_id": span.TraceID()}
	}
	o.seconds.ObserveWithExemplar(time.Since(start).Seconds(), exemplar)
}

func (o *eventCounters) countFailure(code string, start time.Time, span *tracing.Span) {
	c, ok := o.codes.Load(code)
	if !ok {
		c, _ = o.codes.LoadOrStore(code, o.metrics.events.WithLabelValues(o.event, code))
	}
	c.(prometheus.Counter).Inc()
	o.observe(start, span)
}

// countRateLimited counts a refusal with RATE_LIMITED, without an allocation.
func (o *eventCounters) countRateLimited(start time.Time) {
	o.rateLimitedOnce.Do(func() { o.rateLimited = o.metrics.events.WithLabelValues(o.event, "RATE_LIMITED") })
	o.rateLimited.Inc()
	o.observe(start, nil)
}
