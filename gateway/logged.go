package gateway

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/castlog"
)

// This file casts by the log (internal/castlog), where there is one: everybody hears what was
// acknowledged.

// HasLog reports whether casts are logged, so that CastAndWait can be used.
func (g *Gateway) HasLog() bool { return g.ready.Load() && g.nsp.HasLog() }

// IsLogAway reports whether Redis does not confirm casts, so that CastAndWait reaches this node's
// members only.
func (g *Gateway) IsLogAway() bool { return g.nsp.IsLogAway() }

// isLogged reports whether the casts of an event are logged.
func (s *Namespace) isLogged(name string) bool { return s.nsp.HasLog() && !s.g.fleeting[name] }

// CastAndWait casts to a room, and writes to a history, which may be nil: both or neither. It
// returns when Redis has it and the members on this node have received it. When Redis does not
// confirm it, Outcome.IsLocal is true: the members on this node have received it, and the others
// will when Redis is back. HasLog must be true. Errors: castlog.ErrFull when Redis is away and too
// much waits for it already, then nobody receives it; castlog.ErrUnknown; the end of ctx, then
// somebody may receive it; or the payload can not be encoded.
func (g *Gateway) CastAndWait(ctx context.Context, room, name string, payload any, history *castlog.History) (castlog.Outcome, error) {
	encoded, err := encodePayload(name, payload)
	if err != nil {
		return castlog.Outcome{}, err
	}
	span := beginCast(ctx, name)
	defer span.End()
	c := g.castOf(name, encoded, span)
	c.Rooms, c.History = []string{room}, history
	return g.nsp.CastAndWait(ctx, c)
}

// CastUserAndWait is CastAndWait to every device of a user. It returns how many devices received
// it; while Redis is away, only those on this node.
func (g *Gateway) CastUserAndWait(ctx context.Context, userID, name string, payload any) (reached int, isLocal bool, err error) {
	encoded, err := encodePayload(name, payload)
	if err != nil {
		return 0, false, err
	}
	span := beginCast(ctx, name)
	defer span.End()
	c := g.castOf(name, encoded, span)
	c.Rooms = []string{userRoom(userID)}
	reached, _, outcome, err := g.nsp.CountAndWait(ctx, c)
	return reached, outcome.IsLocal, err
}

// missedStatus is the payload of a `gateway:status` that casts may have been missed.
type missedStatus struct {
	Cluster string `json:"cluster"` // "ok"
	Missed  bool   `json:"missed"`  // true
}

// tellMissed tells the players on this node that they may have missed something.
func (g *Gateway) tellMissed() {
	g.log.Error("casts that were acknowledged may never be heard: Redis has forgotten them, or this node was cut off for too long")
	if g.ready.Load() {
		_ = g.castToNode("gateway:status", missedStatus{"ok", true}) // it can always be encoded
	}
}

// Log returns the counters of the log.
func (g *Gateway) Log() socketio.LogStats { return g.io.LogStats() }

// logMetrics exports the counters of Log to Prometheus.
type logMetrics struct{ stats func() socketio.LogStats }

var (
	descLogCasts     = prometheus.NewDesc("gateway_log_casts_total", "Casts of this node, by what became of them: appended to the log; local, delivered here before Redis confirmed them; again, appended again to a Redis that had forgotten them; lost, forgotten and not kept any more.", []string{"what"}, nil)
	descLogDropped   = prometheus.NewDesc("gateway_log_dropped_total", "Entries that the bounds of the logs cost.", nil, nil)
	descLogCatchUps  = prometheus.NewDesc("gateway_log_catchups_total", "How often this node read what it had missed.", nil, nil)
	descLogCaughtUp  = prometheus.NewDesc("gateway_log_caught_up_total", "Casts that this node read after it had missed them.", nil, nil)
	descLogMalformed = prometheus.NewDesc("gateway_log_malformed_total", "Entries of logs that are no casts, and were dropped.", nil, nil)
	descLogMissed    = prometheus.NewDesc("gateway_log_missed_total", "How often casts may have been missed for good.", nil, nil)
	descLogWaiting   = prometheus.NewDesc("gateway_log_unconfirmed_bytes", "Bytes of this node's casts that Redis has not confirmed.", nil, nil)
	descLogKept      = prometheus.NewDesc("gateway_log_kept_bytes", "Bytes of this node's casts that wait for Redis, or may have to be appended again.", nil, nil)
)

func (m logMetrics) collect(ch chan<- prometheus.Metric) {
	s := m.stats()
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for what, n := range map[string]int64{"appended": s.Appended, "local": s.Local, "again": s.Again, "lost": s.Lost} {
		count(descLogCasts, n, what)
	}
	count(descLogDropped, s.Dropped)
	count(descLogCatchUps, s.CatchUps)
	count(descLogCaughtUp, s.CaughtUp)
	count(descLogMalformed, s.Malformed)
	count(descLogMissed, s.Missed)
	ch <- prometheus.MustNewConstMetric(descLogKept, prometheus.GaugeValue, float64(s.Kept))
	ch <- prometheus.MustNewConstMetric(descLogWaiting, prometheus.GaugeValue, float64(s.Waiting))
}
