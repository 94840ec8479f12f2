package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/sessions"
)

// parseDevices reads --devices: many, single, newest:N or oldest:N.
func parseDevices(text string) (sessions.DevicesConfig, error) {
	switch text {
	case "many":
		return sessions.DevicesConfig{}, nil
	case "single":
		return sessions.DevicesConfig{Limit: 1}, nil
	}
	who, count, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > 100 || who != "newest" && who != "oldest" {
		return sessions.DevicesConfig{}, usage.Errorf("--devices: %q is none of many, single, newest:N and oldest:N, with N from 1 to 100", text)
	}
	return sessions.DevicesConfig{Limit: n, OldestWins: who == "oldest"}, nil
}

// A seated session is one that may connect; whoever opens it gives the seat back.
type seated struct {
	sessions.Session
	release func()
}

// authenticator is auth as the gateway wants it.
type authenticator struct {
	*auth.Service
	devices *sessions.Devices
}

// Authenticate also gives the session its seat among its user's devices.
func (a authenticator) Authenticate(ctx context.Context, payload []byte, h http.Header) (gateway.Session, error) {
	s, err := a.Service.Authenticate(ctx, payload, h)
	if err != nil {
		return gateway.Session{}, err
	}
	release, err := a.devices.Take(ctx, s)
	if err != nil {
		return gateway.Session{}, err
	}
	out := admitted(s)
	out.Source = seated{s, release}
	return out, nil
}

// tracker is sessions.Tracker as the gateway wants it.
type tracker struct{ *sessions.Tracker }

func (t tracker) Open(s gateway.Session, on gateway.Listener) gateway.Handle {
	source, _ := s.Source.(seated)
	h := t.Tracker.Open(source.Session, sessions.Listener{
		Ended:    func(r sessions.Revocation) { on.Ended(r.Code, r.Reason) },
		Expiring: on.Expiring,
	})
	return seatedHandle{h, source.release}
}

type seatedHandle struct {
	*sessions.Handle
	release func()
}

// Close gives the seat back too.
func (h seatedHandle) Close() {
	h.Handle.Close()
	h.release()
}
