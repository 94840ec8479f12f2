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
)

// Instant reports whether an event may be served on the reading goroutine: whether its handler never
// waits.
func (r receiver) Instant(name []byte) bool {
	route := r.g.routes[string(name)]
	return route != nil && route.Quick && len(route.Limits) == 0
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
	m := s.Answering(e.ID)
	head := len(m.Buffer())
	b := append(m.Buffer(), answerHead...)
	route := g.routes[string(e.Name)]
	b, v, err := g.serve(c, route, e, start, b)
	if err == nil {
		if e.HasID {
			m.SetBuffer(append(b, '}'))
			s.Reply(m)
		} else {
			m.Free()
		}
		c.handle.Touch()
		route.served.ok(start)
		g.warn(c, v)
		g.leave(c)
		return
	}
	var f *fault.Fault
	if !errors.Is(err, errLimited) {
		f = fault.Of(err)
		if w, refused := g.mistaken(c.player.Load(), f); refused {
			v, err = w, errLimited
		}
	}
	if errors.Is(err, errLimited) {
		m.Free()
		g.limited(c, route, v, start)
		g.refuse(c, s, e, v)
		return
	}
	g.failed(c, route, f, start)
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

// errLimited says that a limit refuses the event; the Verdict says which.
var errLimited = errors.New("gateway: refused by a limit")

// serve checks one event and appends the handler's answer to dst.
func (g *Gateway) serve(c *conn, r *route, e *socketio.Event, start time.Time, dst []byte) ([]byte, Verdict, error) {
	switch {
	case c.dead.Load() || !c.handle.Alive():
		return dst, Verdict{}, fault.ErrUnauthenticated
	case r == nil:
		return dst, Verdict{}, fault.ErrUnknownEvent
	case len(e.Attachments) > 0:
		return dst, Verdict{}, fault.Invalid("", "binary values are not taken")
	case e.Count > 1:
		return dst, Verdict{}, fault.Invalid("", "one payload at most")
	}
	return g.perform(c.player.Load(), r, start, e.Args, dst)
}

// perform does what events and HTTP requests have in common: it checks the roles, spends the limits
// and calls the handler.
func (g *Gateway) perform(p *event.Player, r *route, start time.Time, payload, dst []byte) (out []byte, v Verdict, err error) {
	if len(r.Roles) > 0 && !slices.ContainsFunc(r.Roles, p.HasRole) {
		return dst, v, fault.ErrForbidden
	}
	if len(r.Limits) > 0 {
		v, err = g.spend(g.base, p, r.Limits)
		switch {
		case err != nil:
			return dst, v, err
		case !v.Allowed:
			return dst, v, errLimited
		}
	}
	ctx := g.base
	if !r.Quick || len(r.Limits) > 0 {
		ctx = g.deadlines.next(start)
	}
	out, err = g.call(ctx, p, r, payload, dst)
	return out, v, err
}

// A panicked is the error of a handler that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// call calls the handler. A panic in it becomes the error of this event.
func (g *Gateway) call(ctx context.Context, p *event.Player, r *route, payload, dst []byte) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = dst, &panicked{v, debug.Stack()}
		}
	}()
	return r.Serve(ctx, p, payload, dst)
}

// failed counts and logs an event that failed. This is the only place that does, except for limited.
func (g *Gateway) failed(c *conn, r *route, f *fault.Fault, start time.Time) {
	event := "unknown"
	if r != nil {
		event = r.Name
		r.served.failed(f.Code, start)
	} else {
		g.metrics.unknown()
	}
	g.logFailure(c.player.Load(), event, f, start)
}

// limited counts and logs an event that a limit refused. A refusal that was already known is logged
// at debug level only, because a flood of them must cost little.
func (g *Gateway) limited(c *conn, r *route, v Verdict, start time.Time) {
	event := "unknown"
	if r != nil {
		event = r.Name
		r.served.refused(start)
	} else {
		g.metrics.unknown()
	}
	if v.Known && !g.log.Core().Enabled(zap.DebugLevel) {
		return
	}
	p := c.player.Load()
	level := zap.InfoLevel
	if v.Known {
		level = zap.DebugLevel
	}
	g.log.Log(level, "event refused", zap.String("conn", p.Conn), zap.String("user", p.UserID), zap.String("event", event),
		zap.String("code", fault.ErrRateLimited.Code), zap.String("policy", v.Policy), zap.Int64("ms", time.Since(start).Milliseconds()))
}

func (g *Gateway) logFailure(p *event.Player, name string, f *fault.Fault, start time.Time) {
	fields := []zap.Field{
		zap.String("conn", p.Conn), zap.String("user", p.UserID), tag(p.SessionID), zap.String("event", name),
		zap.String("code", f.Code), zap.Int64("ms", time.Since(start).Milliseconds()),
	}
	cause := f.Unwrap()
	if cause != nil {
		fields = append(fields, zap.NamedError("cause", cause))
		if p, ok := cause.(*panicked); ok {
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
