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

// A scenario is one row of the table below.
type scenario struct {
	name, about string
	talk        func(*run) talk                           // what is said; nil with a course of its own
	course      func(context.Context, *run, *meter) error // nil: converse
	byDelivery  bool                                      // its latency is that of deliveries
}

var scenarios = []scenario{
	{name: "connect", about: "handshake, CONNECT, goodbye, and again", course: connects},
	{name: "ping", about: "session:ping and its answer", talk: newPing},
	{name: "fanout", about: "a few speakers, everyone else in their one room listens", talk: newFanout, byDelivery: true},
	{name: "chat", about: "rooms in which everyone speaks", talk: newChat, byDelivery: true},
	{name: "combat", about: "everyone fights a training dummy", talk: newCombat},
	{name: "trade", about: "pairs give each other a coin", talk: newTrade},
	{name: "storm", about: "all drop at once and return", talk: newPing, course: storm},
	{name: "mixed", about: "chat, fights and pings", talk: newMixed},
}

// Scenarios are the names that Run takes.
func Scenarios() []string {
	names := make([]string, len(scenarios))
	for i, s := range scenarios {
		names[i] = s.name
	}
	return names
}

// A run is one load test. Fields without a note are static after setup.
type run struct {
	cfg      Config
	scenario scenario
	endpoint endpoint
	dials    []string // ip:port of Config.Target and Config.Nodes
	greeting greeting
	tag      string // in all names of this run, so that two runs do not meet
	born     time.Time
	redis    redis.UniversalClient // nil without Config.Redis
	clients  []*client
	rooms    []room
	speakers []*client // in the order of the open loop
	tallies  []*tally
	talk     talk // nil when nobody talks

	readers sync.WaitGroup
	talking atomic.Bool
	returns absence        // of Config.Reconnect
	absent  sync.WaitGroup // those who are on their way back
	mu      sync.Mutex
	over    bool  // nobody may begin to come back; guarded by mu
	begin   int64 // when the traffic began, on the run's clock
	until   int64 // when it ends
}

// A room is a chat channel with its members.
type room struct {
	name     string
	members  []*client
	speakers []*client
}

// A talk is what the clients of a scenario say, and how they judge what they are told. All methods but prepare and
// verdict are called on the hot path; answered, refused and told with the client's tally held.
type talk interface {
	// prepare runs when all are connected, before the traffic.
	prepare(ctx context.Context) error
	// say appends the next event of c, `["name",{…}]`, for the acknowledgement id. things is how many
	// things finish it (its answer counts for one), note comes back with the answer. nil: nothing to say right now.
	say(c *client, id uint32, dst []byte) (event []byte, things int, note uint32)
	// answered judges an answer with ok: true; false means that it is wrong.
	answered(c *client, note uint32, args []byte) bool
	// refused hears of an answer with ok: false.
	refused(c *client, note uint32, code string)
	// dropped hears that the answer to an event never comes: its connection ended.
	dropped(c *client, note uint32)
	// rejoin puts c where it was, on a new connection, and excuses what it could not be told.
	rejoin(ctx context.Context, c *client) error
	// told hears of all events but chat messages and session: `["name",{…}]`.
	told(c *client, body []byte)
	// verdict runs after all have left, and adds what it finds.
	verdict(ctx context.Context, into *counts) error
}

// now is the run's clock, in nanoseconds.
func (r *run) now() int64 { return int64(time.Since(r.born)) }

// Run plays a scenario against cfg.Target and says what it saw. It ends by itself, whatever the server does. progress,
// when not nil, is drawn a progress bar on.
//
// The error says why there is no measurement: a wrong configuration, sessions that could not be made, clients
// that could not connect. What went wrong in the traffic is no error; see Result.Faults.
func Run(ctx context.Context, name string, cfg Config, progress io.Writer) (Result, error) {
	r, err := newRun(name, cfg)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.budget())
	defer cancel()
	m := newMeter(r, progress)
	defer m.close()
	if err := r.openSessions(ctx); err != nil {
		return Result{}, fmt.Errorf("sessions: %w", err)
	}
	defer r.closeSessions()
	defer r.leave()
	course := r.scenario.course
	if course == nil {
		course = converse
	}
	if err := course(ctx, r, m); err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	r.leave()
	var end counts
	r.truth(&end)
	if r.talk != nil {
		if err := r.talk.verdict(ctx, &end); err != nil {
			return Result{}, fmt.Errorf("%s: verdict: %w", name, err)
		}
	}
	return m.result(end), nil
}

