package gateway

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/tracing"
)

type playerKey struct{}

// PlayerOf returns the player who made a request. Only requests that passed Identify have one.
func PlayerOf(r *http.Request) (event.Player, bool) {
	p, ok := r.Context().Value(playerKey{}).(event.Player)
	return p, ok
}

// Identify returns a handler that lets only requests with a valid session through to next. Other
// requests are answered with problem+json.
func (g *Gateway) Identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := g.cfg.Auth.Identify(r)
		if err != nil {
			var f *fault.Fault
			if !errors.As(err, &f) {
				f = fault.Unavailable("session", time.Second, err)
				g.log.Warn("request could not be judged", zap.String("path", printable(r.URL.Path, maxLoggedReason)), zap.Error(err))
			} else if f.Status() == http.StatusConflict { // a code that only refuses handshakes
				f = fault.ErrUnauthenticated
			}
			f.WriteProblem(w)
			return
		}
		p := s.Player
		p.Addr = g.cfg.Socket.Engine.ClientAddr(r)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), playerKey{}, p)))
	})
}

const maxRequestBody = 64 << 10 // bytes of a request's body

// A RequestLimit charges the limits of a request, and writes header fields about them. With look,
// it looks at the record of an event that is done once first, and claims it (Limiter.SpendOnce). An
// error that has a method WriteProblem(http.ResponseWriter) is answered by that.
type RequestLimit func(w http.ResponseWriter, r *http.Request, look *record.Look) (record.Found, error)

// Endpoint returns a handler that serves the route of the given name to callers without a socket.
// It must stand behind Identify. The payload is the body of the request; the answer is the data of
// the acknowledgement. The idempotency key of a route that is done once may stand in the header
// Idempotency-Key. limit charges the limits; nil charges none. Endpoint panics when there is no
// such route.
func (g *Gateway) Endpoint(name string, limit RequestLimit) http.Handler {
	r := g.routes[name]
	if r == nil {
		panic("gateway: no route is named " + name)
	}
	free := &route{r.Route, r.counters}
	free.Limits = nil
	free.IsInstant = false
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		start := time.Now()
		p, ok := PlayerOf(req)
		out, err := []byte(nil), error(fault.ErrUnauthenticated)
		if ok {
			out, err = g.serveRequest(&p, free, limit, start, w, req)
		}
		var problem interface{ WriteProblem(w http.ResponseWriter) }
		switch {
		case err == nil:
			free.counters.countSuccess(start, tracing.FromContext(req.Context()))
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(out)
		case errors.Is(err, errLimited) && errors.As(err, &problem):
			problem.WriteProblem(w)
		default:
			f := fault.Of(err)
			span := tracing.FromContext(req.Context())
			span.Fail(f.Code)
			free.counters.countFailure(f.Code, start, span)
			g.refused.add(refusalOf(&p, name, f))
			g.logFailure(&p, name, f, start, span)
			f.WriteProblem(w)
		}
	})
}

// serveRequest serves a request. An error of limit is wrapped with errLimited.
func (g *Gateway) serveRequest(p *event.Player, r *route, limit RequestLimit, start time.Time, w http.ResponseWriter, req *http.Request) ([]byte, error) {
	spend := func(look *record.Look) (found record.Found, err error) {
		if limit == nil {
			return found, nil
		}
		if found, err = limit(w, req, look); err != nil {
			err = errors.Join(errLimited, err)
		}
		return found, err
	}
	span := tracing.FromContext(req.Context())
	body, request, err := identifyRequest(p, r, w, req)
	if err == nil && request.Key != "" {
		ctx := span.Context(g.deadlines.contextFor(start))
		return g.performOnce(ctx, p, r, request, func(_ context.Context, look record.Look) (record.Found, error) { return spend(&look) }, body, nil)
	}
	if _, refused := spend(nil); refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	out, _, err := g.performUnkeyed(p, r, nil, start, span, body, nil)
	return out, err
}

// identifyRequest reads the body of a request, and its idempotency key.
func identifyRequest(p *event.Player, r *route, w http.ResponseWriter, req *http.Request) (body []byte, request event.Request, err error) {
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, request, fault.Invalid("", "Content-Type must be application/json")
	}
	body, err = io.ReadAll(http.MaxBytesReader(w, req.Body, maxRequestBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, request, fault.ErrTooLarge
	case err != nil:
		return nil, request, fault.Invalid("", "the body could not be read")
	}
	key, err := keyOfRequest(req.Header)
	switch {
	case err != nil:
		return nil, request, err
	case r.OnceRule != nil:
		request, err = identifyEvent(p, r, body, key)
	case key != "":
		err = fault.Invalid(keyHeader, "is not taken here")
	}
	return body, request, err
}
