package chat

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed say.lua
var sayLua string

var sayScript = redisx.NewScript(sayLua)

// Why a message is said without Redis.
var (
	errAway = errors.New("chat: redis does not take messages")
	errLate = errors.New("chat: redis did not take the message in time")
	errFull = errors.New("chat: too much waits to be written to the history")
)

// Bounds of what waits for Redis, and of one round trip.
const (
	journalBytes = 8 << 20
	batchNotes   = 512
	batchTime    = time.Second
	rest         = 500 * time.Millisecond // after a failure nobody waits for so long
)

// A journal writes to Redis what is said on this node, in order: one queue, and one
// goroutine that exists only while something waits in it.
type journal struct {
	rdb redis.UniversalClient // nil keeps nothing
	cfg Config

	mu      sync.Mutex
	waiting []*note        // guarded by mu
	bytes   int            // that wait; guarded by mu
	working bool           // guarded by mu
	closed  bool           // guarded by mu
	resting time.Time      // until then nobody waits; guarded by mu
	wg      sync.WaitGroup // of the worker
}

// A note is a message on its way to Redis.
type note struct {
	channel string
	message []byte // JSON

	claim *claim // who waits for it, or nil
}

// A claim is a note that Redis may refuse.
type claim struct {
	sent, paced    string // keys
	remember, slow time.Duration
	answer         string
	done           chan result // capacity 1
}

type result struct {
	verdict
	err error
}

func newJournal(rdb redis.UniversalClient, cfg Config) *journal { return &journal{rdb: rdb, cfg: cfg} }

func noteOf(m *Message) *note {
	return &note{channel: m.Channel, message: m.AppendJSON(make([]byte, 0, 192+len(m.Text)))}
}

// keeps tells whether there is a history.
func (j *journal) keeps() bool { return j.rdb != nil && j.cfg.HistoryLength > 0 }

// write keeps a message, and waits for nothing.
func (j *journal) write(m *Message) {
	if !j.keeps() {
		return
	}
	if err := j.put(noteOf(m)); err != nil && !errors.Is(err, errAway) {
		j.cfg.Report(err)
	}
}

// claim keeps a message unless it was said before or is too early. The error says that
// Redis did not judge; it may take the message all the same, later.
func (j *journal) claim(ctx context.Context, m *Message, sent, paced string, slow time.Duration) (verdict, error) {
	if j.rdb == nil {
		return verdict{}, errAway
	}
	n := noteOf(m)
	c := &claim{sent: sent, paced: paced, slow: slow, answer: Receipt{ID: m.ID, At: m.At}.text(), done: make(chan result, 1)}
	if m.ClientID != "" {
		c.remember = j.cfg.Remember
	}
	n.claim = c
	if err := j.put(n); err != nil {
		return verdict{}, err
	}
	late := time.NewTimer(j.cfg.Patience)
	defer late.Stop()
	select {
	case r := <-c.done:
		return r.verdict, r.err
	case <-late.C:
		return verdict{}, errLate
	case <-ctx.Done():
		return verdict{}, ctx.Err()
	}
}

func (j *journal) put(n *note) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed, time.Now().Before(j.resting):
		return errAway
	case j.bytes+len(n.message) > journalBytes:
		return errFull
	}
	j.waiting = append(j.waiting, n)
	j.bytes += len(n.message)
	if !j.working {
		j.working = true
		j.wg.Go(j.work)
	}
	return nil
}

func (j *journal) work() {
	for {
		j.mu.Lock()
		batch := j.waiting[:min(len(j.waiting), batchNotes)]
		j.waiting = j.waiting[len(batch):]
		if len(batch) == 0 {
			j.waiting, j.working = nil, false
			j.mu.Unlock()
			return
		}
		for _, n := range batch {
			j.bytes -= len(n.message)
		}
		j.mu.Unlock()
		if err := j.send(batch); err != nil {
			j.mu.Lock()
			j.resting = time.Now().Add(rest)
			j.mu.Unlock()
			j.cfg.Report(fmt.Errorf("chat: write what was said: %w", err))
		}
	}
}

// send writes a batch in one round trip. Messages that nobody waits for share a call with
// those of their channel; no message of a channel overtakes another.
func (j *journal) send(batch []*note) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTime)
	defer cancel()
	length, age := max(0, j.cfg.HistoryLength), j.cfg.HistoryAge.Milliseconds()
	var calls []*redisx.Call
	claims := map[*redisx.Call]*claim{}
	open := map[string]*redisx.Call{} // by channel
	for _, n := range batch {
		call := open[n.channel]
		if c := n.claim; c != nil {
			call = &redisx.Call{
				Script: sayScript, Keys: []string{keys.ChatHistory(n.channel), c.sent, c.paced},
				Args: []any{length, age, c.remember.Milliseconds(), c.slow.Milliseconds(), c.answer},
			}
			calls, claims[call] = append(calls, call), c
			delete(open, n.channel)
		} else if call == nil {
			call = &redisx.Call{Script: sayScript, Keys: []string{keys.ChatHistory(n.channel)}, Args: []any{length, age}}
			calls = append(calls, call)
			open[n.channel] = call
		}
		call.Args = append(call.Args, n.message)
	}
	redisx.RunScripts(ctx, j.rdb, calls...)
	var failed error
	for _, call := range calls {
		v, err := readVerdict(call)
		if err != nil {
			failed = err
		}
		if c := claims[call]; c != nil {
			c.done <- result{v, err}
		}
	}
	return failed
}

func readVerdict(call *redisx.Call) (v verdict, err error) {
	reply, err := call.StringSlice()
	if err != nil {
		return v, err
	}
	switch {
	case len(reply) == 1 && reply[0] == "said":
		return v, nil
	case len(reply) == 2 && reply[0] == "early":
		ms, err := strconv.ParseInt(reply[1], 10, 64)
		v.wait = time.Duration(max(1, ms)) * time.Millisecond
		return v, err
	case len(reply) == 2 && reply[0] == "before":
		v.first, err = readReceipt(reply[1])
		return v, err
	}
	return v, fmt.Errorf("chat: strange reply %q", reply)
}

// text is how an answer is kept.
func (r Receipt) text() string { return r.ID + " " + strconv.FormatInt(r.At, 10) }

func readReceipt(text string) (*Receipt, error) {
	id, at, ok := strings.Cut(text, " ")
	n, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil {
		return nil, fmt.Errorf("chat: strange answer %q", text)
	}
	return &Receipt{ID: id, At: n}, nil
}

// close takes nothing more, and waits for what is there to be written.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.wg.Wait()
}
