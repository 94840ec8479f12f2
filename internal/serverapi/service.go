package serverapi

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/apikeys"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/operate"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/presence"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// A Pusher casts to the connections of all nodes.
type Pusher interface {
	StartPush(p gateway.Push) (wait func(ctx context.Context) (gateway.Reach, error), err error)
}

// Config says what the calls work on. All is required but Timeout and MaxBody.
type Config struct {
	Keys     *apikeys.Ring
	Redis    redis.UniversalClient
	Gateway  Pusher
	Sessions *sessions.Store
	Chat     *chat.Service
	Presence *presence.Service
	Trade    *trade.Service
	Limiter  *throttle.Limiter
	Once     *once.Keeper
	// IsOwnEvent reports whether an event is the gateway's: a program may not cast it.
	IsOwnEvent func(name string) bool
	Log        *zap.Logger

	Timeout time.Duration // for one call; 0 means 5 s
	MaxBody int64         // bytes of a body; 0 means 1,000,000
}

// A Service serves the calls. Its methods may be called from any goroutine.
type Service struct {
	cfg   Config
	calls map[string]*Call // by name

	served *prometheus.CounterVec
	asking chan struct{} // calls that ask the nodes now

	silentTurn chan struct{} // full while the nodes are asked which are silent
	silent     silentNodes   // of the caller that filled silentTurn
}

// maxAsking is how many calls ask the nodes at a time; further ones wait.
const maxAsking = 4

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 1_000_000
	}
	s := &Service{
		cfg: cfg, calls: map[string]*Call{}, asking: make(chan struct{}, maxAsking), silentTurn: make(chan struct{}, 1),
		served: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_api_calls_total", Help: "Calls of the server API, by the name of the key, the call and the code of the refusal; code is ok where there is none.",
		}, []string{"key", "call", "code"}),
	}
	for _, c := range Calls() {
		s.calls[c.Name] = &c
	}
	return s
}

// Metrics returns the counters of the calls.
func (s *Service) Metrics() prometheus.Collector { return s.served }

// record writes an act into the audit log. The act stands when that fails, which is logged.
func (s *Service) record(ctx context.Context, c Caller, a auditlog.Act) {
	a.By = c.operator()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := auditlog.Record(ctx, s.cfg.Redis, a); err != nil {
		s.cfg.Log.Warn("done by the server API, but not in the audit log", zap.String("key", c.Name), zap.String("act", a.What), zap.Error(err))
	}
}

// toFault returns UNAVAILABLE for an error which means that Redis is away, and others as they are.
func toFault(ctx context.Context, err error) error {
	return redisx.FaultFor(ctx, "server", err)
}

// askNodes asks all nodes.
func askNodes[T any](ctx context.Context, s *Service, c Caller, what string, args any) (out operate.NodeAnswers[T], err error) {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return out, ctx.Err()
	}
	out, err = operate.AskNodes[T](ctx, s.cfg.Redis, nodecall.Request{What: what, By: c.operator(), Args: args})
	return out, toFault(ctx, err)
}

// silentNodes are the nodes that did not answer lately.
type silentNodes struct {
	names []string
	at    time.Time
}

// maxSilent is how many nodes that do not answer are named to a cast.
const maxSilent = 100

// findSilentNodes returns the nodes that do not answer, or nil when that is not known before ctx
// ends. It asks them once a second at most, also when they could not be asked.
func (s *Service) findSilentNodes(ctx context.Context, c Caller) []string {
	select {
	case s.silentTurn <- struct{}{}:
		defer func() { <-s.silentTurn }()
	case <-ctx.Done():
		return nil
	}
	if time.Since(s.silent.at) < time.Second {
		return s.silent.names
	}
	answers, err := askNodes[nodecall.Status](ctx, s, c, nodecall.AskStatus, nil)
	if err != nil && ctx.Err() != nil {
		return nil // the caller has left, and another one may ask
	}
	s.silent = silentNodes{answers.Unanswered[:min(len(answers.Unanswered), maxSilent)], time.Now()}
	return s.silent.names
}

// moderator returns the caller as the chat sees it: one that may join every channel, and moderate.
func (c Caller) moderator() event.Player {
	return event.Player{UserID: c.operator(), Username: c.Name, Roles: []string{"admin", "moderator"}}
}

// exactlyOne returns INVALID unless one of the fields is given.
func exactlyOne(fields map[string]bool, names string) error {
	given := 0
	for _, isGiven := range fields {
		if isGiven {
			given++
		}
	}
	if given != 1 {
		return fault.Invalid("", "exactly one of "+names)
	}
	return nil
}

// withoutClaim returns ctx for the features: the record of the call is ours, so their scripts must
// not write it.
func withoutClaim(ctx context.Context) context.Context { return event.WithClaim(ctx, nil) }

// isNotFound reports whether a session, or a ban, is not there.
func isNotFound(err error) bool { return errors.Is(err, sessions.ErrNotFound) }
