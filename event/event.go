// Package event is the vocabulary between the gateway and the features. A feature has two tables:
// the routes are the events that clients may send, each a name and a plain method (On); the casts
// are the events that the server sends by itself (Sends).
//
// A handler is a method with a context, a Player and a payload, which returns an answer and an
// error. It knows nothing of Socket.IO, of JSON or of other features:
//
//	func (s *Service) Routes() []event.Route {
//		return []event.Route{event.On("guild:cheer", s.Cheer).Limit("chat")}
//	}
//
//	func (s *Service) Cheer(ctx context.Context, p event.Player, in Cheer) (event.None, error)
//
// The payload is decoded strictly and validated by its `validate` tags before the handler is called
// (Decode). The type of the payload, its tags and its comments are also the documentation of the
// event, which `make generate` writes into docs/EVENTS.md.
package event

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A Player is the sender of an event, as the session describes it. Values are snapshots: a handler
// may keep one, and does not see later changes.
type Player struct {
	UserID      string
	Username    string
	CharacterID string   // "" while none is chosen
	Roles       []string // shared with other goroutines: the handler must not change it
	SessionID   string   // a secret: never log it, never send it to other players
	Conn        string   // id of the connection; "" for callers without a socket
	Addr        string   // the client's IP address, without a port
	// RoundTrip is how long the last ping to the client took, there and back: 0 before the first
	// one, and without a socket. Clients can make it look shorter or longer.
	RoundTrip time.Duration
}

// HasRole reports whether the player has a role.
func (p *Player) HasRole(role string) bool { return slices.Contains(p.Roles, role) }

// None is the payload or the answer of an event that has none. As a payload, absent, null and {}
// are the same.
type None struct{}

// A Handler serves one event of one player. An error becomes the answer: a *fault.Fault as it is, a
// deadline as TIMEOUT, anything else as INTERNAL.
type Handler[In, Out any] func(ctx context.Context, p Player, in In) (Out, error)

// A Route is one event that a client may send.
type Route struct {
	// Name is what the client emits: "chat:message".
	Name string
	// Namespace is where the event is served; "" is the main one. The server sets it, for a feature
	// that has a namespace of its own.
	Namespace string
	// Limits are the policies that one such event spends, all or none.
	Limits []string
	// NoLimit is why the event spends no policy of its own; "" when it spends some. Every event of a
	// connection spends the policy of its connection all the same.
	NoLimit string
	// Roles are the roles of which the player needs one. None means that everybody may send it.
	Roles []string
	// In and Out are the payload types, for documentation.
	In, Out reflect.Type
	// Handler is the full name of the Go function that serves the event. Its comment is the
	// documentation of the event.
	Handler string
	// IsInstant says that the handler never waits, see Instant.
	IsInstant bool
	// IsPassive says that the event is no activity of the player, see Passive.
	IsPassive bool
	// OnceRule says how the event is done once; nil when it is done as often as it is sent. See
	// Once.
	OnceRule *OnceRule
	// TakesBinary and AnswersBinary say that the payload and the answer may have a Binary.
	TakesBinary, AnswersBinary bool
	// Schemas describe the event in place of In, Out and the comment of Handler, where the handler is
	// not a Go function with types; else nil.
	Schemas *Schemas
	// Serve decodes the raw JSON payload, calls the handler and appends its answer's JSON to dst. raw
	// is only valid during the call. Binary values are in ctx: see WithAttachments.
	Serve func(ctx context.Context, p *Player, raw, dst []byte) ([]byte, error)

	identify func(r *OnceRule, p *Player, raw []byte, key string) (Request, error)
}

var eventName = regexp.MustCompile(`^[a-z][a-z0-9]*(:[a-z][a-z0-9]*)+$`)

// On makes a route. The payload is decoded strictly: unknown fields, duplicate names, wrong types
// and what the `validate` tags refuse are INVALID faults that name the field. On panics when the
// name is not of the form "feature:verb", because then the table is wrong.
func On[In, Out any](name string, h Handler[In, Out]) Route {
	if !eventName.MatchString(name) {
		panic(fmt.Sprintf("event: bad name %q", name))
	}
	takesBinary, answersBinary := HasBinary(reflect.TypeFor[In]()), HasBinary(reflect.TypeFor[Out]())
	return Route{
		Name: name, In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out](), TakesBinary: takesBinary, AnswersBinary: answersBinary,
		Handler:  strings.TrimSuffix(runtime.FuncForPC(reflect.ValueOf(h).Pointer()).Name(), "-fm"),
		identify: identifyPayload[In],
		Serve: func(ctx context.Context, p *Player, raw, dst []byte) ([]byte, error) {
			var v struct { // one allocation for both
				in  In
				out Out
			}
			err := error(nil)
			if takesBinary {
				err = decodeBinary(raw, attachmentsOf(ctx).In, &v.in)
			} else {
				err = Decode(raw, &v.in)
			}
			if err != nil {
				return dst, err
			}
			if v.out, err = h(ctx, *p, v.in); err != nil {
				return dst, err
			}
			if answersBinary {
				a := attachmentsOf(ctx)
				dst, a.Out, err = AppendBinary(dst, nil, &v.out)
				return dst, err
			}
			return appendAnswerJSON(dst, &v.out)
		},
	}
}

// Limit returns a route whose event spends these policies too, in addition to those before.
func (r Route) Limit(policies ...string) Route {
	r.Limits = append(slices.Clip(r.Limits), policies...)
	return r
}

// Unlimited returns a route whose event spends no policy of its own, and says why it needs none.
func (r Route) Unlimited(why string) Route {
	r.NoLimit = why
	return r
}

// Role returns a route that only players with one of these roles may use. A second call adds roles.
func (r Route) Role(roles ...string) Route {
	r.Roles = append(slices.Clip(r.Roles), roles...)
	return r
}

// Instant returns a route whose handler only computes and never waits for anything. Such a handler
// gets no deadline, and may be called on the goroutine that reads the connection: while it works,
// nothing else of that connection is read.
func (r Route) Instant() Route {
	r.IsInstant = true
	return r
}

// Passive returns a route whose event does not slide the session: it is sent by a program that
// runs, not by a player who plays.
func (r Route) Passive() Route {
	r.IsPassive = true
	return r
}
