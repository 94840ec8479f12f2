package loadtest

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A client is one connection of one player. It costs one goroutine, and it holds no read buffer
// while it waits, unless half a frame has arrived.
type client struct {
	run          *run
	tally        *tally
	index        uint32
	room         int // index of its chat room; -1 without one
	speakerIndex int // index among the speakers of its room; -1 for a listener
	orderIndex   int // its index in the order in which the speakers send
	user         string
	sessionID    string // a secret: it is never printed

	conn        net.Conn // set by connectAndJoin, before anything else uses it
	isLeaving   atomic.Bool
	isConnected atomic.Bool
	isReturning atomic.Bool   // it is reconnecting and sends nothing
	readTimeout time.Duration // the longest time the server may send nothing
	gotSession  bool          // the server sent `session` (docs/contract.md); known after the first answer

	mu           sync.Mutex // guards writing to conn, and the fields down to lastProgress
	slots        []slot
	oldestOpen   uint32 // every event with a smaller id is finished
	eventsSent   uint32 // events sent so far
	nextDue      int64  // when the event that is being written was due; run's clock
	lastProgress int64  // when an event last finished, or was sent while no other was open; run's clock

	nextID      atomic.Uint32 // the next acknowledgement id; written under mu
	chatSent    atomic.Uint32 // chat messages sent so far; written under mu
	pendingCall atomic.Pointer[pendingCall]

	// The fields below belong to the goroutine that reads the connection. After it has ended,
	// checkFinalState and countLosses read them.
	isJoined       bool
	lostConnection bool // the connection ended, and we did not close it
	endErr         error
	partialFrame   []byte // the first bytes of a frame
	partialMessage []byte // the first fragments of a message
	acks           sequenceTracker
	heardFrom      []sequenceTracker // by the speaker's speakerIndex
	refusedChat    bitset            // its own chat messages that the server refused
	uncertainChat  bitset            // its own chat messages that may or may not have been sent to the room
	heardAtEnd     []uint32          // by speakerIndex: the next message number when the connection ended
	acknowledged   bitset            // in recovery: its own chat messages that were answered with ok: true
	latestHeard    heardMessage      // in recovery: of the messages that it heard, the last one in the room's order
	toldMissing    []uint32          // in recovery, by speakerIndex: messages with smaller numbers may be missing, as the server said

	// In recovery with Config.Reconnect, the state that the client presents when it returns.
	pid, sid       []byte
	offset         []byte      // the last argument of the last event that ended with a text
	isRecovered    atomic.Bool // the server said so of this connection
	awaitsSession  bool        // the next `session` must say the same
	returnAttempts int         // to connect again, since the start

	closeAnnounced bool          // the server announced with gateway:closing that it will close
	reconnectIn    time.Duration // how long to wait then before reconnecting
}

// A slot holds one open event. The upper half of state is the event's id. The lower half is the
// number of steps (the answer, and each delivery) that must still happen before the event is
// finished.
type slot struct {
	state atomic.Uint64
	due   atomic.Int64  // when the event should have been sent, in ns on the run's clock
	note  atomic.Uint32 // a number that the workload keeps with the event
}

// A pendingCall is an event that is not part of the measured traffic, such as chat:join.
type pendingCall struct {
	id     uint32
	answer chan []byte // receives the acknowledgement's arguments; closed when the connection ends
}

var (
	errClosed   = errors.New("the connection ended")
	errNoAnswer = errors.New("no answer in time")
)

// slotForEvent returns the slot that holds the event id.
func (c *client) slotForEvent(id uint32) *slot { return &c.slots[id&uint32(len(c.slots)-1)] }

// reserveSlots makes room for n open events. The number of slots is a power of two.
func (c *client) reserveSlots(n int) {
	size := 1
	for size < n {
		size *= 2
	}
	c.slots = make([]slot, size)
}

// beginEvent records an event that is finished after the given number of steps, and returns its id.
// The caller holds mu.
func (c *client) beginEvent(due int64, steps int, note uint32) (id uint32) {
	id = c.nextID.Load()
	s := c.slotForEvent(id)
	s.due.Store(due)
	s.note.Store(note)
	s.state.Store(uint64(id)<<32 | uint64(steps))
	c.nextID.Store(id + 1)
	return id
}

// completeStep records one step of the event id, or all of its steps, and reports whether the event
// is now finished.
func (c *client) completeStep(id uint32, all bool) bool {
	s := c.slotForEvent(id)
	for {
		old := s.state.Load()
		if uint32(old>>32) != id || uint32(old) == 0 {
			return false // the event was given up before; its slot may hold another event now
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

// advanceOldest moves oldestOpen past all finished events. The caller holds mu.
func (c *client) advanceOldest() {
	for next := c.nextID.Load(); c.oldestOpen != next; c.oldestOpen++ {
		if s := c.slotForEvent(c.oldestOpen).state.Load(); uint32(s>>32) == c.oldestOpen && uint32(s) != 0 {
			return
		}
	}
}

// writeFrames sends whole frames. The caller holds mu. On an error it only closes the connection:
// the reader then sees the error and counts it.
func (c *client) writeFrames(frames []byte) {
	if len(frames) > 0 {
		if _, err := c.conn.Write(frames); err != nil {
			c.conn.Close()
		}
	}
}

// callAndWait sends one event, `["name",{…}]`, that is not part of the measured traffic, and waits
// for its answer.
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

// callForOK is like callAndWait, but returns an error unless the answer is ok: true.
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
	return nil, errors.New("the answer does not follow the contract")
}

// disconnect says goodbye and closes the connection, as a browser does that leaves the page.
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
