package redisconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// BreakerConfig tunes a Breaker. The zero value works.
type BreakerConfig struct {
	// Failures in a row open it; 0 means 5. Only those count that mean that Redis cannot be
	// used (IsUnavailable), and not a caller that left.
	Failures int
	// Rest is how long an open breaker sends nothing; 0 means 500 ms. Then one command goes
	// through: it closes the breaker, or opens it again.
	Rest time.Duration
	// Budget is the time that each command, or pipeline, of the feature has; 0 means 500 ms.
	Budget time.Duration
	// OnChange, when set, is told "open", "half-open" and "closed". It must not wait.
	OnChange func(feature, state string)
}

func (c BreakerConfig) withDefaults() BreakerConfig {
	if c.Failures <= 0 {
		c.Failures = 5
	}
	if c.Rest <= 0 {
		c.Rest = 500 * time.Millisecond
	}
	if c.Budget <= 0 {
		c.Budget = 500 * time.Millisecond
	}
	return c
}

// A Breaker keeps one feature from waiting for a Redis that does not answer, again and
// again, and from pressing one that is ill. While it is open commands fail at once, with
// redisx.ErrBreakerOpen.
type Breaker struct {
	feature    string
	cfg        BreakerConfig
	state      circuitbreaker.CircuitBreaker[any]
	client     redis.UniversalClient
	ownsClient bool // client has connections of its own
}

// NewBreaker makes the breaker of a feature over client. On a Cluster the feature gets up to
// 16 connections a node of its own; else it shares those of client.
func NewBreaker(client redis.UniversalClient, feature string, cfg BreakerConfig) *Breaker {
	b := &Breaker{feature: feature, cfg: cfg.withDefaults()}
	b.state = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(uint(b.cfg.Failures)).WithDelay(b.cfg.Rest).WithSuccessThreshold(1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			if b.cfg.OnChange != nil {
				b.cfg.OnChange(feature, e.NewState.String())
			}
		}).Build()
	switch c := client.(type) {
	case *redis.Client:
		// A copy with hooks of its own: those of client, then ours.
		b.client = c.WithTimeout(b.cfg.Budget)
	case *redis.ClusterClient:
		o := *c.Options()
		o.PoolSize = 16
		b.client, b.ownsClient = redis.NewClusterClient(&o), true
	default:
		panic(fmt.Sprintf("redisconn: no breaker over a %T", client))
	}
	b.client.AddHook(breakerHook{b})
	return b
}

// Client is the feature's: it works as the one that the breaker was made over. Close is the
// Breaker's.
func (b *Breaker) Client() redis.UniversalClient { return b.client }

// State is "closed", "open" or "half-open".
func (b *Breaker) State() string { return b.state.State().String() }

// Close gives connections of its own back.
func (b *Breaker) Close() error {
	if b.ownsClient {
		return b.client.Close()
	}
	return nil
}

// Metrics registers redis_breaker_open{feature}, 1 while nothing goes through.
func (b *Breaker) Metrics(reg prometheus.Registerer) error {
	return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "redis_breaker_open", Help: "1 while a feature asks Redis nothing.",
		ConstLabels: prometheus.Labels{"feature": b.feature},
	}, func() float64 {
		if b.state.IsOpen() {
			return 1
		}
		return 0
	}))
}

// guardCall sends something, if the breaker lets it. The greeting of a new connection comes
// through the hooks too, inside the command that needs it, and is judged with it.
func (b *Breaker) guardCall(ctx context.Context, send func(context.Context) error) error {
	if ctx.Value(guardedKey{}) == b {
		return send(ctx)
	}
	if err := ctx.Err(); err != nil { // nothing would be learnt of Redis: this must be no probe
		return err
	}
	if !b.state.TryAcquirePermit() {
		return fmt.Errorf("redis: %s: %w", b.feature, redisx.ErrBreakerOpen)
	}
	recorded := false
	defer func() {
		if !recorded { // send panicked, or the caller left: a probe must not stay out for ever
			b.returnPermit()
		}
	}()
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, guardedKey{}, b), b.cfg.Budget)
	defer cancel()
	err := send(bounded)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
	case IsUnavailable(err):
		recorded = true
		b.state.RecordFailure()
	default:
		recorded = true
		b.state.RecordSuccess()
	}
	return err
}

// returnPermit gives a probe's permit back: nothing was learnt, so the next one tries. A closed
// breaker needs none.
func (b *Breaker) returnPermit() {
	if b.state.IsHalfOpen() {
		b.state.RecordFailure()
	}
}

// guardedKey is the context key of the breaker that lets a command through.
type guardedKey struct{}

type breakerHook struct{ b *Breaker }

func (h breakerHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h breakerHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := h.b.guardCall(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
		if err != nil && cmd.Err() == nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (h breakerHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := h.b.guardCall(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
		if errors.Is(err, redisx.ErrBreakerOpen) {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		return err
	}
}
