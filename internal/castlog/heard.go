package castlog

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// heard is what this node has heard of the one order.
type heard struct {
	number atomic.Int64 // of at, to be read without mu

	mu      sync.Mutex
	at      Position                  // everything up to here was heard, or was not for this node; guarded by mu
	known   Position                  // the newest position that Redis has told; guarded by mu
	foreign map[[epochBytes]byte]bool // epochs of other logs; guarded by mu

	origins map[string]*window // of the other nodes: which of their casts were heard; guarded by mu

	generation int                     // how often something may have been missed; guarded by mu
	recent     [recentCasts]recentCast // the last ones; guarded by mu
	nextRecent int                     // guarded by mu
	// What comes late of a server before this one: its casts between these positions, which were not
	// reported. Who cast them brings them. Guarded by mu.
	formerFrom, formerTo Position

	wasEmpty     bool // there was no log when it was read last; guarded by mu
	isCatchingUp bool // what comes is held back; guarded by mu
	held         []heldMessage
	heldBytes    int
	isOverflown  bool // something that came was neither held nor delivered; guarded by mu
}

// recentCasts is how many casts a node can tell the position of that a server has forgotten.
const recentCasts = 4096

// A recentCast is a cast that was heard.
type recentCast struct {
	origin   string // "" for none
	sequence uint64
	number   int64
}

// reportFormer returns which casts were heard above the position that a server had when it began,
// as append.lua takes them. From now on no other cast is heard that stands between that position
// and the boundary: it would have an order here that nobody knows of.
func (h *heard) reportFormer(forgotFrom int64, boundary string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	to, _ := strconv.ParseInt(boundary, 10, 64) // it is a number
	h.formerFrom, h.formerTo = Position{h.at.Epoch, forgotFrom}, Position{h.at.Epoch, to}
	var b []byte
	for _, c := range h.recent {
		if c.origin != "" && c.number > forgotFrom {
			b = fmt.Appendf(b, "%s %016d %d ", c.origin, c.sequence, c.number)
		}
	}
	return string(b)
}

// isFormer reports whether a cast at a position came too late from a server before this one. mu is
// held.
func (h *heard) isFormer(at Position) bool {
	return at.Epoch == h.formerTo.Epoch && at.Number > h.formerFrom.Number && at.Number <= h.formerTo.Number
}

// A heldMessage came while this node reads what it missed.
type heldMessage struct {
	origin   string
	sequence uint64
	at       Position
	message  []byte
	owner    any
}

const (
	maxHeldBytes = 8 << 20
	maxOrigins   = 4096
	maxForeign   = 64
	// maxLeap is how far a position may lie above those that Redis has told. A server that has
	// forgotten leaps by 2^20. What lies farther was forged.
	maxLeap = 1 << 23
	// minLeap is less than a server leaps that has forgotten.
	minLeap = 1 << 19
)

func newHeard() heard {
	return heard{origins: map[string]*window{}, foreign: map[[epochBytes]byte]bool{}, isCatchingUp: true}
}

// noteEpoch notes a position that Redis has told.
func (h *heard) noteEpoch(at Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known.Epoch != at.Epoch || h.known.Number < at.Number {
		h.known = at
	}
}

// newestNumber returns the newest position that this node knows of.
func (h *heard) newestNumber() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.Epoch == h.known.Epoch {
		return max(h.at.Number, h.known.Number)
	}
	return h.known.Number
}

// noteForeign notes the epoch of a log that is not ours: that of nodes with the same prefix on
// another database of the server, which hear and are heard all the same. mu is held.
func (h *heard) noteForeign(epoch [epochBytes]byte) {
	if len(h.foreign) >= maxForeign {
		clear(h.foreign)
	}
	h.foreign[epoch] = true
}

// HearMark takes a position that was published without a cast.
func (l *Log) HearMark(at Position) (ok bool) {
	h := &l.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.foreign[at.Epoch] {
		return true
	}
	if at.Epoch != h.known.Epoch || at.Number > h.known.Number+minLeap { // another server, most likely
		l.markNow.Notify()
	}
	if h.at.IsZero() && !h.isCatchingUp && at.Epoch == h.known.Epoch { // the log has just begun
		h.at.Epoch = at.Epoch
	}
	if h.isCatchingUp || at.Epoch != h.at.Epoch {
		return true
	}
	if !h.isPlausible(at) {
		return false
	}
	h.moveTo(Position{h.at.Epoch, max(h.at.Number, at.Number)})
	return true
}

// moveTo notes up to where everything was heard. mu is held.
func (h *heard) moveTo(at Position) {
	h.at = at
	h.number.Store(at.Number)
}

// isPlausible tells whether a position may follow what was heard. Where it is of another epoch, the
// server has forgotten everything: then this node must read. mu is held.
func (h *heard) isPlausible(at Position) bool {
	return at.Epoch == h.at.Epoch && at.Number <= max(h.at.Number, h.known.Number)+maxLeap
}

