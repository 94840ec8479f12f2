package gateway

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/tracing"
)

// Instant reports whether an event may be served on the reading goroutine: whether its handler
// never waits.
func (r receiver) Instant(name []byte) bool {
	route := r.namespace.routes[string(name)]
	return route != nil && route.IsInstant && len(route.Limits) == 0
}

const (
	answerHead = `{"ok":true,"data":`
	refuseHead = `{"ok":false,"error":`
)

// Event serves one event: it is the only inbound path.
func (r receiver) Event(s *socketio.Socket, e *socketio.Event) {
	g := r.g
	c := s.Data().(*conn)
	start := time.Now()
	route := r.namespace.routes[string(e.Name)]
	span := g.beginEvent(c, route)
	defer span.End()
	if g.samples.isWanted() {
		g.samples.take(c, route, e, start)
	}
	spent := c.spendEvent()
	if !spent.Allowed {
		g.reportRateLimited(c, route, e.Name, spent, start, span)
		g.answerRateLimited(c, s, e, spent)
		return
	}
	m := s.Answering(e.ID)
	head := len(m.Buffer())
	b := append(m.Buffer(), answerHead...)
	binary := attachmentsOf(route, e)
	b, v, err := g.serveEvent(c, route, e, binary, start, span, b)
	if err == nil {
		switch {
		case e.HasID && binary != nil && len(binary.Out) > 0:
			_ = s.Answer(e.ID, socketio.Args{JSON: append(b[head:], '}'), Attachments: binary.Out}) // else it is gone
			m.Free()
		case e.HasID:
			m.SetBuffer(append(b, '}'))
			s.Reply(m)
		default:
			m.Free()
		}
		c.finishAnswer(false)
		if !route.IsPassive {
			c.handle.Touch()
		}
		route.counters.countSuccess(start, span)
		g.warnOfLimits(c, v)
		g.warnOfLimits(c, spent)
		g.finishLogout(c)
		return
	}
	c.finishAnswer(true)
	var f *fault.Fault
	if !errors.Is(err, errLimited) {
		f = fault.Of(err)
		if w, refused := g.spendForMistake(c.player.Load(), f); refused {
			v, err = w, errLimited
		}
	}
	if errors.Is(err, errLimited) {
		m.Free()
		g.reportRateLimited(c, route, e.Name, v, start, span)
		g.answerRateLimited(c, s, e, v)
		return
	}
	g.reportFailure(c, route, e.Name, f, start, span)
	refusal, encodeErr := json.Marshal(f)
	if encodeErr != nil {
		refusal, _ = json.Marshal(fault.ErrInternal)
	}
	if e.HasID {
		b = append(append(append(b[:head], refuseHead...), refusal...), '}')
		m.SetBuffer(b)
		s.Reply(m)
		return
	}
	m.Free()
	_ = s.EmitArgs("error", socketio.Args{JSON: refusal})
}

// spendEvent charges an event to the connection that sent it.
func (c *conn) spendEvent() Verdict {
	if c.events == nil {
		return Verdict{Allowed: true}
	}
	return c.events.Spend(c.player.Load().Roles)
}

// errLimited says that a limit refuses the event; the Verdict says which.
var errLimited = errors.New("gateway: refused by a limit")

// attachmentsOf returns the binary values of an event, nil where its route has none.
func attachmentsOf(r *route, e *socketio.Event) *event.Attachments {
	if r == nil || !r.TakesBinary && !r.AnswersBinary {
		return nil
	}
	return &event.Attachments{In: e.Attachments}
}

// serveEvent checks one event and appends the handler's answer to dst.
func (g *Gateway) serveEvent(c *conn, r *route, e *socketio.Event, binary *event.Attachments, start time.Time, span *tracing.Span, dst []byte) ([]byte, Verdict, error) {
	switch {
	case c.isEnded.Load() || !c.handle.Alive():
		return dst, Verdict{}, fault.ErrUnauthenticated
	case r == nil:
		return dst, Verdict{}, fault.ErrUnknownEvent
	case len(e.Attachments) > 0 && !r.TakesBinary:
		return dst, Verdict{}, event.ErrBinaryNotTaken
	case e.Count > 1:
		return dst, Verdict{}, fault.Invalid("", "one payload at most")
	}
	if needsRoles(r, c.player.Load()) {
		g.refreshRoles(c, maxRoleAge)
	}
	return g.performRoute(c.playerNow(), r, binary, start, span, e.Args, dst)
}

// playerNow returns the player with the newest round trip.
func (c *conn) playerNow() *event.Player {
	p, took := c.player.Load(), c.socket.Conn().RoundTrip()
	if p.RoundTrip == took {
		return p
	}
	c.changePlayer(func(p *event.Player) { p.RoundTrip = took })
	return c.player.Load()
}

// performRoute checks the roles of an event's player, spends the limits and calls the handler. An
// event with an idempotency key is done once.
func (g *Gateway) performRoute(p *event.Player, r *route, binary *event.Attachments, start time.Time, span *tracing.Span, payload, dst []byte) (out []byte, v Verdict, err error) {
	if r.OnceRule != nil {
		request, err := identifyEvent(p, r, payload, "")
		if err != nil {
			return dst, v, err
		}
		if request.Key != "" {
			return g.performEventOnce(p, r, request, start, span, payload, dst)
		}
	}
	return g.performUnkeyed(p, r, binary, start, span, payload, dst)
}

