package gateway

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/tracing"
)

// This file traces handshakes, events and casts. Without Config.Tracer nothing here costs anything.

// Headers of a handshake as they are kept until the CONNECT. No client can send them under these
// names, because an Authenticator's headers are chosen.
const (
	clientParentHeader    = "Traceparent"           // of the client's own trace
	handshakeParentHeader = "Handshake-Traceparent" // of our span of the handshake, if it is traced
)

// traceOf returns the log field that names a trace, or none.
func traceOf(span *tracing.Span) zap.Field {
	if span == nil {
		return zap.Skip()
	}
	return zap.String("trace", span.TraceID())
}

// beginHandshake begins the span of a handshake's request, which ends when that is admitted.
func (g *Gateway) beginHandshake(r *http.Request) *http.Request {
	if g.cfg.Tracer == nil || strings.Contains(r.URL.RawQuery, "sid=") {
		return r
	}
	span := g.cfg.Tracer.Begin("handshake", tracing.ReadParent(r.Header.Get(clientParentHeader)))
	if span == nil {
		return r
	}
	return r.WithContext(span.Context(r.Context()))
}

// traceHandshakes ends the spans of handshakes, and keeps what the CONNECT needs of them.
func (g *Gateway) traceHandshakes(cfg *socketio.Config) {
	if g.cfg.Tracer == nil {
		return
	}
	admit, header := cfg.Engine.Admit, cfg.Engine.Header
	cfg.Engine.Admit = func(r *http.Request) *engineio.Refusal {
		no := admit(r)
		span := tracing.FromContext(r.Context())
		if no != nil {
			span.Fail(no.Message)
		}
		span.End()
		return no
	}
	cfg.Engine.Header = func(r *http.Request) http.Header {
		h := r.Header.Clone()
		if header != nil {
			h = header(r)
		}
		h.Del(clientParentHeader)
		h.Del(handshakeParentHeader)
		if parent := r.Header.Get(clientParentHeader); tracing.ReadParent(parent) != nil {
			h.Set(clientParentHeader, parent)
		}
		if parent := tracing.ParentOf(r.Context()); parent != "" {
			h.Set(handshakeParentHeader, parent)
		}
		return h
	}
}

// A connTrace is what is traced of a connection; nil for nothing.
type connTrace struct {
	remote     *tracing.Remote // of the client's own trace, to which the connection's events belong
	connecting *tracing.Span   // of the CONNECT, until it was answered
}

// beginConnect begins the span of a CONNECT. auth is its JSON, in which a client that cannot set
// headers may have a traceparent too.
func (g *Gateway) beginConnect(s *socketio.Socket, auth []byte) *connTrace {
	if g.cfg.Tracer == nil {
		return nil
	}
	t, handshake := &connTrace{}, ""
	if h := s.Conn().Header(); h != nil {
		t.remote, handshake = tracing.ReadParent(h.Get(clientParentHeader)), h.Get(handshakeParentHeader)
		h.Del(clientParentHeader) // else they would be kept for as long as the connection lives
		h.Del(handshakeParentHeader)
	}
	if bytes.Contains(auth, []byte(`"traceparent"`)) {
		var in struct {
			Traceparent string `json:"traceparent"`
		}
		if json.Unmarshal(auth, &in) == nil {
			if remote := tracing.ReadParent(in.Traceparent); remote != nil {
				t.remote = remote
				if handshake != "" { // it was chosen, so the CONNECT is too
					handshake = in.Traceparent
				}
			}
		}
	}
	if t.connecting = g.cfg.Tracer.Continue("connect", handshake); t.connecting == nil {
		t.connecting = g.cfg.Tracer.Begin("connect", t.remote)
	}
	if t.remote == nil && t.connecting == nil {
		return nil
	}
	return t
}

// span returns the span of the CONNECT, or nil.
func (t *connTrace) span() *tracing.Span {
	if t == nil {
		return nil
	}
	return t.connecting
}

// endConnecting ends the span of the CONNECT.
func (t *connTrace) endConnecting(err error) {
	if t == nil {
		return
	}
	t.connecting.FailWith(err)
	t.connecting.End()
	t.connecting = nil
}

// beginEvent begins the span of an event.
func (g *Gateway) beginEvent(c *conn, r *route) *tracing.Span {
	if g.cfg.Tracer == nil {
		return nil
	}
	name := "unknown event"
	if r != nil {
		name = r.Name
	}
	var remote *tracing.Remote
	if c.trace != nil {
		remote = c.trace.remote
	}
	span := g.cfg.Tracer.Begin(name, remote)
	if span != nil {
		p := c.player.Load()
		span.Set("user.id", p.UserID)
		span.Set("gateway.connection", p.Conn)
	}
	return span
}

// beginCast begins the span of a cast for a traced event.
func beginCast(ctx context.Context, name string) *tracing.Span {
	event := tracing.FromContext(ctx)
	if event == nil {
		return nil
	}
	return event.Send("cast " + name)
}
