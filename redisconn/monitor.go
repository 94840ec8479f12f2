package redisconn

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// State is the state of Redis, as a Monitor knows it.
type State int32

// The states, best first.
const (
	Up        State = iota // answers in time and takes writes
	Slow                   // answers, over the budget
	ReadOnly               // answers, and refuses writes: a replica, a failover, full memory
	Forbidden              // answers, and our user lacks a right that is needed
	Down                   // does not answer, or refuses everything
)

var stateNames = [...]string{Up: "up", Slow: "slow", ReadOnly: "readonly", Forbidden: "forbidden", Down: "down"}

// String returns the name that metrics and logs use.
func (s State) String() string { return stateNames[s] }

// MonitorConfig configures a Monitor. With the zero value it notices within a second when Redis
// dies, hangs or comes back.
type MonitorConfig struct {
	// Every is how often the monitor asks while Redis is up; 0 means 250 ms. When a command of the
	// client fails, it asks at once.
	Every time.Duration
	// Retry is how often the monitor asks while Redis is not up; 0 means 100 ms.
	Retry time.Duration
	// Budget is how long an answer may take before Redis is called slow; 0 means 250 ms. Then the
	// monitor asks once more, on a new connection, and waits for Patience.
	Budget time.Duration
	// Patience is how long that second answer may take before Redis is called down; 0 means 400 ms.
	Patience time.Duration
	// Rights are what our Redis user must be allowed to do. While one is missing, the state is
	// Forbidden. The monitor asks for them at first, when Redis has come back, at most half a second
	// after a command of the client was refused, and each RightsEvery.
	Rights Rights
	// RightsEvery is how often the monitor asks for the rights while none is missing; 0 means 5 s.
	RightsEvery time.Duration
	// OnChange, when set, is called at each change by the goroutine of Run, and while the state is
	// Forbidden also when other rights are missing than before. why is "" when the state is Up or
	// Slow. The monitor does not ask meanwhile, so OnChange must not block.
	OnChange func(from, to State, why string)
}

func (c MonitorConfig) withDefaults() MonitorConfig {
	for d, otherwise := range map[*time.Duration]time.Duration{
		&c.Every: 250 * time.Millisecond, &c.Retry: 100 * time.Millisecond,
		&c.Budget: slowAfter, &c.Patience: 400 * time.Millisecond, &c.RightsEvery: 5 * time.Second,
	} {
		if *d <= 0 {
			*d = otherwise
		}
	}
	return c
}

// minGap is the shortest time between two probes, however many commands fail.
const minGap = 50 * time.Millisecond

// A Monitor watches whether Redis is there. It has connections of its own, so that a busy pool does
// not make Redis look dead.
type Monitor struct {
	cfg         MonitorConfig
	client      redis.UniversalClient
	probeClient redis.UniversalClient // owned by Run; nil until the first probe
	wake        redisx.Signal
	state       atomic.Int32
	why         string // of the last change; owned by Run
	rights      rightsWatch
}

// NewMonitor makes a monitor. Its state is Up until Run has asked. It adds a hook to client, by
// which failing commands wake it.
func NewMonitor(client redis.UniversalClient, cfg MonitorConfig) *Monitor {
	m := &Monitor{cfg: cfg.withDefaults(), client: client, wake: redisx.NewSignal()}
	m.rights.needs, m.rights.every = m.cfg.Rights, m.cfg.RightsEvery
	client.AddHook(wakeHook{m})
	return m
}

// State returns the last known state. It costs one atomic read.
func (m *Monitor) State() State { return State(m.state.Load()) }

// Probe probes Redis once, so that State and MissingRights are known before Run begins. It must not
// be called after that.
func (m *Monitor) Probe(ctx context.Context) { m.updateState(ctx) }

// Run probes Redis until ctx ends, and then returns nil. It is called once.
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

// waitForNextProbe waits until wait is over since asked, or less when a command fails; it returns
// false when ctx has ended.
func (m *Monitor) waitForNextProbe(ctx context.Context, asked time.Time, wait time.Duration) bool {
	timer := time.NewTimer(time.Until(asked.Add(wait)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.wake.C():
		timer.Reset(time.Until(asked.Add(minGap)))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// updateState probes once, and before it gives up the state Up once more.
func (m *Monitor) updateState(ctx context.Context) {
	err := m.probeOnce(ctx, m.cfg.Budget)
	late := false
	if err != nil && ctx.Err() == nil {
		if late = redisx.UnavailableReason(err) == redisx.ReasonNoAnswer; late && m.State() == Up {
			m.setState(Slow, "")
		}
		err = m.probeOnce(ctx, m.cfg.Patience)
	}
	var missing MissingRights
	if err == nil {
		missing = m.findMissingRights(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case err == nil && !missing.IsEmpty():
		m.setState(Forbidden, missing.String())
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

// findMissingRights asks for our rights when it is time to, on the connection of the probe.
func (m *Monitor) findMissingRights(ctx context.Context) MissingRights {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Patience)
	defer cancel()
	state := m.State()
	return m.rights.current(ctx, m.probeClient, state == Down || state == ReadOnly)
}

// probeOnce asks once. When that fails it throws its client away, so that the next probe opens a
// new connection to the server that is the master then.
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
	isChange := from != to || to == Forbidden && why != m.why
	m.why = why
	if isChange && m.cfg.OnChange != nil {
		m.cfg.OnChange(from, to, why)
	}
}

// Metrics registers gateway_redis_state{state}, which is 1 for the current state and 0 for the
// others.
func (m *Monitor) Metrics(reg prometheus.Registerer) error {
	for s := range State(len(stateNames)) {
		err := reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gateway_redis_state", Help: "1 for the state that Redis is in.",
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
