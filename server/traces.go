package server

import (
	"net/http"
	"strconv"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/tracing"
	"github.com/aeturnis/realtime/internal/tracing/otlp"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/version"
)

// openTraces makes what sends traces to Config.OTLPEndpoint; without one, nothing is traced and
// nothing made. The caller must call the function that it returns when nothing begins any more.
func (n *node) openTraces() (closeTraces func(), err error) {
	if n.cfg.OTLPEndpoint == "" {
		return func() {}, nil
	}
	n.traces, err = otlp.New(otlp.Config{
		Endpoint: n.cfg.OTLPEndpoint, Share: n.cfg.TraceSample, Node: n.name, Version: version.String(),
		OnChange: func(err error) {
			if err != nil {
				n.log.Warn("the collector takes no traces: they are lost until it does", zap.String("error", err.Error())) // as a text, or an outage of Redis would hide the line
				return
			}
			n.log.Info("the collector takes traces again")
		},
	})
	if err != nil {
		return nil, usage.Errorf("--otlp-endpoint: %w", err)
	}
	n.tracer = n.traces.Tracer
	n.registry.MustRegister(n.traces)
	return n.traces.Close, nil
}

// traceRedis makes spans of what traced events ask these servers.
func (n *node) traceRedis(clients ...redis.UniversalClient) {
	if n.tracer == nil {
		return
	}
	for _, c := range clients {
		c.AddHook(tracing.RedisHook{})
	}
}

// traceRequests returns a handler that traces some of the requests to next.
func (n *node) traceRequests(next http.Handler) http.Handler {
	if n.tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		span := n.tracer.Begin(r.Method, tracing.ReadParent(r.Header.Get("Traceparent")))
		if span == nil {
			next.ServeHTTP(w, r)
			return
		}
		defer span.End()
		r = r.WithContext(span.Context(r.Context()))
		answer := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		if r.Pattern != "" { // and not the path, in which anything may stand
			span.Rename(r.Pattern)
		}
		span.Set("http.response.status_code", strconv.Itoa(answer.status))
		if answer.status >= http.StatusInternalServerError {
			span.Fail(http.StatusText(answer.status))
		}
	})
}

// A statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 until it is written
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b) //nolint:wrapcheck // it is the writer's own
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
