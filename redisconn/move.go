package redisconn

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// A ChangeKind says how another server came to answer.
type ChangeKind string

// The kinds of changes.
const (
	// Restarted means that the server was started after we last heard of the one before. What it
	// has of that one's data is a question of its persistence.
	Restarted ChangeKind = "restart"
	// FailedOver means that a replica was promoted, and that the former master does not answer any
	// more or will be demoted by the sentinels.
	FailedOver ChangeKind = "failover"
	// Moved means that a server answers whose data are others: the former one may still acknowledge
	// what this one never learns of.
	Moved ChangeKind = "move"
)

// A ServerChange is that another server answers than before. When it is told, writes go to that
// server alone.
type ServerChange struct {
	Kind     ChangeKind
	From, To Lineage
	Paused   time.Duration // how long writes waited
}

// MoveConfig configures a MoveMonitor. The zero value works.
type MoveConfig struct {
	// Every is how often the address is dialled afresh; 0 means once a second.
	Every time.Duration
	// MinGap is the least time between two moves; 0 means 10 s. Where two servers answer at the
	// address in turn, writes are refused until it is over.
	MinGap time.Duration
	// OnChange, when set, is called after each change, by the goroutine of Run. It must not block.
	OnChange func(ServerChange)
	// OnUnsettled, when set, is called by the goroutine of Run when writes are refused because
	// another server answered again within MinGap, and with false when they go on. It must not block.
	OnUnsettled func(isUnsettled bool)
}

// A MoveMonitor keeps a client from writing to two servers. It dials the address of Redis afresh
// each second, and looks at the lineage of the server behind every connection that the client
// makes, those of subscriptions too. When another server answers, it
//
//   - closes all connections of the client, and holds new ones back: commands wait, or fail with an
//     error for which IsUnavailable is true;
//   - dials once more, and asks the former server whether it is a master still;
//   - lets the client connect again, and reports what has happened.
//
// Put it into Config.Moves, and run it. On a Cluster it does nothing: there, servers tell each
// other and the client who has which keys.
type MoveMonitor struct {
	cfg  MoveConfig
	wake redisx.Signal

	// Set by attach, before anything is dialled.
	registry   *connRegistry
	newClient  func() *redis.Client
	isSentinel bool

	// owned by Run
	anchor   *redis.Client // the last fresh connection, by which the former server is asked
	lastMove time.Time

	mu          sync.Mutex
	current     Lineage   // of the server that all connections are made to; guarded by mu
	lastHeard   time.Time // when it answered last; guarded by mu
	pausedSince time.Time // zero while writes go on; guarded by mu
	isUnsettled bool      // guarded by mu

	changes *prometheus.CounterVec
}

// NewMoveMonitor makes a monitor for one client.
func NewMoveMonitor(cfg MoveConfig) *MoveMonitor {
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.MinGap <= 0 {
		cfg.MinGap = 10 * time.Second
	}
	return &MoveMonitor{cfg: cfg, wake: redisx.NewSignal(), registry: newConnRegistry(), changes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gateway_redis_server_changes_total", Help: "How often another server answered at the address of Redis.",
	}, []string{"kind"})}
}

// attach makes the client's connections known to the monitor. The client must not have dialled yet.
func (m *MoveMonitor) attach(client *redis.Client, isSentinel bool) {
	m.isSentinel = isSentinel
	o := client.Options()
	dial, freshOptions := o.Dialer, *o
	freshOptions.PoolSize, freshOptions.PipelinePoolSize, freshOptions.MinIdleConns, freshOptions.MaxRetries = 1, -1, 0, -1
	m.newClient = func() *redis.Client {
		fresh := freshOptions
		return redis.NewClient(&fresh)
	}
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return m.registry.dialWhenOpen(ctx, network, addr, dial)
	}
	begin := o.OnConnect
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if begin != nil {
			if err := begin(ctx, conn); err != nil {
				return err
			}
		}
		return m.checkConnection(ctx, conn)
	}
}

