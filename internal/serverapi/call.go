package serverapi

import (
	"context"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/event"
)

// Root is the path below which all calls are.
const Root = "/server/v1/"

// How long the answer to an idempotency key is kept, and how many bytes it may have. A call that
// can not be repeated never answers more.
const (
	keepAnswers = 10 * time.Minute
	maxAnswer   = 64 << 10
)

// A Caller is the program that calls.
type Caller struct {
	Name           string // of its key
	IdempotencyKey string // "" is none
}

// operator returns how the audit log, and moderated players, see the caller.
func (c Caller) operator() string { return "api-key " + c.Name }

// A Call is one entry of the table.
type Call struct {
	Name   string // "sessions.create"
	Method string // GET reads and has its input in the query; POST has an effect, and a body
	Path   string
	Scope  string
	// In and Out are the types of the input and of the answer, for documentation.
	In, Out reflect.Type
	// Handler is the full name of the Go method. Its comment documents the call.
	Handler string
	// CanRepeat says that doing it twice is the same as doing it once, so that a repeat may do it
	// again when it is not known what became of the first request.
	CanRepeat bool

	serve func(ctx context.Context, s *Service, c Caller, raw []byte) ([]byte, error)
}

// HasEffect reports whether the call takes an idempotency key.
func (c *Call) HasEffect() bool { return c.Method == http.MethodPost }

// onceRule says how the call is done once.
func (c *Call) onceRule() *event.OnceRule {
	return &event.OnceRule{Keep: keepAnswers, KeyLength: event.MaxKeyLength, MaxAnswer: maxAnswer, CanRepeat: c.CanRepeat}
}

// define makes a call of a method.
func define[In, Out any](name, method, path, scope string, h func(s *Service, ctx context.Context, c Caller, in In) (Out, error)) Call {
	return Call{
		Name: name, Method: method, Path: Root + path, Scope: scope, In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out](),
		Handler: strings.TrimSuffix(runtime.FuncForPC(reflect.ValueOf(h).Pointer()).Name(), "-fm"),
		serve: func(ctx context.Context, s *Service, c Caller, raw []byte) ([]byte, error) {
			var in In
			if err := event.Decode(raw, &in); err != nil {
				return nil, err
			}
			out, err := h(s, ctx, c, in)
			if err != nil {
				return nil, err
			}
			return json.Marshal(&out, json.Deterministic(true))
		},
	}
}

// repeatable returns the call as one that may be done twice.
func (c Call) repeatable() Call {
	c.CanRepeat = true
	return c
}

// Calls returns the table of all calls, in the order of the documents. The batch is not in it.
func Calls() []Call {
	const get, post = http.MethodGet, http.MethodPost
	return []Call{
		define("cast", post, "cast", "cast", (*Service).Cast),
		define("connections.list", get, "connections", "connections", (*Service).ListConnections),
		define("connections.disconnect", post, "connections/disconnect", "connections", (*Service).Disconnect).repeatable(),
		define("connections.join", post, "connections/join", "connections", (*Service).Join).repeatable(),
		define("connections.leave", post, "connections/leave", "connections", (*Service).Leave).repeatable(),
		define("presence.user", get, "presence/user", "presence", (*Service).UserPresence),
		define("presence.channel", get, "presence/channel", "presence", (*Service).ChannelPresence),
		define("history", get, "history", "history", (*Service).History),
		define("sessions.create", post, "sessions/create", "sessions", (*Service).CreateSession),
		define("sessions.show", get, "sessions", "sessions", (*Service).ShowSessions),
		define("sessions.revoke", post, "sessions/revoke", "sessions", (*Service).RevokeSessions).repeatable(),
		define("bans.show", get, "bans", "moderation", (*Service).ShowBan),
		define("bans.set", post, "bans/set", "moderation", (*Service).SetBan).repeatable(),
		define("bans.lift", post, "bans/lift", "moderation", (*Service).LiftBan).repeatable(),
		define("sanctions.list", get, "sanctions", "moderation", (*Service).ListSanctions),
		define("sanctions.impose", post, "sanctions/impose", "moderation", (*Service).ImposeSanction).repeatable(),
		define("sanctions.lift", post, "sanctions/lift", "moderation", (*Service).LiftSanction).repeatable(),
		define("goods.mint", post, "goods/mint", "goods", (*Service).Mint).repeatable(),
		define("goods.inventory", get, "goods/inventory", "goods", (*Service).Inventory),
		define("goods.trade", get, "goods/trade", "goods", (*Service).ShowTrade),
		define("limits.show", get, "limits", "limits", (*Service).ShowLimits),
		define("limits.set", post, "limits/set", "limits", (*Service).SetLimits).repeatable(),
	}
}