// performUnkeyed is performRoute for an event without an idempotency key. binary may be nil.
func (g *Gateway) performUnkeyed(p *event.Player, r *route, binary *event.Attachments, start time.Time, span *tracing.Span, payload, dst []byte) (out []byte, v Verdict, err error) {
	if len(r.Roles) > 0 && !slices.ContainsFunc(r.Roles, p.HasRole) {
		return dst, v, fault.ErrForbidden
	}
	if len(r.Limits) > 0 {
		limits := span.Child("limits")
		v, err = g.spendLimits(limits.Context(g.baseCtx), p, r.Limits)
		limits.End()
		switch {
		case err != nil:
			return dst, v, err
		case !v.Allowed:
			return dst, v, errLimited
		}
	}
	ctx := g.baseCtx
	if !r.IsInstant || len(r.Limits) > 0 {
		ctx = g.deadlines.contextFor(start)
	}
	if binary != nil {
		ctx = event.WithAttachments(ctx, binary)
	}
	out, err = g.callHandler(ctx, p, r, span, payload, dst)
	return out, v, err
}

// performEventOnce is performRoute for an event of a socket with an idempotency key.
func (g *Gateway) performEventOnce(p *event.Player, r *route, request event.Request, start time.Time, span *tracing.Span, payload, dst []byte) (out []byte, v Verdict, err error) {
	spend := g.spendEventOnce(p, r, span, &v)
	out, err = g.performOnce(span.Context(g.deadlines.contextFor(start)), p, r, request, spend, payload, dst)
	return out, v, err
}

// A panicError is the error of a handler that panicked.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// callHandler calls the handler. A panic in it becomes the error of this event.
func (g *Gateway) callHandler(ctx context.Context, p *event.Player, r *route, span *tracing.Span, payload, dst []byte) (out []byte, err error) {
	handler := span.Child("handler")
	defer func() {
		if v := recover(); v != nil {
			out, err = dst, &panicError{v, debug.Stack()}
		}
		handler.FailWith(err)
		handler.End()
	}()
	return r.Serve(handler.Context(ctx), p, payload, dst)
}

// reportFailure counts and logs an event that failed, and keeps it for the operators. This is the
// only place that does, except for reportRateLimited. name is what the client sent. An event that
// was still queued when the session ended is counted alone: the end was logged.
func (g *Gateway) reportFailure(c *conn, r *route, name []byte, f *fault.Fault, start time.Time, span *tracing.Span) {
	span.Fail(f.Code)
	event := ""
	if r != nil {
		event = r.Name
		r.counters.countFailure(f.Code, start, span)
	} else {
		event = unknownName(name, c.player.Load())
		g.metrics.countUnknownEvent()
	}
	if f == fault.ErrUnauthenticated && (c.isEnded.Load() || !c.socket.Conn().Open()) {
		return
	}
	p := c.player.Load()
	c.noteRefusal(refusalOf(p, event, f))
	g.logFailure(p, event, f, start, span)
}

// unknownName returns the name of an event that there is not, for logs: cut, and with ? for what
// could not be printed.
func unknownName(name []byte, p *event.Player) string {
	return printable(hideSession(string(name), p), maxLoggedName)
}

// reportRateLimited counts and logs an event that a limit refused. A refusal that was already known
// is logged at debug level only, because a flood of them must cost little.
func (g *Gateway) reportRateLimited(c *conn, r *route, name []byte, v Verdict, start time.Time, span *tracing.Span) {
	span.Fail(fault.ErrRateLimited.Code)
	if r != nil {
		r.counters.countRateLimited(start)
	} else {
		g.metrics.countUnknownEvent()
	}
	if v.Known && !g.log.Core().Enabled(zap.DebugLevel) {
		return
	}
	event := ""
	if r != nil {
		event = r.Name
	} else {
		event = unknownName(name, c.player.Load())
	}
	p := c.player.Load()
	level := zap.InfoLevel
	if v.Known {
		level = zap.DebugLevel
	} else {
		x := refusalOf(p, event, fault.ErrRateLimited)
		x.Policy = v.Policy
		c.noteRefusal(x)
	}
	g.log.Log(level, "event refused", zap.String("conn", p.Conn), zap.String("user", p.UserID), sessionTagOf(p.SessionID), zap.String("event", event),
		zap.String("code", fault.ErrRateLimited.Code), zap.String("policy", v.Policy), zap.Int64("ms", time.Since(start).Milliseconds()), traceOf(span))
}

func (g *Gateway) logFailure(p *event.Player, name string, f *fault.Fault, start time.Time, span *tracing.Span) {
	fields := []zap.Field{
		zap.String("conn", p.Conn), zap.String("user", p.UserID), sessionTagOf(p.SessionID), zap.String("event", name),
		zap.String("code", f.Code), zap.Int64("ms", time.Since(start).Milliseconds()), traceOf(span),
	}
	if field, reason := reasonOf(f, p); field != "" || reason != "" {
		fields = append(fields, zap.String("field", field), zap.String("reason", reason))
	}
	cause := f.Unwrap()
	if cause != nil {
		fields = append(fields, zap.NamedError("cause", cause))
		if p, ok := cause.(*panicError); ok {
			fields = append(fields, zap.ByteString("stack", p.stack))
		}
	}
	switch f.Code {
	case fault.ErrInternal.Code:
		g.log.Error("event failed", fields...)
	case fault.ErrUnavailable.Code, fault.ErrTimeout.Code:
		g.log.Warn("event failed", fields...)
	default:
		g.log.Info("event refused", fields...)
	}
}