// checkConnection is called on each new connection of the client, before it is used.
func (m *MoveMonitor) checkConnection(ctx context.Context, conn *redis.Conn) error {
	generation := m.registry.currentGeneration()
	l, err := readLineage(ctx, conn)
	if err != nil || l.IsZero() {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.current.IsZero() || m.current.IsServer(l):
		m.current, m.lastHeard = l, time.Now()
		return nil
	case m.registry.closeAll(generation): // else the connection was closed meanwhile, with all others
		m.pausedSince = time.Now()
		m.wake.Notify()
	}
	return errClosedByUs
}

// Run watches until ctx ends, and then returns nil. It is called once.
func (m *MoveMonitor) Run(ctx context.Context) error {
	defer m.replaceAnchor(nil)
	if m.newClient == nil { // a Cluster
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		m.dialAfresh(ctx)
		m.waitForNextDial(ctx)
	}
	return nil
}

// pausedRetry is how soon a dial that failed is tried again while writes wait for it.
const pausedRetry = 50 * time.Millisecond

// waitForNextDial waits until the next dial is due, or ctx ends.
func (m *MoveMonitor) waitForNextDial(ctx context.Context) {
	wait := m.cfg.Every*9/10 + mathrand.N(m.cfg.Every/5) //nolint:gosec // spreads the load, hides nothing
	m.mu.Lock()
	if !m.pausedSince.IsZero() && !m.isUnsettled {
		wait = pausedRetry
	}
	m.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.wake.C():
	case <-ctx.Done():
	}
}

// dialAfresh asks who answers at the address now, and acts on it.
func (m *MoveMonitor) dialAfresh(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	fresh := m.newClient()
	l, err := readLineage(limited, fresh)
	if err != nil || l.IsZero() {
		_ = fresh.Close() // nothing was sent
		return
	}
	if !m.follow(limited, fresh, l) {
		_ = fresh.Close() // nothing more is wanted of it
		return
	}
	m.replaceAnchor(fresh)
}

// follow makes the server of a fresh connection the current one, and reports whether it did.
func (m *MoveMonitor) follow(ctx context.Context, fresh *redis.Client, l Lineage) bool {
	m.mu.Lock()
	from, isPaused := m.current, !m.pausedSince.IsZero()
	m.mu.Unlock()
	isSame := from.IsZero() || from.IsServer(l) && (l.Mark == "" || m.isSeenByAnchor(ctx, fresh))
	if isSame && !isPaused {
		m.setCurrent(l)
		return true
	}
	if !isPaused {
		m.pause()
	}
	kind := Moved // also where two servers answer in turn, of which this is the former one
	if !isSame {
		kind = m.classifyChange(ctx, from, l)
	}
	if kind == Moved {
		if !m.lastMove.IsZero() && time.Since(m.lastMove) < m.cfg.MinGap {
			m.setUnsettled(true)
			return false
		}
		m.lastMove = time.Now()
	}
	change := ServerChange{Kind: kind, From: from, To: l, Paused: m.resume(l)}
	m.setUnsettled(false)
	if !isSame {
		m.changes.WithLabelValues(string(kind)).Inc()
		if m.cfg.OnChange != nil {
			m.cfg.OnChange(change)
		}
	}
	return true
}

// classifyChange tells how the server l took the place of from.
func (m *MoveMonitor) classifyChange(ctx context.Context, from, l Lineage) ChangeKind {
	m.mu.Lock()
	silent := time.Since(m.lastHeard)
	m.mu.Unlock()
	formerIsMaster := m.anchorIsMaster(ctx, from)
	switch {
	case !formerIsMaster && l.RunID != "" && l.Uptime <= silent+time.Second: // it counts whole seconds
		return Restarted
	case from.IsRelated(l) && (!formerIsMaster || m.isSentinel):
		return FailedOver
	}
	return Moved
}

