package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/aeturnis/realtime/redisconn"
)

// A scenario is one row of the table scenarios.
type scenario struct {
	name, about string
	newWorkload func(*run) workload                       // the events that clients send; nil for connect
	flow        func(context.Context, *run, *meter) error // nil selects runTraffic
	byDelivery  bool                                      // the result's latency is that of deliveries, not of answers
}

var scenarios = []scenario{
	{name: "connect", about: "handshake, CONNECT, goodbye, and again", flow: runConnects},
	{name: "ping", about: "session:ping and its answer", newWorkload: newPing},
	{name: "fanout", about: "a few speakers, everyone else in their one room listens", newWorkload: newFanout, byDelivery: true},
	{name: "chat", about: "rooms in which everyone speaks", newWorkload: newChat, byDelivery: true},
	{name: "combat", about: "everyone fights a training dummy", newWorkload: newCombat},
	{name: "trade", about: "pairs give each other a coin", newWorkload: newTrade},
	{name: "storm", about: "all drop at once and return", newWorkload: newPing, flow: runStorms},
	{name: "recovery", about: "rooms in which everyone speaks, while somebody disturbs servers, links or Redis", newWorkload: newRecovery, byDelivery: true},
	{name: "mixed", about: "chat, fights and pings", newWorkload: newMixed},
}

// Scenarios returns the names that Run accepts.
func Scenarios() []string {
	names := make([]string, len(scenarios))
	for i, s := range scenarios {
		names[i] = s.name
	}
	return names
}

// A run is one load test. A field without a note does not change after the setup.
type run struct {
	cfg       Config
	scenario  scenario
	endpoint  endpoint
	dialAddrs []string // ip:port of Config.Target and Config.Nodes
	// returnAddrs are ip:port of Config.ReturnTo.
	returnAddrs []string
	handshake   handshake
	tag         string // part of all names of this run, so that two runs do not share any
	createdAt   time.Time
	redis       redis.UniversalClient // nil without Config.Redis
	clients     []*client
	rooms       []room
	speakers    []*client // in the order in which they send in an open loop
	tallies     []*tally
	workload    workload // nil when the scenario sends no events

	readers       sync.WaitGroup
	isSending     atomic.Bool
	returnState   returnState    // for Config.Reconnect
	returning     sync.WaitGroup // counts the clients that are reconnecting
	mu            sync.Mutex
	returnsClosed bool  // no client may start to reconnect; guarded by mu
	trafficStart  int64 // when the traffic starts, on the run's clock
	trafficEnd    int64 // when the traffic ends
}

// A room is a chat channel, its members, and those members that send.
type room struct {
	name     string
	members  []*client
	speakers []*client
	order    *roomOrder // only in recovery
}

// A workload decides what the clients of a scenario send, and checks what they receive. All methods
// except prepareClients, rejoinRooms and checkFinalState are on the hot path. checkAnswer,
// recordRefusal and checkPushedEvent are called while the client's tally is locked.
type workload interface {
	// prepareClients is called when all clients are connected, before the traffic starts.
	prepareClients(ctx context.Context) error
	// appendEvent appends the next event of c, `["name",{…}]`, for the acknowledgement id. steps is
	// the number of steps that finish the event; its answer is one of them. note is passed back
	// with the answer. A nil event means that c has nothing to send right now.
	appendEvent(c *client, id uint32, dst []byte) (event []byte, steps int, note uint32)
	// checkAnswer checks an answer with ok: true, and reports whether it is right.
	checkAnswer(c *client, note uint32, args []byte) bool
	// recordRefusal is called for an answer with ok: false.
	recordRefusal(c *client, note uint32, code string)
	// recordDropped is called when an event can no longer be answered, because its connection
	// ended.
	recordDropped(c *client, note uint32)
	// rejoinRooms joins the rooms of c again on a new connection, and excuses what c could not
	// receive meanwhile.
	rejoinRooms(ctx context.Context, c *client) error
	// checkPushedEvent is called for every event from the server, `["name",{…}]`, except
	// chat:message, session, error and gateway:closing.
	checkPushedEvent(c *client, body []byte)
	// checkFinalState is called after all clients have disconnected, and adds the faults it finds.
	checkFinalState(ctx context.Context, into *counts) error
}

// now returns the time on the run's clock, in nanoseconds.
func (r *run) now() int64 { return int64(time.Since(r.createdAt)) }

// Run plays a scenario against cfg.Target and returns what it counted and measured. It always ends,
// whatever the server does. If progress is not nil, Run draws a progress bar on it.
//
// The error says why there is no measurement: an invalid configuration, sessions that could not be
// created, or clients that could not connect. Faults in the traffic are not an error; see
// Result.Faults.
func Run(ctx context.Context, name string, cfg Config, progress io.Writer) (Result, error) {
	r, err := newRun(name, cfg)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.maxDuration())
	defer cancel()
	m := newMeter(r, progress)
	defer m.closeProgress()
	if err := r.openSessions(ctx); err != nil {
		return Result{}, fmt.Errorf("sessions: %w", err)
	}
	defer r.closeSessions()
	defer r.disconnectAll()
	course := r.scenario.flow
	if course == nil {
		course = runTraffic
	}
	if err := course(ctx, r, m); err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	r.disconnectAll()
	var end counts
	r.countLosses(&end)
	if r.workload != nil {
		if err := r.workload.checkFinalState(ctx, &end); err != nil {
			return Result{}, fmt.Errorf("%s: verdict: %w", name, err)
		}
	}
	return m.buildResult(end), nil
}

