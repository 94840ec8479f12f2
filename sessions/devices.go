package sessions

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// ErrTooManyDevices refuses a connection when DevicesConfig.OldestWins and all seats are taken.
var ErrTooManyDevices = fault.New("TOO_MANY_CONNECTIONS", "You are connected on too many devices.")

// DevicesConfig says on how many devices a user may be connected at once, over all nodes.
type DevicesConfig struct {
	// Limit is how many; 0 means no limit. A device is a session: the tabs of a browser share one.
	Limit int
	// OldestWins refuses a new device when Limit devices are connected. Otherwise the device that
	// connected first gives way: its session ends with REPLACED.
	OldestWins bool
	// Lease is how long the seats of a node that died stay taken; a minute when zero.
	Lease time.Duration
}

//go:embed take_seat.lua
var takeSeatSource string

//go:embed release_seat.lua
var releaseSeatSource string

var (
	takeSeatScript    = redisx.NewScript(takeSeatSource)
	releaseSeatScript = redisx.NewScript(releaseSeatSource)
)

// Devices limits on how many devices each user is connected. A connected session takes one of the
// seats of its user, and its nodes hold a lease on the seat. One script counts the seats and gives
// them out, so there are never more than Limit, however many devices connect at once. A seat is
// free again when the session has no connection left on any node.
//
// While Redis does not answer, no new device gets a seat. A node whose lease lapsed meanwhile takes
// the seat again when Redis is back; if others have taken it, the session ends with REPLACED.
type Devices struct {
	store *Store
	cfg   DevicesConfig
	node  string

	seatsReleased redisx.Signal // there are released seats

	mu             sync.Mutex
	lastGeneration int64            // last generation that was given out; guarded by mu
	held           map[string]*seat // by session id; guarded by mu
	released       []seatRef        // seats to be released in Redis; guarded by mu
}

// A seat is used by at least one connection of this node.
type seat struct {
	userID     string
	sockets    int
	generation int64 // of the connection that came last
}

// A seatRef names a seat in a call to Redis.
type seatRef struct {
	id, userID string
	generation int64
}

// NewDevices returns a Devices for one node. Run renews the leases.
func NewDevices(store *Store, cfg DevicesConfig) *Devices {
	if cfg.Lease <= 0 {
		cfg.Lease = time.Minute
	}
	return &Devices{store: store, cfg: cfg, node: randomID()[:16], seatsReleased: redisx.NewSignal(), held: make(map[string]*seat)}
}

// Take takes a seat for a connection of the session. release gives it back, and may be called
// twice. The error is ErrTooManyDevices when the oldest devices win and all seats are taken; any
// other error means that Redis did not answer. It takes one round trip, and one more when another
// device gives way.
func (d *Devices) Take(ctx context.Context, s Session) (release func(), err error) {
	if d.cfg.Limit <= 0 {
		return func() {}, nil
	}
	d.mu.Lock()
	d.lastGeneration++
	generation := d.lastGeneration
	if d.held[s.ID] == nil {
		d.held[s.ID] = &seat{userID: s.UserID}
	}
	d.held[s.ID].sockets++
	d.held[s.ID].generation = generation
	d.mu.Unlock()
	release = sync.OnceFunc(func() { d.releaseSeat(s.ID) })

	call := d.takeSeatCall(s.ID, s.UserID, generation, !d.cfg.OldestWins)
	redisx.RunScripts(ctx, d.store.rdb, call)
	hasSeat, gaveWay, err := parseSeatReply(call)
	switch {
	case err != nil:
		release()
		return nil, fmt.Errorf("take a seat for a device: %w", err)
	case !hasSeat:
		release()
		return nil, ErrTooManyDevices
	case len(gaveWay) > 0:
		if _, _, err := d.store.destroySessions(ctx, gaveWay, s.UserID, Replaced, "You have connected on another device."); err != nil {
			release() // the sessions that gave way end when their nodes next renew their leases
			return nil, fmt.Errorf("take a seat for a device: %w", err)
		}
	}
	return release, nil
}

// Run renews the leases of the seats in use, and gives back the others, until ctx ends. Then it
// gives back all seats and returns nil.
func (d *Devices) Run(ctx context.Context) error {
	if d.cfg.Limit <= 0 {
		<-ctx.Done()
		return nil
	}
	timer := time.NewTicker(d.cfg.Lease / 3)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			d.mu.Lock()
			for id, s := range d.held {
				d.released = append(d.released, seatRef{id, s.userID, d.lastGeneration})
			}
			d.mu.Unlock()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			d.sendReleases(ctx)
			return nil
		case <-d.seatsReleased.C():
			d.sendReleases(ctx)
		case <-timer.C:
			d.renewLeases(ctx)
		}
	}
}

func (d *Devices) takeSeatCall(id, userID string, generation int64, giveWay bool) *redisx.Call {
	newest := 0
	if giveWay {
		newest = 1
	}
	return &redisx.Call{Script: takeSeatScript, Keys: []string{keys.UserDevices(userID)}, Args: []any{
		id, d.node, generation, d.cfg.Lease.Milliseconds(), d.cfg.Limit, newest,
	}}
}

// parseSeatReply reads the reply of take_seat.lua.
func parseSeatReply(call *redisx.Call) (hasSeat bool, gaveWay []string, err error) {
	reply, err := call.Slice()
	if err != nil || len(reply) == 0 {
		return false, nil, err
	}
	for _, id := range reply[1:] {
		if text, ok := id.(string); ok && isKnownID(text) {
			gaveWay = append(gaveWay, text)
		}
	}
	return reply[0] == int64(1), gaveWay, nil
}

func (d *Devices) releaseSeat(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.held[id]
	if s == nil {
		return
	}
	if s.sockets--; s.sockets > 0 {
		return
	}
	delete(d.held, id)
	d.released = append(d.released, seatRef{id, s.userID, s.generation})
	d.seatsReleased.Notify()
}

// sendReleases gives back the seats that no connection here uses. If Redis does not get the call,
// the lease lapses.
func (d *Devices) sendReleases(ctx context.Context) {
	d.mu.Lock()
	released := d.released
	d.released = nil
	d.mu.Unlock()
	for part := range slices.Chunk(released, pipelineSize) {
		calls := make([]*redisx.Call, len(part))
		for i, ref := range part {
			calls[i] = &redisx.Call{Script: releaseSeatScript, Keys: []string{keys.UserDevices(ref.userID)}, Args: []any{ref.id, d.node, ref.generation}}
		}
		redisx.RunScripts(ctx, d.store.rdb, calls...)
	}
}

// renewLeases renews the leases of all seats in use. It ends a session whose seat another has
// taken.
func (d *Devices) renewLeases(ctx context.Context) {
	d.mu.Lock()
	all := make([]seatRef, 0, len(d.held))
	for id, s := range d.held {
		all = append(all, seatRef{id, s.userID, s.generation})
	}
	d.mu.Unlock()
	for part := range slices.Chunk(all, pipelineSize) {
		calls := make([]*redisx.Call, len(part))
		for i, ref := range part {
			calls[i] = d.takeSeatCall(ref.id, ref.userID, ref.generation, false)
		}
		redisx.RunScripts(ctx, d.store.rdb, calls...)
		for i, ref := range part {
			if hasSeat, _, err := parseSeatReply(calls[i]); err == nil && !hasSeat {
				// If this fails, the next renewal tries again.
				_, _, _ = d.store.destroySessions(ctx, []string{ref.id}, ref.userID, Replaced, "You have connected on another device.")
			}
		}
	}
}
