package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/sessions"
)

// parseDevices reads the rule of --devices: many, single, newest:N or oldest:N.
func parseDevices(text string) (sessions.DevicesConfig, error) {
	switch text {
	case "many":
		return sessions.DevicesConfig{}, nil
	case "single":
		return sessions.DevicesConfig{Limit: 1}, nil
	}
	winner, count, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > 100 || winner != "newest" && winner != "oldest" {
		return sessions.DevicesConfig{}, usage.Errorf("--devices: %q is none of many, single, newest:N and oldest:N, with N from 1 to 100", text)
	}
	return sessions.DevicesConfig{Limit: n, OldestWins: winner == "oldest"}, nil
}

// A seatedSession is a session that holds a seat among the devices of its user, and whose
// connection is counted.
type seatedSession struct {
	sessions.Session
	begin   func() // counts the connection, if that was not done
	release func() // gives both back
}

// authenticator is auth as the gateway wants it.
type authenticator struct {
	*auth.Service
	devices     *sessions.Devices
	connections *sessions.Connections
}

// Authenticate judges a handshake, counts the connection among those of its user on all nodes, and
// gives the session a seat among the devices of its user.
func (a authenticator) Authenticate(ctx context.Context, payload []byte, h http.Header) (gateway.Session, error) {
	begin, endConnection := func() {}, func() {}
	var tooMany error
	s, err := a.Service.AuthenticateWith(ctx, payload, h, func(ctx context.Context, userID string) (ban sessions.Ban, err error) {
		ban, endConnection, err = a.connections.Admit(ctx, userID)
		if errors.Is(err, sessions.ErrTooManyConnections) && gateway.PresentsConnection(payload) {
			tooMany, err = err, sessions.ErrNotFound // the user has no ban
			begin = func() { endConnection = a.connections.AdmitReplacement(userID) }
		}
		return ban, err
	})
	if err != nil {
		endConnection()
		return gateway.Session{}, err
	}
	releaseSeat, err := a.devices.Take(ctx, s)
	if err != nil {
		endConnection()
		return gateway.Session{}, err
	}
	out := toGatewaySession(s)
	out.UnlessReplaces = tooMany
	out.Source = seatedSession{s, begin, func() {
		releaseSeat()
		endConnection()
	}}
	return out, nil
}

// AuthenticateAgain judges a CONNECT of a connection that Authenticate has judged, and counts
// nothing.
func (a authenticator) AuthenticateAgain(ctx context.Context, payload []byte, h http.Header) (gateway.Session, error) {
	s, err := a.Service.Authenticate(ctx, payload, h)
	return toGatewaySession(s), err
}

// tracker is sessions.Tracker as the gateway wants it.
type tracker struct{ *sessions.Tracker }

// Open begins to follow a session that Authenticate has given a seat.
func (t tracker) Open(s gateway.Session, on gateway.Listener) gateway.Handle {
	source, _ := s.Source.(seatedSession)
	source.begin()
	h := t.Tracker.Open(source.Session, sessions.Listener{
		Ended: func(r sessions.Revocation) {
			if r.Code == sessions.Replaced && r.Reason == sessions.RenewedReason && on.Renewed != nil {
				on.Renewed()
			}
			on.Ended(r.Code, r.Reason)
		},
		Expiring: on.Expiring,
	})
	return seatedHandle{h, source.release}
}

// seatedHandle is a handle that gives back what Authenticate took when it is closed.
type seatedHandle struct {
	*sessions.Handle
	release func()
}

// Close ends the hold on the session, and gives back the seat and the connection.
func (h seatedHandle) Close() {
	h.Handle.Close()
	h.release()
}
