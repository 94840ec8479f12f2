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
	run    *run
	tally  *tally
	index  uint32
	room   int // which chat room, -1 for none
	place  int // which of the speakers in its room, -1 for a listener
	turn0  int // its place in the order of an open loop
	user   string
	secret string // the session id; never printed

	conn    net.Conn // set by connect, before anything else uses it
	leaving atomic.Bool
	alive   atomic.Bool
	away    atomic.Bool   // it is on its way back, and says nothing
	beat    time.Duration // how long the server may be silent
	hello   bool          // the server told `session`, as contract.md says; known once something was answered

	mu     sync.Mutex // guards writing, and the fields down to moved
	slots  []slot
	oldest uint32 // everything below is finished
	turn   uint32 // events so far
	moved  int64  // when an event was last finished, or the first one of a pause sent; run's clock

	next     atomic.Uint32 // the next acknowledgement id; written under mu
	said     atomic.Uint32 // chat messages so far; written under mu
	question atomic.Pointer[question]

	// Owned by the goroutine that reads, and after its end by the verdict.
	joined   bool
	died     bool // the connection ended, and not by us
	ended    error
	rest     []byte // the start of a frame
	part     []byte // the start of a fragmented message
	acks     stream
	heard    []stream // by the place of the speaker
	silenced bitset   // own chat messages that the server refused
	unsure   bitset   // own chat messages of which nobody knows whether they were said
	parted   []uint32 // by the place of the speaker: what was heard when the connection ended

	told        bool          // that the connection will be closed
	reconnectIn time.Duration // when to come back then
}

// A slot is one event on its way. The upper half of state is its id, the lower half how many things must still happen
// (the answer, and each delivery) until it is finished.
type slot struct {
	state atomic.Uint64
	due   atomic.Int64  // when it should have been sent, ns on the run's clock
	note  atomic.Uint32 // the scenario's
}

// A question is an event outside of the traffic, such as chat:join.
type question struct {
	id     uint32
	answer chan []byte // the arguments of the acknowledgement
}

var (
	errGone    = errors.New("the connection ended")
	errSilence = errors.New("no answer in time")
)

// slot is where the event id is kept.
func (c *client) slot(id uint32) *slot { return &c.slots[id&uint32(len(c.slots)-1)] }

// reserve makes room for n events on their way; the length of slots is a power of two.
func (c *client) reserve(n int) {
	size := 1
	for size < n {
		size *= 2
	}
	c.slots = make([]slot, size)
}

// begin notes an event that is finished after things have happened. The caller holds mu.
func (c *client) begin(due int64, things int, note uint32) (id uint32) {
	id = c.next.Load()
	s := c.slot(id)
	s.due.Store(due)
	s.note.Store(note)
	s.state.Store(uint64(id)<<32 | uint64(things))
	c.next.Store(id + 1)
	return id
}

// progress says that one thing about the event id happened, or all of them, and whether that finished it.
func (c *client) progress(id uint32, all bool) bool {
	s := c.slot(id)
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

// finished moves past all finished events. The caller holds mu.
func (c *client) finished() {
	for next := c.next.Load(); c.oldest != next; c.oldest++ {
		if s := c.slot(c.oldest).state.Load(); uint32(s>>32) == c.oldest && uint32(s) != 0 {
			return
		}
	}
}

// write sends whole frames. The caller holds mu. An error is seen by the reader too, so it is not told.
func (c *client) write(frames []byte) {
	if len(frames) > 0 {
		if _, err := c.conn.Write(frames); err != nil {
			c.conn.Close()
		}
	}
}

// ask sends one event outside of the traffic, `["name",{…}]`, and waits for its answer.
func (c *client) ask(ctx context.Context, event string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.run.cfg.Timeout)
	defer cancel()
	q := &question{answer: make(chan []byte, 1)}
	c.mu.Lock()
	if !c.alive.Load() {
		c.mu.Unlock()
		return nil, errGone
	}
	if c.slots == nil {
		c.reserve(1)
	}
	q.id = c.begin(c.run.now(), 1, 0)
	c.question.Store(q)
	c.write(appendFrame(nil, opText, append(appendNumber([]byte("42"), q.id), event...)))
	c.mu.Unlock()
	defer c.question.Store(nil)
	select {
	case args, ok := <-q.answer:
		if !ok {
			return nil, errGone
		}
		return args, nil
	case <-ctx.Done():
		return nil, errSilence
	}
}

// request is ask for those who need only know that it was done.
func (c *client) request(ctx context.Context, event string) ([]byte, error) {
	args, err := c.ask(ctx, event)
	if err != nil {
		return nil, err
	}
	switch o, code := judge(args); o {
	case outcomeOK:
		return args, nil
	case outcomeRefused:
		return nil, refusal(code)
	}
	return nil, errors.New("no answer of the contract")
}

// leave closes the connection as a browser that goes away does.
func (c *client) leave() {
	c.leaving.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	c.write(appendFrame(appendFrame(nil, opText, []byte("41")), opClose, []byte{3, 0xe8}))
	c.conn.Close()
}
