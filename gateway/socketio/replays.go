package socketio

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/castlog"
)

// replays keep in memory what was cast to the rooms to which clients come back, so that many who
// come back to a room read its log once. A room is kept from the first return to it until nobody
// has come back to it for a while: its log is read, and what is cast meanwhile is kept too.
type replays struct {
	namespace *clusterNamespace
	count     atomic.Int32  // of rooms
	turns     chan struct{} // of those who come back at once

	mu       sync.Mutex
	rooms    map[socket.Room]*replay // guarded by mu
	bytes    int                     // of all; guarded by mu
	unwanted []socket.Room           // whose subscriptions end; guarded by mu
}

// Bounds of replays.
const (
	maxReplays        = 200      // clients that come back at once
	maxReplayBytes    = 32 << 20 // of all rooms
	maxReplayMessages = 1000     // for one client
	keepReplay        = 15 * time.Second
)

// beginTurn waits until few enough come back at once, unless c has its turn already. It returns why
// the client cannot go on, or "".
func (r *replays) beginTurn(ctx context.Context, c *connecting) (why string) {
	if c.hasTurn {
		return ""
	}
	select {
	case r.turns <- struct{}{}:
		c.hasTurn = true
		return ""
	case <-ctx.Done():
		return refusedBusy
	}
}

// endTurn ends beginTurn.
func (r *replays) endTurn(c *connecting) {
	if c.hasTurn {
		c.hasTurn = false
		<-r.turns
	}
}

// errReplayStale says that something may be missing in a replay.
var errReplayStale = errors.New("socketio: what was cast meanwhile may be missing")

// A replay is what was cast to a room.
type replay struct {
	room   socket.Room
	loaded chan struct{} // closed when the log was read, or could not be

	// guarded by replays.mu
	users    int
	lastUsed time.Time
	dropped  int64         // the position of the newest cast that may be missing
	entries  []replayEntry // in the order of their positions
	bytes    int
	err      error
}

// A replayEntry is one cast, framed.
type replayEntry struct {
	number int64
	except []socket.Room
	frames packetFrames
	size   int
}

func newReplays(n *clusterNamespace) *replays {
	return &replays{namespace: n, rooms: map[socket.Room]*replay{}, turns: make(chan struct{}, maxReplays)}
}

// isKept tells whether casts to any of the rooms are kept.
func (r *replays) isKept(rooms []socket.Room) bool {
	if r.count.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, room := range rooms {
		if r.rooms[room] != nil {
			return true
		}
	}
	return false
}

// note keeps a cast that is being delivered.
func (r *replays) note(rooms, except []socket.Room, at castlog.Position, f packetFrames) {
	if r.count.Load() == 0 || at.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var e replayEntry
	for _, room := range rooms {
		x := r.rooms[room]
		if x == nil || len(x.entries) > 0 && x.entries[len(x.entries)-1].number >= at.Number {
			continue
		}
		if e.size == 0 {
			e = newReplayEntry(at.Number, except, f)
		}
		x.entries = append(x.entries, e)
		x.bytes += e.size
		r.bytes += e.size
	}
	r.dropBeyondBound()
}

func newReplayEntry(number int64, except []socket.Room, f packetFrames) replayEntry {
	e := replayEntry{number: number, except: except, frames: packetFrames{text: f.text.Copy()}, size: f.text.Len() + 100}
	for _, b := range f.binary {
		e.frames.binary = append(e.frames.binary, b.Copy())
		e.size += b.Len()
	}
	return e
}

// dropBeyondBound forgets rooms until the rest is within the bound: first those that nobody uses,
// of these the one that was used least recently. mu is held.
func (r *replays) dropBeyondBound() {
	for r.bytes > maxReplayBytes {
		var worst *replay
		for _, x := range r.rooms {
			isBetter := worst == nil || (x.users == 0) != (worst.users == 0) && x.users == 0 ||
				(x.users == 0) == (worst.users == 0) && x.lastUsed.Before(worst.lastUsed)
			if isBetter {
				worst = x
			}
		}
		if worst == nil {
			return
		}
		r.forgetRoom(worst)
	}
}

// forgetRoom makes a replay useless. mu is held.
func (r *replays) forgetRoom(x *replay) {
	x.err = errReplayStale
	if r.rooms[x.room] == x {
		delete(r.rooms, x.room)
		r.count.Add(-1)
		r.unwanted = append(r.unwanted, x.room)
	}
	r.bytes -= x.bytes
	x.entries, x.bytes = nil, 0
}

