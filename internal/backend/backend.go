package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/signedpost"
)

// ErrAnswer refuses an event whose backend gave an answer that is none. Nothing of it was done
// here; what the backend did is not known.
var ErrAnswer = fault.New("BACKEND_ANSWER", "That part of the game gave no proper answer.")

// Rooms deliver what a backend casts.
type Rooms interface {
	// AfterAnswer has f called when the event that a connection has under way is answered, unless it
	// is refused.
	AfterAnswer(conn string, f func())
	// SendPush casts.
	SendPush(p gateway.Push) error
}

// Options are what the backends need of the gateway. Rooms is required.
type Options struct {
	Rooms Rooms
	// HandlerTimeout is what an event has; 0 means 5 s.
	HandlerTimeout time.Duration
	Node           string // the name of this node, which backends are told
	// IsOwnEvent reports whether an event is the gateway's: no backend may cast it. nil: none is.
	IsOwnEvent func(name string) bool
	// Reachable is told when the breaker of a backend opens, and when it closes. It must not wait.
	Reachable func(backend string, isReachable bool)
	// CastFailed is told of a cast that nobody hears, or only players on this node, and AnswerFailed
	// of an answer that is none; of each backend once in ten seconds, with the number of those that
	// were skipped since. They must not wait.
	CastFailed   func(backend string, err error, skipped int)
	AnswerFailed func(backend, event string, err error, skipped int)
}

// A Service serves the events of all backends. Its methods may be called from any goroutine.
type Service struct {
	opts     Options
	backends []*backend
	judge    *backend // who judges who connects; nil: nobody
	metrics  *metrics
}

// A backend is one program of the game.
type backend struct {
	cfg     Config
	service *Service
	schema  *schemaFile
	names   []string // of its events, sorted
	secrets *signedpost.Secrets
	client  *signedpost.Client
	breaker circuitbreaker.CircuitBreaker[any]
	slots   chan struct{} // one for each event under way
	judging chan struct{} // one for each client that is judged
	counts  *counters

	castReports, answerReports pacedReports
}

const (
	breakerFailures = 5 // of the last breakerCalls calls
	breakerCalls    = 10
	breakerDelay    = time.Second
)

// New makes the backends. The error names everything that is wrong with them.
func New(all []Config, o Options) (*Service, error) {
	if o.HandlerTimeout <= 0 {
		o.HandlerTimeout = 5 * time.Second
	}
	if o.IsOwnEvent == nil {
		o.IsOwnEvent = func(string) bool { return false }
	}
	if o.Reachable == nil {
		o.Reachable = func(string, bool) {}
	}
	if o.CastFailed == nil {
		o.CastFailed = func(string, error, int) {}
	}
	if o.AnswerFailed == nil {
		o.AnswerFailed = func(string, string, error, int) {}
	}
	if faults := Check(all, o.HandlerTimeout); len(faults) > 0 {
		errs := make([]error, len(faults))
		for i, f := range faults {
			errs[i] = f
		}
		return nil, errors.Join(errs...)
	}
	s := &Service{opts: o, metrics: newMetrics()}
	for _, c := range all {
		b, err := s.openBackend(c.withDefaults(o.HandlerTimeout))
		if err != nil {
			return nil, err
		}
		s.backends = append(s.backends, b)
		if c.Connect != "" {
			s.judge = b
		}
	}
	s.metrics.backends = s.backends
	return s, nil
}

// openBackend makes one backend.
func (s *Service) openBackend(c Config) (b *backend, err error) {
	b = &backend{cfg: c, service: s, slots: make(chan struct{}, c.MaxWaiting), judging: make(chan struct{}, c.MaxWaiting), counts: s.metrics.countersOf(c.Name)}
	schema, names, fault := c.readEvents()
	if fault != nil {
		return nil, fault
	}
	b.schema, b.names = schema, names
	if b.secrets, err = signedpost.OpenSecrets(c.SecretFile); err != nil {
		return nil, &Fault{c.Name, "secret-file", err}
	}
	b.client, err = signedpost.NewClient(signedpost.Config{MaxAnswer: maxAnswer, Timeout: c.Timeout, MaxConnections: c.MaxConnections, CAFile: c.CAFile})
	if err != nil {
		return nil, &Fault{c.Name, "ca", err}
	}
	b.breaker = circuitbreaker.NewBuilder[any]().WithFailureThresholdRatio(breakerFailures, breakerCalls).WithDelay(breakerDelay).WithSuccessThreshold(1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			switch {
			case e.NewState == circuitbreaker.ClosedState:
				s.opts.Reachable(c.Name, true)
			case e.NewState == circuitbreaker.OpenState && e.OldState == circuitbreaker.ClosedState:
				s.opts.Reachable(c.Name, false)
			}
		}).Build()
	return b, nil
}

// Close closes the connections to the backends.
func (s *Service) Close() {
	for _, b := range s.backends {
		b.client.Close()
	}
}

