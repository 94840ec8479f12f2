package gateway

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/tracing"
)

// A spendOnce charges the limits of an event, in a script that looks at the event's record first
// and claims it.
type spendOnce func(ctx context.Context, look record.Look) (record.Found, error)

// performOnce is performRoute for an event with an idempotency key. A repeat that has an answer
// gets it whatever the player may do now, and spends nothing. spend is nil when nothing limits the
// event.
func (g *Gateway) performOnce(ctx context.Context, p *event.Player, r *route, request event.Request, spend spendOnce, payload, dst []byte) ([]byte, error) {
	e := &once.Event{
		UserID: p.UserID, Route: r.Name, Rule: r.OnceRule, Request: request, Spend: spend,
		Serve: func(ctx context.Context, dst []byte) ([]byte, error) {
			return g.callHandler(ctx, p, r, tracing.FromContext(ctx), payload, dst)
		},
	}
	if r.OnceRule.Outcome != nil {
		e.Outcome = func(ctx context.Context, dst []byte) ([]byte, bool, error) {
			return g.callOutcome(ctx, p, r, payload, dst)
		}
	}
	if len(r.Roles) > 0 && !slices.ContainsFunc(r.Roles, p.HasRole) {
		e.Refused = fault.ErrForbidden
	}
	return g.cfg.Once.Do(ctx, e, dst)
}

// spendEventOnce returns what charges the limits of an event of a socket. v becomes the Verdict.
func (g *Gateway) spendEventOnce(p *event.Player, r *route, span *tracing.Span, v *Verdict) spendOnce {
	if len(r.Limits) == 0 {
		return nil
	}
	return func(_ context.Context, look record.Look) (found record.Found, err error) {
		limits := span.Child("limits")
		*v, found, err = g.cfg.Limiter.SpendOnce(limits.Context(g.baseCtx), r.Limits, g.subjectOf(p), look)
		limits.End()
		if err == nil && !v.Allowed && !standsInTheWay(found) {
			err = errLimited
		}
		return found, err
	}
}

// standsInTheWay reports whether a record was found that decides about its event. Then no limit was
// asked.
func standsInTheWay(found record.Found) bool {
	switch found.State {
	case record.NotLooked, record.Missing, record.Claimed:
		return false
	}
	return true
}

// callOutcome asks a feature what became of an event. A panic in it becomes the error of this
// event.
func (g *Gateway) callOutcome(ctx context.Context, p *event.Player, r *route, payload, dst []byte) (out []byte, isDone bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, isDone, err = dst, false, &panicError{v, debug.Stack()}
		}
	}()
	return r.OnceRule.Outcome(ctx, p, payload, dst)
}

// identifyEvent returns the request of an event of a route that is done once. A panic in a
// feature's event.Beside becomes the error of this event.
func identifyEvent(p *event.Player, r *route, payload []byte, key string) (request event.Request, err error) {
	defer func() {
		if v := recover(); v != nil {
			request, err = event.Request{}, &panicError{v, debug.Stack()}
		}
	}()
	return r.OnceRule.Identify(p, payload, key)
}

// keyHeader is the header of a request with its idempotency key.
const keyHeader = "Idempotency-Key"

// keyOfRequest returns the idempotency key of a request's header, "" when there is none. It may
// stand in quotes, as draft-ietf-httpapi-idempotency-key-header has it.
func keyOfRequest(h http.Header) (string, error) {
	values := h.Values(keyHeader)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if inner, ok := strings.CutPrefix(key, `"`); ok {
		if key, ok = strings.CutSuffix(inner, `"`); !ok || strings.ContainsAny(key, `"\`) {
			key = ""
		}
	}
	if key == "" || len(values) > 1 {
		return "", fault.Invalid(keyHeader, "one key, with no quotes in it")
	}
	return key, nil
}
