package loadtest

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A client is one connection of one player. It costs a goroutine and, while nothing is half received, no buffer.
type client struct {
	run          *run
	tally        *tally
	index        uint32
	room         int // which chat room, -1 for none
	speakerIndex int // which of the speakers in its room, -1 for a listener
	orderIndex   int // its place in the order of an open loop
	user         string
	sessionID    string // the session id; never printed

	conn        net.Conn // set by connect, before anything else uses it
	isLeaving   atomic.Bool
	isConnected atomic.Bool
	isReturning atomic.Bool   // it is on its way back, and says nothing
	readTimeout time.Duration // how long the server may be silent
	gotSession  bool          // the server told `session`, as contract.md says; known once something was answered

	mu           sync.Mutex // guards writing, and the fields down to moved
	slots        []slot
	oldestOpen   uint32 // everything below is finished
	eventsSent   uint32 // events so far
	lastProgress int64  // when an event was last finished, or the first one of a pause sent; run's clock

	nextID      atomic.Uint32 // the next acknowledgement id; written under mu
	chatSent    atomic.Uint32 // chat messages so far; written under mu
	pendingCall atomic.Pointer[pendingCall]

	// Owned by the goroutine that reads, and after its end by the verdict.
	isJoined       bool
	lostConnection bool // the connection ended, and not by us
	endErr         error
	partialFrame   []byte // the start of a frame
	partialMessage []byte // the start of a fragmented message
	acks           sequenceTracker
	heardFrom      []sequenceTracker // by the place of the speaker
	refusedChat    bitset            // own chat messages that the server refused
	uncertainChat  bitset            // own chat messages of which nobody knows whether they were said
	heardAtEnd     []uint32          // by the place of the speaker: what was heard when the connection ended

	closeAnnounced bool          // that the connection will be closed
	reconnectIn    time.Duration // when to come back then
}

// A slot is one event on its way. The upper half of state is its id, the lower half how many things must still happen
// (the answer, and each delivery) until it is finished.
type slot struct {
	state atomic.Uint64
	due   atomic.Int64  // when it should have been sent, ns on the run's clock
	note  atomic.Uint32 // the scenario's
}

// A pendingCall is an event outside of the traffic, such as chat:join.
type pendingCall struct {
	id     uint32
	answer chan []byte // the arguments of the acknowledgement
}

var (
	errClosed   = errors.New("the connection ended")
	errNoAnswer = errors.New("no answer in time")
)

// slotForEvent is where the event id is kept.
func (c *client) slotForEvent(id uint32) *slot { return &c.slots[id&uint32(len(c.slots)-1)] }

// reserveSlots makes room for n events on their way; the length of slots is a power of two.
func (c *client) reserveSlots(n int) {
	size := 1
	for size < n {
		size *= 2
	}
	c.slots = make([]slot, size)
}

// beginEvent notes an event that is finished after things have happened. The caller holds mu.
func (c *client) beginEvent(due int64, steps int, note uint32) (id uint32) {
	id = c.nextID.Load()
	s := c.slotForEvent(id)
	s.due.Store(due)
	s.note.Store(note)
	s.state.Store(uint64(id)<<32 | uint64(steps))
	c.nextID.Store(id + 1)
	return id
}

// completeStep says that one thing about the event id happened, or all of them, and whether that finished it.
func (c *client) completeStep(id uint32, all bool) bool {
	s := c.slotForEvent(id)
	for {
		old := s.state.Load()
		if uint32(old>>32) != id || uint32(old) == 0 {
			return false // given up before, and its slot perhaps used again
		}
		left := old - 1
		if all {
			left = uint64(id) << 32
		}
		if s.state.CompareAndSwap(old, left) {
			return uint32(left) == 0
		}
	}
}

// advanceOldest moves past all finished events. The caller holds mu.
func (c *client) advanceOldest() {
	for next := c.nextID.Load(); c.oldestOpen != next; c.oldestOpen++ {
		if s := c.slotForEvent(c.oldestOpen).state.Load(); uint32(s>>32) == c.oldestOpen && uint32(s) != 0 {
			return
		}
	}
}

// writeFrames sends whole frames. The caller holds mu. An error is seen by the reader too, so it is not told.
func (c *client) writeFrames(frames []byte) {
	if len(frames) > 0 {
		if _, err := c.conn.Write(frames); err != nil {
			c.conn.Close()
		}
	}
}

// callAndWait sends one event outside of the traffic, `["name",{…}]`, and waits for its answer.
func (c *client) callAndWait(ctx context.Context, event string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.run.cfg.Timeout)
	defer cancel()
	q := &pendingCall{answer: make(chan []byte, 1)}
	c.mu.Lock()
	if !c.isConnected.Load() {
		c.mu.Unlock()
		return nil, errClosed
	}
	if c.slots == nil {
		c.reserveSlots(1)
	}
	q.id = c.beginEvent(c.run.now(), 1, 0)
	c.pendingCall.Store(q)
	c.writeFrames(appendFrame(nil, opText, append(appendNumber([]byte("42"), q.id), event...)))
	c.mu.Unlock()
	defer c.pendingCall.Store(nil)
	select {
	case args, ok := <-q.answer:
		if !ok {
			return nil, errClosed
		}
		return args, nil
	case <-ctx.Done():
		return nil, errNoAnswer
	}
}

// callForOK is ask for those who need only know that it was done.
func (c *client) callForOK(ctx context.Context, event string) ([]byte, error) {
	args, err := c.callAndWait(ctx, event)
	if err != nil {
		return nil, err
	}
	switch o, code := parseAnswer(args); o {
	case outcomeOK:
		return args, nil
	case outcomeRefused:
		return nil, refusal(code)
	}
	return nil, errors.New("no answer of the contract")
}

// disconnect closes the connection as a browser that goes away does.
func (c *client) disconnect() {
	c.isLeaving.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	c.writeFrames(appendFrame(appendFrame(nil, opText, []byte("41")), opClose, []byte{3, 0xe8}))
	c.conn.Close()
}
