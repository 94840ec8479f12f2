package redisconn

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// State is what a Monitor knows of Redis.
type State int32

// The states, best first.
const (
	Up       State = iota // answers in time and takes writes
	Slow                  // answers, over the budget
	ReadOnly              // answers, and refuses writes: a replica, a failover, full memory
	Down                  // does not answer, or refuses everything
)

var stateNames = [...]string{Up: "up", Slow: "slow", ReadOnly: "readonly", Down: "down"}

func (s State) String() string { return stateNames[s] }

// MonitorConfig tunes a Monitor. The zero value works, and notices a Redis that dies or
// hangs, and one that returns, within a second.
type MonitorConfig struct {
	// Every is how often Redis is asked while it is up; 0 means 250 ms. A command of the
	// client that fails has it asked at once.
	Every time.Duration
	// Retry is how often it is asked while it is not; 0 means 100 ms.
	Retry time.Duration
	// Budget is the time after which it is slow; 0 means 250 ms. Having missed it once,
	// Redis is asked again on a new connection, and has Patience.
	Budget time.Duration
	// Patience is the time after which it is down; 0 means 400 ms.
	Patience time.Duration
	// OnChange is told each change by the goroutine of Run, one at a time; why is "" when
	// the state is Up or Slow. While it runs Redis is not asked, so it must not wait.
	OnChange func(from, to State, why string)
}

func (c MonitorConfig) withDefaults() MonitorConfig {
	for d, otherwise := range map[*time.Duration]time.Duration{
		&c.Every: 250 * time.Millisecond, &c.Retry: 100 * time.Millisecond,
		&c.Budget: slowAfter, &c.Patience: 400 * time.Millisecond,
	} {
		if *d <= 0 {
			*d = otherwise
		}
	}
	return c
}

// minGap is the least time between two questions, however many commands fail.
const minGap = 50 * time.Millisecond

// A Monitor watches whether Redis is there, on connections of its own: a busy pool does
// not make Redis look dead.
type Monitor struct {
	cfg         MonitorConfig
	client      redis.UniversalClient
	probeClient redis.UniversalClient // owned by Run; nil until the first question
	wake        chan struct{}
	state       atomic.Int32
}

// NewMonitor makes a monitor, which says Up until Run has asked. It adds a hook to client,
// by which failing commands wake it.
func NewMonitor(client redis.UniversalClient, cfg MonitorConfig) *Monitor {
	m := &Monitor{cfg: cfg.withDefaults(), client: client, wake: make(chan struct{}, 1)}
	client.AddHook(wakeHook{m})
	return m
}

// State is the last known state. It costs one atomic read.
func (m *Monitor) State() State { return State(m.state.Load()) }

// Run asks until ctx ends, and then returns nil. It is called once.
func (m *Monitor) Run(ctx context.Context) error {
	defer m.closeProbeClient()
	for {
		asked := time.Now()
		m.updateState(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := m.cfg.Every
		if m.State() != Up {
			wait = m.cfg.Retry
		}
		if !m.waitForNextProbe(ctx, asked, wait) {
			return nil
		}
	}
}

// waitForNextProbe waits until a time after asked, less when a command failed; false when ctx ended.
func (m *Monitor) waitForNextProbe(ctx context.Context, asked time.Time, wait time.Duration) bool {
	timer := time.NewTimer(time.Until(asked.Add(wait)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.wake:
		timer.Reset(time.Until(asked.Add(minGap)))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// updateState asks once, and once more before it believes in anything bad.
func (m *Monitor) updateState(ctx context.Context) {
	err := m.probeOnce(ctx, m.cfg.Budget)
	late := false
	if err != nil && ctx.Err() == nil {
		if late = redisx.UnavailableReason(err) == redisx.ReasonNoAnswer; late && m.State() == Up {
			m.setState(Slow, "")
		}
		err = m.probeOnce(ctx, m.cfg.Patience)
	}
	switch {
	case ctx.Err() != nil:
	case err == nil && late:
		m.setState(Slow, "")
	case err == nil:
		m.setState(Up, "")
	case redisx.IsReadOnly(err):
		m.setState(ReadOnly, redisx.UnavailableReason(err))
	default:
		_, why := classifyFailure(err)
		m.setState(Down, why)
	}
}

// probeOnce makes one question. Its client is thrown away when it fails, so that the next
// question takes a new connection to whoever is the master then.
func (m *Monitor) probeOnce(ctx context.Context, limit time.Duration) error {
	if m.probeClient == nil {
		m.probeClient = newDedicatedClient(m.client, max(m.cfg.Budget, m.cfg.Patience))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := probeWrites(ctx, m.probeClient)
	if err != nil {
		m.closeProbeClient()
	}
	return err
}

func (m *Monitor) closeProbeClient() {
	if m.probeClient != nil && m.probeClient != m.client {
		_ = m.probeClient.Close() // it holds nothing that could be lost
	}
	m.probeClient = nil
}

func (m *Monitor) setState(to State, why string) {
	from := State(m.state.Swap(int32(to)))
	if from != to && m.cfg.OnChange != nil {
		m.cfg.OnChange(from, to, why)
	}
}

// Metrics registers redis_state{state}, 1 for the state that holds and 0 for the others.
func (m *Monitor) Metrics(reg prometheus.Registerer) error {
	for s := range State(len(stateNames)) {
		err := reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "redis_state", Help: "1 for the state that Redis is in.",
			ConstLabels: prometheus.Labels{"state": s.String()},
		}, func() float64 {
			if m.State() == s {
				return 1
			}
			return 0
		}))
		if err != nil {
			return err
		}
	}
	return nil
}