// Routes returns the events of all backends.
func (s *Service) Routes() (routes []event.Route) {
	for _, b := range s.backends {
		for _, name := range b.names {
			routes = append(routes, b.makeRoute(name))
		}
	}
	return routes
}

func (b *backend) makeRoute(name string) event.Route {
	described := b.schema.Events[name]
	schemas := &event.Schemas{Owner: b.cfg.Name, Types: b.schema.Defs, Codes: b.schema.codesOf(described)}
	schemas.Codes[ErrAnswer.Code] = ErrAnswer.Message
	for _, f := range []*fault.Fault{fault.ErrForbidden, fault.ErrNotFound, fault.ErrConflict, fault.ErrLocked} {
		if _, isOwn := schemas.Codes[f.Code]; !isOwn {
			schemas.Codes[f.Code] = f.Message
		}
	}
	if described == nil {
		described = &eventSchema{}
	}
	schemas.Doc, schemas.In, schemas.Out = described.Doc, described.Payload, described.Data
	if schemas.In == nil {
		schemas.In = jsontext.Value(`{"type":"object"}`)
	}
	r := event.OnRaw(name, schemas, func(ctx context.Context, p *event.Player, fields map[string]jsontext.Value, key string, dst []byte) ([]byte, error) {
		return b.serveEvent(ctx, name, described, p, fields, key, dst)
	}).Limit(b.cfg.Limits...).Role(b.cfg.Roles...)
	if len(b.cfg.Limits) == 0 {
		r = r.Unlimited("its backend wants none")
	}
	if b.cfg.Once {
		r = r.Once(event.CanRepeat(), event.Passing(ErrAnswer), event.LongAnswers(maxKept))
	}
	return r
}

// Casts returns the events that the schemas of the backends say they cast.
func (s *Service) Casts() (casts []event.Cast) {
	for _, b := range s.backends {
		for _, name := range slices.Sorted(maps.Keys(b.schema.Casts)) {
			c := b.schema.Casts[name]
			casts = append(casts, event.Cast{Name: name, Doc: c.Doc, Schemas: &event.Schemas{Owner: b.cfg.Name, Doc: c.Doc, In: c.Payload, Types: b.schema.Defs}})
		}
	}
	return casts
}

// CheckNames refuses events and casts of backends whose names are of features that the gateway has
// already, and limits that there are not.
func (s *Service) CheckNames(isOwnEvent func(name string) bool, isPolicy func(name string) bool) error {
	var errs []error
	for _, b := range s.backends {
		refuse := func(key, format string, args ...any) {
			errs = append(errs, &Fault{b.cfg.Name, key, fmt.Errorf(format, args...)})
		}
		if isOwnEvent(b.cfg.Name) {
			refuse("", "the gateway has a feature of that name")
		}
		for _, name := range b.names {
			if isOwnEvent(name) {
				refuse("events", "%s: the gateway has events of %s itself", name, featureOf(name))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(b.schema.Casts)) {
			if isOwnEvent(name) {
				refuse("schema", "the cast %s: the gateway has events of %s itself", name, featureOf(name))
			}
		}
		for _, policy := range b.cfg.Limits {
			if !isPolicy(policy) {
				refuse("limits", "there is no policy %q", policy)
			}
		}
	}
	for i, b := range s.backends { // one cast may be of several, if they agree on it
		for name, c := range b.schema.Casts {
			for _, other := range s.backends[:i] {
				if twin := other.schema.Casts[name]; twin != nil && string(twin.Payload) != string(c.Payload) {
					errs = append(errs, &Fault{b.cfg.Name, "schema", fmt.Errorf("the cast %s is another one in %s", name, other.cfg.Name)})
				}
			}
		}
	}
	return errors.Join(errs...)
}

func featureOf(name string) string {
	feature, _, _ := strings.Cut(name, ":")
	return feature
}

// Metrics returns the metrics of the calls.
func (s *Service) Metrics() prometheus.Collector { return s.metrics }

// Len returns how many backends there are.
func (s *Service) Len() int { return len(s.backends) }

// States returns whether each backend is reachable, by name, as far as the last calls say.
func (s *Service) States() map[string]bool {
	states := map[string]bool{}
	for _, b := range s.backends {
		states[b.cfg.Name] = b.breaker.IsClosed()
	}
	return states
}

// ReloadSecrets reads the files of secrets again: those that have changed, or all. A file that is
// wrong changes nothing. It returns how many were read, and what is wrong.
func (s *Service) ReloadSecrets(all bool) (read int, err error) {
	for _, b := range s.backends {
		if !all && !b.secrets.HasChanged() {
			continue
		}
		if failed := b.secrets.Reload(); failed != nil {
			err = errors.Join(err, &Fault{b.cfg.Name, "secret-file", failed})
			continue
		}
		read++
	}
	return read, err
}
