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
				g.log.Warn("request could not be judged", zap.String("path", r.URL.Path), zap.Error(err))
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

// Endpoint returns a handler that serves the route of the given name to callers without a socket.
// It must stand behind Identify. The payload is the body of the request; the answer is the data of
// the acknowledgement. It spends no limits: the caller puts a middleware for them in front. It
// panics when there is no such route.
func (g *Gateway) Endpoint(name string) http.Handler {
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
			out, err = g.serveRequest(&p, free, w, req)
		}
		if err != nil {
			f := fault.Of(err)
			free.counters.countFailure(f.Code, start)
			g.logFailure(&p, name, f, start)
			f.WriteProblem(w)
			return
		}
		free.counters.countSuccess(start)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(out)
	})
}

func (g *Gateway) serveRequest(p *event.Player, r *route, w http.ResponseWriter, req *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, fault.Invalid("", "Content-Type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxRequestBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fault.ErrTooLarge
	case err != nil:
		return nil, fault.Invalid("", "the body could not be read")
	}
	out, _, err := g.performRoute(p, r, time.Now(), body, nil)
	return out, err
}