// Hear takes a message with a tail, as it came. origin names the node that sent it, and owner is
// passed on. Config.Deliver is called at most once, now or when this node has read what it missed.
// Hear reports false for a message that cannot stand where it says.
func (l *Log) Hear(origin []byte, sequence uint64, at Position, message []byte, owner any) (ok bool) {
	h := &l.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.foreign[at.Epoch] {
		l.deliverOnce(heldMessage{string(origin), sequence, at, message, owner}, h.at)
		return true
	}
	if !h.isCatchingUp && (at.Epoch != h.at.Epoch || h.isFormer(at) && at.Number > h.at.Number) {
		h.isCatchingUp = true
		l.cfg.OnForgotten()
	}
	if h.isCatchingUp {
		if h.heldBytes+len(message) > maxHeldBytes {
			h.held, h.heldBytes, h.isOverflown = nil, 0, true
			return true
		}
		h.held = append(h.held, heldMessage{string(origin), sequence, at, append([]byte(nil), message...), owner})
		h.heldBytes += len(message)
		return true
	}
	if !h.isPlausible(at) {
		return false
	}
	if at.Number <= h.at.Number {
		return true // it came on another channel too
	}
	h.moveTo(at)
	l.deliverOnce(heldMessage{string(origin), sequence, at, message, owner}, at)
	return true
}

// deliverOnce delivers a message unless it was delivered when it stood at another position. at is
// where it stands in our log, or, where it came from another one, up to where ours was heard.
// heard.mu is held.
func (l *Log) deliverOnce(m heldMessage, at Position) {
	h := &l.heard
	h.recent[h.nextRecent] = recentCast{m.origin, m.sequence, m.at.Number}
	h.nextRecent = (h.nextRecent + 1) % recentCasts
	if m.origin == l.cfg.Node {
		if !l.deliverOwn(m.sequence, m.at.Number, at) {
			l.cfg.Deliver(m.owner, m.message, at)
		}
		return
	}
	w := h.origins[m.origin]
	if w == nil {
		if len(h.origins) >= maxOrigins {
			clear(h.origins)
		}
		w = &window{}
		h.origins[m.origin] = w
	}
	if w.addNumber(m.sequence) {
		l.cfg.Deliver(m.owner, m.message, at)
	}
}

// LockPosition returns the position up to which this node has delivered everything, and keeps it
// from moving until UnlockPosition. It is zero while it is not known. The caller must not wait, and
// not call the log.
func (l *Log) LockPosition() Position {
	l.heard.mu.Lock()
	return l.heard.at
}

// LockHeard is LockPosition that reports whether this node hears what is cast. Where it does not,
// it is about to read what it misses.
func (l *Log) LockHeard() (at Position, isHearing bool) {
	l.heard.mu.Lock()
	return l.heard.at, !l.heard.isCatchingUp && l.heard.at.Epoch != [epochBytes]byte{}
}

// HeardNumber returns the number of Position. It takes no lock.
func (l *Log) HeardNumber() int64 { return l.heard.number.Load() }

// WaitHeard returns when this node has heard everything up to a position, or when ctx ends. The
// newest casts may be to rooms of other nodes, so it has the position published.
func (l *Log) WaitHeard(ctx context.Context, number int64) error {
	if l.HeardNumber() >= number {
		return nil
	}
	l.markNow.Notify()
	tick := time.NewTicker(heardPoll)
	defer tick.Stop()
	for l.HeardNumber() < number {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// heardPoll is how often WaitHeard looks.
const heardPoll = 2 * time.Millisecond

// UnlockPosition ends LockPosition and LockHeard.
func (l *Log) UnlockPosition() { l.heard.mu.Unlock() }

// LockDelivery is LockHeard that also keeps from being delivered what Redis has not confirmed:
// until UnlockDelivery no member of this node receives a cast of the log.
func (l *Log) LockDelivery() (at Position, isHearing bool) {
	at, isHearing = l.LockHeard()
	l.mu.Lock()
	return at, isHearing
}

// UnlockDelivery ends LockDelivery.
func (l *Log) UnlockDelivery() {
	l.mu.Unlock()
	l.heard.mu.Unlock()
}

// Position returns the position up to which this node has delivered everything.
func (l *Log) Position() Position {
	defer l.UnlockPosition()
	return l.LockPosition()
}

// BeginCatchUp holds back what comes from now on, because something may be missed. CatchUp ends it.
func (l *Log) BeginCatchUp() {
	l.heard.mu.Lock()
	l.heard.isCatchingUp = true
	l.heard.generation++
	l.heard.mu.Unlock()
}

// Generation counts the calls of BeginCatchUp.
func (l *Log) Generation() int {
	l.heard.mu.Lock()
	defer l.heard.mu.Unlock()
	return l.heard.generation
}

// windowSize is how many sequence numbers below the newest one are told apart: those that a node
// can append again.
const windowSize = 1 << 16

// A window remembers which sequence numbers were seen. The zero value has seen none.
type window struct {
	newest uint64
	seen   [windowSize / 64]uint64
}

// addNumber reports whether a number is new. Numbers far below the newest one are not.
func (w *window) addNumber(n uint64) bool {
	switch {
	case n > w.newest+windowSize:
		w.seen = [windowSize / 64]uint64{}
		w.newest = n
	case n > w.newest:
		for i := w.newest + 1; i <= n; i++ {
			w.seen[i%windowSize/64] &^= 1 << (i % 64)
		}
		w.newest = n
	case w.newest-n >= windowSize:
		return false
	}
	word, bit := &w.seen[n%windowSize/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