func newRun(name string, cfg Config) (*run, error) {
	r := &run{cfg: cfg.withDefaults(), createdAt: time.Now(), returnState: returnState{dialSlots: make(chan struct{}, 4*maxDials)}, tag: strconv.FormatUint(uint64(rand.Uint32()), 36)}
	for _, s := range scenarios {
		if s.name == name {
			r.scenario = s
		}
	}
	if r.scenario.name == "" {
		return nil, fmt.Errorf("%w: there is no scenario %q; there are %s", ErrConfig, name, strings.Join(Scenarios(), " "))
	}
	if s := r.scenario; r.cfg.Reconnect && (s.flow != nil || s.name == "trade") {
		return nil, fmt.Errorf("%w: %s does not reconnect", ErrConfig, s.name)
	}
	if len(r.cfg.ReturnTo) > 0 && !r.cfg.Reconnect {
		return nil, fmt.Errorf("%w: nobody returns to other nodes without reconnecting", ErrConfig)
	}
	if err := r.cfg.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	var err error
	if r.endpoint, err = parseTarget(r.cfg.Target); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := r.resolveHosts(); err != nil {
		return nil, err
	}
	r.handshake = newHandshake(r.endpoint, r.cfg.Header)
	if r.cfg.Redis != "" {
		slow := 5 * time.Second // Redis may share a core with this process
		r.redis, err = redisconn.New(r.cfg.Redis, redisconn.Config{Name: "loadtest", DialTimeout: slow, ReadTimeout: slow, WriteTimeout: slow, PoolTimeout: slow})
		if err != nil {
			return nil, err
		}
	}
	for range max(1, min(runtime.GOMAXPROCS(0), 8)) {
		r.tallies = append(r.tallies, newTally())
	}
	for i := range r.cfg.Clients {
		r.clients = append(r.clients, &client{
			run: r, tally: r.tallies[i%len(r.tallies)], index: uint32(i), room: -1, speakerIndex: -1,
			user: "lt-" + r.tag + "-" + strconv.Itoa(i),
		})
	}
	r.returnState.ctx, r.returnState.cancel = context.WithCancel(context.Background())
	if r.scenario.newWorkload != nil {
		r.workload = r.scenario.newWorkload(r)
	}
	for i, c := range r.speakers {
		c.orderIndex = i
		c.reserveSlots(r.cfg.Inflight)
	}
	return r, nil
}

// resolveHosts looks up each host once, so that thousands of connects do not repeat it.
func (r *run) resolveHosts() error {
	addr, err := net.ResolveTCPAddr("tcp", r.endpoint.address)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	r.endpoint.dialAddr = addr.String()
	r.dialAddrs = append(r.dialAddrs, r.endpoint.dialAddr)
	nodes, err := r.resolveNodes(r.cfg.Nodes)
	if err != nil {
		return err
	}
	r.dialAddrs = append(r.dialAddrs, nodes...)
	r.returnAddrs, err = r.resolveNodes(r.cfg.ReturnTo)
	return err
}

// resolveNodes returns ip:port of further servers.
func (r *run) resolveNodes(nodes []string) (addrs []string, err error) {
	for _, node := range nodes {
		e, err := parseTarget(node)
		if err != nil || e.isTLS != r.endpoint.isTLS {
			return nil, fmt.Errorf("%w: node %q: http://host:port is wanted, as for the target", ErrConfig, node)
		}
		addr, err := net.ResolveTCPAddr("tcp", e.address)
		if err != nil {
			return nil, fmt.Errorf("node: %w", err)
		}
		addrs = append(addrs, addr.String())
	}
	return addrs, nil
}

// maxDials is the largest number of connections that are opened at once.
const maxDials = 128

// connectAllClients opens all connections, spread over the ramp, and starts a reader for each.
func (r *run) connectAllClients(ctx context.Context) error {
	g, dialing := errgroup.WithContext(ctx)
	g.SetLimit(maxDials)
	began := time.Now()
	for i, c := range r.clients {
		due := r.cfg.Ramp * time.Duration(i) / time.Duration(len(r.clients))
		if sleepContext(dialing, time.Until(began.Add(due))) != nil {
			break // g.Wait returns the reason
		}
		g.Go(func() error {
			start := r.now()
			if err := c.connectAndJoin(dialing); err != nil {
				return fmt.Errorf("client %d of %d: connect: %w", c.index+1, len(r.clients), explainRefusal(err))
			}
			r.recordConnect(c, start)
			r.readers.Go(c.readUntilClosed)
			return nil
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// explainRefusal adds what to do to a refusal by the gateway's limit of handshakes from one
// address.
func explainRefusal(err error) error {
	var no refusal
	if errors.As(err, &no) && no == "HTTP 429" {
		return fmt.Errorf("%w: all clients have one address; start the server with --limit connect=off", err)
	}
	return err
}

func (r *run) recordConnect(c *client, start int64) {
	c.tally.mu.Lock()
	recordLatency(c.tally.connects, r.now()-start)
	c.tally.mu.Unlock()
}

// forEachClient runs f for all clients, at most maxDials at once, and returns the first error.
func forEachClient(ctx context.Context, clients []*client, f func(context.Context, *client) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxDials)
	for _, c := range clients {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(ctx, c) })
	}
	return g.Wait()
}

// disconnectAll closes all connections and waits until their readers have ended.
func (r *run) disconnectAll() {
	r.isSending.Store(false)
	r.stopReturns()
	for _, c := range r.clients {
		c.disconnect()
	}
	r.readers.Wait()
}

// sleepContext waits for d, or until ctx ends, and then returns the error of ctx.
func sleepContext(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
