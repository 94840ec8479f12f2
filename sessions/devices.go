package sessions

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// ErrTooManyDevices refuses a connection where the oldest devices win.
var ErrTooManyDevices = fault.New("TOO_MANY_CONNECTIONS", "You are connected on too many devices.")

// DevicesConfig says on how many devices a user may be connected at once, on all nodes.
type DevicesConfig struct {
	// Limit is how many; 0 is many. A device is a session: the tabs of a browser share one.
	Limit int
	// OldestWins refuses a new device when there are Limit. Else the one that came first
	// gives way: its session ends with REPLACED.
	OldestWins bool
	// Lease is for how long a node that died still holds its devices' seats; a minute when zero.
	Lease time.Duration
}

//go:embed take_seat.lua
var seatSource string

//go:embed release_seat.lua
var leaveSource string

var (
	seatScript  = newScript(seatSource)
	leaveScript = newScript(leaveSource)
)

// Devices bounds on how many devices each user is connected. A connected session holds a
// seat, which its nodes lease; seats are counted and given in one script, so there are never more than
// Limit, however many connect at once. A seat is free again when the last connection of its session
// is gone from every node. While Redis does not answer nobody new gets one, and seats whose lease lapses meanwhile are
// taken again when it is back, or, where others took them, end their session with REPLACED.
type Devices struct {
	store *Store
	cfg   DevicesConfig
	node  string

	wake chan struct{} // capacity 1

	mu      sync.Mutex
	last    int64            // generation; guarded by mu
	held    map[string]*seat // by session id, guarded by mu
	leaving []left           // seats to be given back, guarded by mu
}

// A seat is held here by one connection or more.
type seat struct {
	userID     string
	sockets    int
	generation int64 // of the last that sat down
}

// left is a seat without connections.
type left struct {
	id, userID string
	generation int64
}

// NewDevices makes one. Run keeps what it holds.
func NewDevices(store *Store, cfg DevicesConfig) *Devices {
	if cfg.Lease <= 0 {
		cfg.Lease = time.Minute
	}
	return &Devices{store: store, cfg: cfg, node: newID()[:16], wake: make(chan struct{}, 1), held: make(map[string]*seat)}
}

// Take gives a connection of the session its seat; release gives it back, and may be called
// twice. ErrTooManyDevices where the oldest win and all seats are taken; any other error means that Redis did
// not answer. One round trip, one more where another device gives way.
func (d *Devices) Take(ctx context.Context, s Session) (release func(), err error) {
	if d.cfg.Limit <= 0 {
		return func() {}, nil
	}
	d.mu.Lock()
	d.last++
	generation := d.last
	if d.held[s.ID] == nil {
		d.held[s.ID] = &seat{userID: s.UserID}
	}
	d.held[s.ID].sockets++
	d.held[s.ID].generation = generation
	d.mu.Unlock()
	release = sync.OnceFunc(func() { d.release(s.ID) })

	calls := []call{d.call(s.ID, s.UserID, generation, !d.cfg.OldestWins)}
	run(ctx, d.store.rdb, calls, nil)
	sits, gaveWay, err := seated(calls[0])
	switch {
	case err != nil:
		release()
		return nil, fmt.Errorf("devices: %w", err)
	case !sits:
		release()
		return nil, ErrTooManyDevices
	case len(gaveWay) > 0:
		if _, err := d.store.destroy(ctx, gaveWay, s.UserID, Replaced, "You have connected on another device.", countDestroyed); err != nil {
			release() // those who gave way are ended when their node next asks for their seat
			return nil, fmt.Errorf("devices: %w", err)
		}
	}
	return release, nil
}

// Run keeps the seats that are held here and gives back those that are not, until ctx ends;
// then it gives all back.
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
				d.leaving = append(d.leaving, left{id, s.userID, d.last})
			}
			d.mu.Unlock()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushFor)
			defer cancel()
			d.giveBack(ctx)
			return nil
		case <-d.wake:
			d.giveBack(ctx)
		case <-timer.C:
			d.keep(ctx)
		}
	}
}

func (d *Devices) call(id, userID string, generation int64, giveWay bool) call {
	newest := 0
	if giveWay {
		newest = 1
	}
	return call{script: seatScript, key: keys.UserDevices(userID), args: []any{
		id, d.node, generation, d.cfg.Lease.Milliseconds(), d.cfg.Limit, newest,
	}}
}

// seated reads the answer of seat.lua.
func seated(c call) (sits bool, gaveWay []string, err error) {
	reply, err := c.cmd.Slice()
	if err != nil || len(reply) == 0 {
		return false, nil, err
	}
	for _, id := range reply[1:] {
		if text, ok := id.(string); ok && known(text) {
			gaveWay = append(gaveWay, text)
		}
	}
	return reply[0] == int64(1), gaveWay, nil
}

func (d *Devices) release(id string) {
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
	d.leaving = append(d.leaving, left{id, s.userID, s.generation})
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// giveBack frees seats that nobody here holds. What Redis does not hear of lapses.
func (d *Devices) giveBack(ctx context.Context) {
	d.mu.Lock()
	gone := d.leaving
	d.leaving = nil
	d.mu.Unlock()
	for part := range slices.Chunk(gone, chunk) {
		calls := make([]call, len(part))
		for i, l := range part {
			calls[i] = call{script: leaveScript, key: keys.UserDevices(l.userID), args: []any{l.id, d.node, l.generation}}
		}
		run(ctx, d.store.rdb, calls, nil)
	}
}

// keep makes leases last. A session whose seat another took ends.
func (d *Devices) keep(ctx context.Context) {
	d.mu.Lock()
	all := make([]left, 0, len(d.held))
	for id, s := range d.held {
		all = append(all, left{id, s.userID, s.generation})
	}
	d.mu.Unlock()
	for part := range slices.Chunk(all, chunk) {
		calls := make([]call, len(part))
		for i, l := range part {
			calls[i] = d.call(l.id, l.userID, l.generation, false)
		}
		run(ctx, d.store.rdb, calls, nil)
		for i, l := range part {
			if sits, _, err := seated(calls[i]); err == nil && !sits {
				_, _ = d.store.destroy(ctx, []string{l.id}, l.userID, Replaced, "You have connected on another device.", countDestroyed) // the next keep tries again
			}
		}
	}
}
