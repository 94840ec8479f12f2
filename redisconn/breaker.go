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

// BreakerConfig configures a Breaker. The zero value works.
type BreakerConfig struct {
	// Failures is how many failures in a row open the breaker; 0 means 5. An error counts when it
	// means that Redis cannot be used (IsUnavailable); a caller that leaves does not count.
	Failures int
	// Rest is how long an open breaker sends nothing; 0 means 500 ms. After that one command is sent:
	// its outcome closes the breaker, or opens it again.
	Rest time.Duration
	// Budget is how long each command, or pipeline, of the feature may take; 0 means 500 ms.
	Budget time.Duration
	// OnChange, when set, is called with "open", "half-open" or "closed". It must not block.
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

// A Breaker keeps one feature from waiting again and again for a Redis that does not answer, and
// from adding load to it. While it is open, commands fail at once with redisx.ErrBreakerOpen.
type Breaker struct {
	feature    string
	cfg        BreakerConfig
	state      circuitbreaker.CircuitBreaker[any]
	client     redis.UniversalClient
	ownsClient bool // client has connections of its own
}

// NewBreaker makes the breaker of a feature over client. On a Cluster the feature gets connections
// of its own, up to 16 for each node; else it shares those of client.
func NewBreaker(client redis.UniversalClient, feature string, cfg BreakerConfig) *Breaker {
	b := &Breaker{feature: feature, cfg: cfg.withDefaults()}
	b.state = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(uint(b.cfg.Failures)).WithDelay(b.cfg.Rest).WithSuccessThreshold(1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			if b.cfg.OnChange != nil {
				b.cfg.OnChange(feature, e.NewState.String())
			}
		}).Build()
	if server := redisx.SingleServer(client); server != nil {
		b.client = server.WithTimeout(b.cfg.Budget) // a copy: it has the hooks of client, and ours without client
	} else if cluster := redisx.ClusterOf(client); cluster != nil {
		o := *cluster.Options()
		o.PoolSize = 16
		b.client, b.ownsClient = redis.NewClusterClient(&o), true
	} else {
		panic(fmt.Sprintf("redisconn: no breaker over a %T", client))
	}
	b.client.AddHook(breakerHook{b})
	return b
}

// Client returns the client that the feature uses. It works like the one that was given to
// NewBreaker. Close the Breaker instead of it.
func (b *Breaker) Client() redis.UniversalClient { return b.client }

// State returns "closed", "open" or "half-open".
func (b *Breaker) State() string { return b.state.State().String() }

// Close closes the connections that the breaker made.
func (b *Breaker) Close() error {
	if b.ownsClient {
		return b.client.Close()
	}
	return nil
}

// Metrics registers gateway_redis_breaker_open{feature}, which is 1 while nothing is sent.
func (b *Breaker) Metrics(reg prometheus.Registerer) error {
	return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_redis_breaker_open", Help: "1 while a feature asks Redis nothing.",
		ConstLabels: prometheus.Labels{"feature": b.feature},
	}, func() float64 {
		if b.state.IsOpen() {
			return 1
		}
		return 0
	}))
}

// guardCall sends commands, if the breaker lets them through. The greeting of a new connection
// comes through the hooks too, inside the command that needs the connection, and counts with that
// command.
func (b *Breaker) guardCall(ctx context.Context, send func(context.Context) error) error {
	if ctx.Value(guardedKey{}) == b {
		return send(ctx)
	}
	if err := ctx.Err(); err != nil { // it would show nothing about Redis, so it must not be the probe
		return err
	}
	if !b.state.TryAcquirePermit() {
		return fmt.Errorf("redis: %s: %w", b.feature, redisx.ErrBreakerOpen)
	}
	recorded := false
	defer func() {
		if !recorded { // send panicked or the caller left, and nobody else may send before a probe ends
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

// returnPermit ends a probe that showed nothing about Redis, so that another command can probe. A
// closed breaker hands out no permits.
func (b *Breaker) returnPermit() {
	if b.state.IsHalfOpen() {
		b.state.RecordFailure()
	}
}

// guardedKey is the context key for the breaker that has let a command through.
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
