package webhooks

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

type metrics struct {
	deliveries *prometheus.CounterVec
	parkings   prometheus.Counter
	retries    prometheus.Counter
	seconds    prometheus.Histogram
	isActive   prometheus.Gauge
	waiting    prometheus.Gauge
	oldest     prometheus.Gauge
	parked     prometheus.Gauge
	dropped    prometheus.Gauge
	unwritten  prometheus.Gauge
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_webhook_deliveries_total", Help: "Posts to the receiver of webhooks: ok, refused (another status than 2xx), failed (no answer in time).",
		}, []string{"outcome"}),
		parkings: prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_webhook_parked_total", Help: "Webhooks that this node has parked, because the receiver did not take them."}),
		retries:  prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_webhook_connection_retries_total", Help: "Times that connections were not written at once, because Redis did not take them: they are told later."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gateway_webhook_delivery_seconds", Help: "How long the receiver of webhooks takes to answer.", Buckets: []float64{.005, .02, .1, .5, 2, 10},
		}),
		isActive:  gauge("gateway_webhook_active", "1 on the node that delivers webhooks. The gauges of webhooks are 0 on the others."),
		waiting:   gauge("gateway_webhook_waiting", "Webhooks that wait to be delivered."),
		oldest:    gauge("gateway_webhook_oldest_seconds", "How long the oldest webhook has waited."),
		parked:    gauge("gateway_webhook_parked", "Webhooks that are parked: gateway webhooks list."),
		dropped:   gauge("gateway_webhook_dropped", "Webhooks of all nodes that were never written because too many waited, and parked ones that were removed because there were too many."),
		unwritten: gauge("gateway_webhook_unwritten", "Webhooks of all nodes that were never written, because Redis refused them. Each node has the same."),
	}
	for _, outcome := range []string{"ok", "refused", "failed"} {
		m.deliveries.WithLabelValues(outcome)
	}
	return m
}

func (m *metrics) listCollectors() []prometheus.Collector {
	return []prometheus.Collector{m.deliveries, m.parkings, m.retries, m.seconds, m.isActive, m.waiting, m.oldest, m.parked, m.dropped, m.unwritten}
}

// resetGauges makes the gauges 0 on a node that does not deliver.
func (m *metrics) resetGauges() {
	for _, g := range []prometheus.Gauge{m.waiting, m.oldest, m.parked, m.dropped} {
		g.Set(0)
	}
}

// Describe sends the descriptions of the metrics.
func (d *Dispatcher) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range d.metrics.listCollectors() {
		c.Describe(ch)
	}
}

// Collect sends the metrics.
func (d *Dispatcher) Collect(ch chan<- prometheus.Metric) {
	for _, c := range d.metrics.listCollectors() {
		c.Collect(ch)
	}
}

// totals are what all nodes have together.
type totals struct {
	dropped   int64
	isKnown   bool
	isTooMany bool // it was logged that events are dropped
}

// observeBacklog looks at the totals of all nodes, and for dead nodes whose connections nobody else
// tells.
func (d *Dispatcher) observeBacklog(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	pipe := d.cfg.Redis.Pipeline()
	waiting, parked := pipe.XLen(ctx, keys.Webhooks), pipe.XLen(ctx, keys.WebhooksParked)
	counts, oldest := pipe.HGetAll(ctx, keys.WebhookCounts), pipe.XRangeN(ctx, keys.Webhooks, "-", "+", 1)
	beats := pipe.HGetAll(ctx, keys.WebhookNodes)
	if _, err := pipe.Exec(ctx); err != nil {
		d.sweeper.forgetNodes()
		return
	}
	d.metrics.waiting.Set(float64(waiting.Val()))
	d.metrics.parked.Set(float64(parked.Val()))
	d.metrics.oldest.Set(ageOf(oldest.Val()))
	d.noteDropped(counts.Val(), waiting.Val())
	d.sweepDead(ctx, d.sweeper.findDeadNodes(beats.Val()), beats.Val())
}

// observeUnwritten looks how many events of all nodes Redis has refused. It logs the first, and
// again the first after a minute without.
func (d *Dispatcher) observeUnwritten(ctx context.Context) {
	o := d.cfg.Outbox
	_ = d.withRedis(ctx, o.countOwed)
	found := []any{nil, nil}
	err := d.withRedis(ctx, func(ctx context.Context) (err error) {
		found, err = d.cfg.Redis.HMGet(ctx, keys.WebhookCounts, "unwritten", "unwrittenWhy").Result()
		return err
	})
	if redisx.Unavailable(err) || ctx.Err() != nil {
		return
	}
	owed, why := o.owedEvents()
	total := owed
	if err == nil {
		text, _ := found[0].(string)
		n, _ := strconv.ParseInt(text, 10, 64)
		total += n
		if inRedis, isThere := found[1].(string); isThere && owed == 0 {
			why = inRedis
		}
	}
	d.metrics.unwritten.Set(float64(total))
	t := &d.unwritten
	if t.isKnown && total > t.total {
		if time.Since(t.grewAt) > lineEvery {
			d.cfg.Log.Error("webhooks can not be written: what happens is not told", zap.String("error", why), zap.Int64("unwritten", total))
		}
		t.grewAt = time.Now()
	}
	t.total, t.isKnown = total, true
}

// unwrittenTotal is what a node knows of the events of all nodes that Redis refused.
type unwrittenTotal struct {
	total   int64
	isKnown bool
	grewAt  time.Time
}

// ageOf returns how old the first entry is, in seconds.
func ageOf(all []redis.XMessage) float64 {
	if len(all) == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(parseWaiting(all[0].ID, nil).At)).Seconds())
}

// noteDropped logs once that events are dropped, and again when that has ended and begins anew.
func (d *Dispatcher) noteDropped(counts map[string]string, waiting int64) {
	dropped, _ := strconv.ParseInt(counts["dropped"], 10, 64)
	removed, _ := strconv.ParseInt(counts["removed"], 10, 64)
	d.metrics.dropped.Set(float64(dropped + removed))
	t := &d.totals
	switch {
	case t.isKnown && dropped > t.dropped && !t.isTooMany:
		t.isTooMany = true
		d.cfg.Log.Error("webhooks are dropped, because too many wait for the receiver", zap.Int64("waiting", waiting), zap.Int64("dropped", dropped))
	case t.isTooMany && waiting < int64(d.cfg.Outbox.most)/2:
		t.isTooMany = false
		d.cfg.Log.Info("webhooks are not dropped any more", zap.Int64("waiting", waiting), zap.Int64("dropped", dropped))
	}
	t.dropped, t.isKnown = dropped, true
}

// suppressed keeps lines of one kind from filling the log.
type suppressed struct {
	last   time.Time
	others int
}

// countLine reports whether a line is due, and how many were left out since the last one.
func (s *suppressed) countLine(now time.Time, every time.Duration) (isDue bool, others int) {
	if now.Sub(s.last) < every {
		s.others++
		return false, 0
	}
	others = s.others
	s.last, s.others = now, 0
	return true, others
}