// formerAnswers is how long the former server has to say that it is a master still.
const formerAnswers = 200 * time.Millisecond

// anchorIsMaster tells whether the former server answers, as a master, on a connection that was
// made when it was the current one.
func (m *MoveMonitor) anchorIsMaster(ctx context.Context, former Lineage) bool {
	if m.anchor == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, formerAnswers)
	defer cancel()
	l, err := readLineage(ctx, m.anchor)
	return err == nil && l.IsServer(former) && !l.IsReplica
}

// isSeenByAnchor tells whether what is written over the fresh connection can be read over the last
// one. It is for servers that do not say who they are: a copy of the data has the same mark.
func (m *MoveMonitor) isSeenByAnchor(ctx context.Context, fresh *redis.Client) bool {
	if m.anchor == nil {
		return true
	}
	key, value := keys.Temp("redisconn", "seen:"+rand.Text()), rand.Text()
	if fresh.Set(ctx, key, value, time.Minute).Err() != nil {
		return true // it cannot be seen
	}
	ctx, cancel := context.WithTimeout(ctx, formerAnswers)
	defer cancel()
	seen, err := m.anchor.Get(ctx, key).Result()
	_ = fresh.Del(ctx, key).Err() // else it expires
	return err != nil && !errors.Is(err, redis.Nil) || seen == value
}

func (m *MoveMonitor) setCurrent(l Lineage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current, m.lastHeard = l, time.Now()
}

// pause closes all connections and holds new ones back.
func (m *MoveMonitor) pause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registry.closeAll(m.registry.currentGeneration())
	m.pausedSince = time.Now()
}

// resume lets the client connect to the server l, and returns how long writes waited.
func (m *MoveMonitor) resume(l Lineage) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	paused := time.Since(m.pausedSince)
	m.current, m.lastHeard, m.pausedSince = l, time.Now(), time.Time{}
	m.registry.reopen()
	return paused
}

// setUnsettled refuses writes, or notes that they go on again.
func (m *MoveMonitor) setUnsettled(isUnsettled bool) {
	m.mu.Lock()
	isChange := m.isUnsettled != isUnsettled
	m.isUnsettled = isUnsettled
	m.mu.Unlock()
	if isUnsettled {
		m.registry.refuse(redisx.ErrServersAlternate)
	}
	if isChange && m.cfg.OnUnsettled != nil {
		m.cfg.OnUnsettled(isUnsettled)
	}
}

// replaceAnchor keeps the fresh connection, and closes the one before.
func (m *MoveMonitor) replaceAnchor(fresh *redis.Client) {
	if m.anchor != nil {
		_ = m.anchor.Close() // nothing more is wanted of it
	}
	m.anchor = fresh
}

// Server names the server that the client writes to, by its run id: another one after each restart,
// failover and move. "" stands for unknown: before the first connection, where INFO is not allowed,
// and on a Cluster.
func (m *MoveMonitor) Server() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current.RunID
}

// PauseReason returns why writes wait or are refused now, in a few words; "" while they go on.
func (m *MoveMonitor) PauseReason() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.isUnsettled:
		return redisx.ErrServersAlternate.Error()
	case !m.pausedSince.IsZero():
		return redisx.ErrServerMoved.Error()
	}
	return ""
}

// Metrics registers gateway_redis_server_changes_total{kind}, where kind is restart, failover or
// move, and gateway_redis_moving, which is 1 while writes wait or are refused because another
// server answers.
func (m *MoveMonitor) Metrics(reg prometheus.Registerer) error {
	for _, kind := range []ChangeKind{Restarted, FailedOver, Moved} {
		m.changes.WithLabelValues(string(kind)) // it is there before the first change
	}
	if err := reg.Register(m.changes); err != nil {
		return err
	}
	return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_redis_moving", Help: "1 while writes wait or are refused because another server answers at the address of Redis.",
	}, func() float64 {
		if m.PauseReason() != "" {
			return 1
		}
		return 0
	}))
}