// forgetRooms makes the replays of some rooms useless, if there are any.
func (r *replays) forgetRooms(rooms []socket.Room) {
	if r.count.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, room := range rooms {
		if x := r.rooms[room]; x != nil {
			r.forgetRoom(x)
		}
	}
}

// forgetAll is called when this node may have missed casts. It does not call the bus.
func (r *replays) forgetAll() {
	if r.count.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.rooms {
		r.forgetRoom(x)
	}
}

// forgetOld forgets what nobody has used for a while.
func (r *replays) forgetOld() {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		for _, room := range r.unwanted {
			r.namespace.updateSubscription(room, -1)
		}
		r.unwanted = nil
	}()
	for _, x := range r.rooms {
		if x.users == 0 && time.Since(x.lastUsed) > keepReplay {
			r.forgetRoom(x)
		}
	}
}

// use returns what was cast to rooms. The caller calls release. On an error nothing is to be
// released.
func (r *replays) use(ctx context.Context, rooms []socket.Room) (all []*replay, err error) {
	var fresh []*replay
	r.mu.Lock()
	for _, room := range rooms {
		x := r.rooms[room]
		if x == nil {
			x = &replay{room: room, loaded: make(chan struct{})}
			r.rooms[room] = x
			r.count.Add(1)
			r.namespace.updateSubscription(room, 1)
			fresh = append(fresh, x)
		}
		x.users++
		x.lastUsed = time.Now()
		all = append(all, x)
	}
	r.mu.Unlock()
	if len(fresh) > 0 {
		r.load(ctx, fresh)
	}
	for _, x := range all {
		select {
		case <-x.loaded:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	r.mu.Lock()
	for _, x := range all {
		err = errors.Join(err, x.err)
	}
	r.mu.Unlock()
	if err != nil {
		r.release(all)
		return nil, err
	}
	return all, nil
}

func (r *replays) release(all []*replay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range all {
		x.users--
	}
}

// load reads the logs of rooms.
func (r *replays) load(ctx context.Context, fresh []*replay) {
	n := r.namespace
	rooms, names := make([]socket.Room, len(fresh)), make([]string, len(fresh))
	for i, x := range fresh {
		rooms[i], names[i] = x.room, n.loggedRoom(x.room)
	}
	err := n.waitSubscribed(ctx, rooms...)
	if err == nil {
		err = n.cluster.waitHearing(ctx)
	}
	var logs []castlog.RoomLog
	var at castlog.Position
	if err == nil {
		at, logs, err = n.castLog.ReadLogs(ctx, names)
	}
	if err == nil {
		// What was cast before the subscription is in the logs alone. A client is sent what this node has
		// heard, so it must have heard what was read.
		err = n.castLog.WaitHeard(ctx, at.Number)
	}
	entries := make([][]replayEntry, len(fresh))
	for i := range logs {
		entries[i] = n.frameLog(logs[i].Entries)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range fresh {
		switch {
		case x.err != nil:
		case err != nil:
			r.forgetRoom(x)
			x.err = err
		default:
			x.dropped = logs[i].Dropped
			r.mergeEntries(x, entries[i])
		}
		close(x.loaded)
	}
	r.dropBeyondBound()
}

// mergeEntries puts what was read before what was heard meanwhile. mu is held.
func (r *replays) mergeEntries(x *replay, read []replayEntry) {
	if len(read) > 0 {
		newest := read[len(read)-1].number
		heard := slices.IndexFunc(x.entries, func(e replayEntry) bool { return e.number > newest })
		if heard < 0 {
			heard = len(x.entries)
		}
		x.entries = append(read, x.entries[heard:]...)
	}
	r.bytes -= x.bytes
	x.bytes = 0
	for _, e := range x.entries {
		x.bytes += e.size
	}
	r.bytes += x.bytes
}

// frameLog frames the entries of a log for clients.
func (n *clusterNamespace) frameLog(log []castlog.RoomEntry) (entries []replayEntry) {
	for _, e := range log {
		m, ok := readBroadcast(e.Message)
		if !ok || string(m.nsp) != n.name {
			continue
		}
		f, ok := m.frameForMembers(n.name, 2*n.cluster.cfg.MaxMessage)
		if !ok {
			continue
		}
		appendOffset(f.text, e.At)
		f.sealFrames(false)
		entries = append(entries, newReplayEntry(e.At.Number, m.except, f))
		f.releaseFrames()
	}
	return entries
}

// waitHearing returns when this node hears what is cast.
func (c *cluster) waitHearing(ctx context.Context) error {
	for {
		_, isHearing := c.castLog.LockHeard()
		c.castLog.UnlockPosition()
		if isHearing {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
