// Package event is the vocabulary between the gateway and the features: a feature is a
// table of routes, a route is a name and a plain method.
package event

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// A Player is who sent an event, as its session says. Values are snapshots: a handler
// may keep one, and does not see later changes.
type Player struct {
	UserID      string
	Username    string
	CharacterID string   // "" while none is chosen
	Roles       []string // shared; never written
	SessionID   string   // a secret: never logged, never sent to others
	Conn        string   // id of the connection; "" for callers without a socket
	Addr        string   // the client's IP address, without a port
}

// HasRole tells whether the session carries the role.
func (p *Player) HasRole(role string) bool { return slices.Contains(p.Roles, role) }

// None is the payload of an event that carries none: absent, null and {} are the same.
type None struct{}

// A Handler judges one event of one player. The error becomes the answer: a *fault.Fault
// as it is, anything else as INTERNAL.
type Handler[In, Out any] func(ctx context.Context, p Player, in In) (Out, error)

// A Route is one event that a client may send.
type Route struct {
	// Name is what the client emits: "chat:message".
	Name string
	// Limits are the policies that one such event spends, all or none.
	Limits []string
	// Roles are those of which the player needs one; none means everybody.
	Roles []string
	// In and Out are the payload types, for documentation.
	In, Out reflect.Type
	// Handler is the full name of the Go function behind it, whose comment documents it.
	Handler string
	// Quick says that the handler never waits: it is given no deadline of its own.
	Quick bool
	// Serve decodes the raw JSON payload, calls the handler and appends its answer's
	// JSON to dst. raw is only valid during the call.
	Serve func(ctx context.Context, p *Player, raw, dst []byte) ([]byte, error)
}

var names = regexp.MustCompile(`^[a-z][a-z0-9]*(:[a-z][a-z0-9]*)+$`)

// On makes a route. In is decoded strictly: unknown fields, duplicate names, wrong types
// and what its `validate` tags refuse are INVALID faults that name the field. It panics
// when the name is not of the form "feature:verb": the table is wrong.
func On[In, Out any](name string, h Handler[In, Out]) Route {
	if !names.MatchString(name) {
		panic(fmt.Sprintf("event: bad name %q", name))
	}
	return Route{
		Name: name, In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out](),
		Handler: strings.TrimSuffix(runtime.FuncForPC(reflect.ValueOf(h).Pointer()).Name(), "-fm"),
		Serve: func(ctx context.Context, p *Player, raw, dst []byte) ([]byte, error) {
			var v struct { // one allocation for both
				in  In
				out Out
			}
			err := Decode(raw, &v.in)
			if err != nil {
				return dst, err
			}
			if v.out, err = h(ctx, *p, v.in); err != nil {
				return dst, err
			}
			return appendJSON(dst, &v.out)
		},
	}
}

// Limit makes the event spend these policies as well.
func (r Route) Limit(policies ...string) Route {
	r.Limits = append(slices.Clip(r.Limits), policies...)
	return r
}

// Role lets only players with one of these roles in.
func (r Route) Role(roles ...string) Route {
	r.Roles = append(slices.Clip(r.Roles), roles...)
	return r
}

// Instant marks a handler that computes and never waits for anything.
func (r Route) Instant() Route {
	r.Quick = true
	return r
}