func newRun(name string, cfg Config) (*run, error) {
	r := &run{cfg: cfg.withDefaults(), born: time.Now(), returns: absence{turns: make(chan struct{}, 4*dials)}, tag: strconv.FormatUint(uint64(rand.Uint32()), 36)}
	for _, s := range scenarios {
		if s.name == name {
			r.scenario = s
		}
	}
	if r.scenario.name == "" {
		return nil, fmt.Errorf("%w: there is no scenario %q; there are %s", ErrConfig, name, strings.Join(Scenarios(), " "))
	}
	if s := r.scenario; r.cfg.Reconnect && (s.course != nil || s.name == "trade") {
		return nil, fmt.Errorf("%w: %s does not reconnect", ErrConfig, s.name)
	}
	if err := r.cfg.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	var err error
	if r.endpoint, err = parseTarget(r.cfg.Target); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := r.resolve(); err != nil {
		return nil, err
	}
	r.greeting = newGreeting(r.endpoint, r.cfg.Header)
	if r.cfg.Redis != "" {
		slow := 5 * time.Second // it shares a core with us
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
			run: r, tally: r.tallies[i%len(r.tallies)], index: uint32(i), room: -1, place: -1,
			user: "lt-" + r.tag + "-" + strconv.Itoa(i),
		})
	}
	r.returns.ctx, r.returns.cancel = context.WithCancel(context.Background())
	if r.scenario.talk != nil {
		r.talk = r.scenario.talk(r)
	}
	for i, c := range r.speakers {
		c.turn0 = i
		c.reserve(r.cfg.Inflight)
	}
	return r, nil
}

// resolve looks the host up once, so that thousands of connects do not.
func (r *run) resolve() error {
	addr, err := net.ResolveTCPAddr("tcp", r.endpoint.address)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	r.endpoint.dial = addr.String()
	r.dials = append(r.dials, r.endpoint.dial)
	for _, node := range r.cfg.Nodes {
		e, err := parseTarget(node)
		if err != nil || e.secure != r.endpoint.secure {
			return fmt.Errorf("%w: node %q: http://host:port is wanted, as for the target", ErrConfig, node)
		}
		addr, err := net.ResolveTCPAddr("tcp", e.address)
		if err != nil {
			return fmt.Errorf("node: %w", err)
		}
		r.dials = append(r.dials, addr.String())
	}
	return nil
}

// dials is how many connections are being opened at once.
const dials = 128

// connectAll opens all connections, spread over the ramp, and leaves each with its reader.
func (r *run) connectAll(ctx context.Context) error {
	g, dialing := errgroup.WithContext(ctx)
	g.SetLimit(dials)
	began := time.Now()
	for i, c := range r.clients {
		due := r.cfg.Ramp * time.Duration(i) / time.Duration(len(r.clients))
		if sleep(dialing, time.Until(began.Add(due))) != nil {
			break // the group says why
		}
		g.Go(func() error {
			start := r.now()
			if err := c.connect(dialing); err != nil {
				return fmt.Errorf("client %d of %d: connect: %w", c.index+1, len(r.clients), err)
			}
			r.connected(c, start)
			r.readers.Go(c.listen)
			return nil
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

func (r *run) connected(c *client, start int64) {
	c.tally.mu.Lock()
	record(c.tally.connects, r.now()-start)
	c.tally.mu.Unlock()
}

// each runs f for all of them, some at a time, and gives the first error.
func each(ctx context.Context, clients []*client, f func(context.Context, *client) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(dials)
	for _, c := range clients {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(ctx, c) })
	}
	return g.Wait()
}

// leave closes all connections and waits for their readers.
func (r *run) leave() {
	r.talking.Store(false)
	r.endReturns()
	for _, c := range r.clients {
		c.leave()
	}
	r.readers.Wait()
}

// sleep waits, and ends early with the context.
func sleep(ctx context.Context, d time.Duration) error {
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
