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

// The reasons why a message is sent without asking Redis.
var (
	errAway = errors.New("chat: redis can not be used now")
	errLate = errors.New("chat: redis did not answer in time")
	errFull = errors.New("chat: too many messages wait to be written to the history")
)

// The bounds of the queue and of one round trip.
const (
	journalBytes = 8 << 20
	batchNotes   = 512
	batchTime    = time.Second
	rest         = 500 * time.Millisecond // for so long after a failure no message is queued
)

// A journal writes the messages of this node to Redis, in order. It has one queue, and one
// goroutine that runs only while the queue is not empty.
type journal struct {
	rdb redis.UniversalClient // nil: there is no history
	cfg Config

	mu      sync.Mutex
	waiting []*note        // guarded by mu
	bytes   int            // of the messages in the queue; guarded by mu
	working bool           // whether the goroutine runs; guarded by mu
	closed  bool           // guarded by mu
	resting time.Time      // nothing is queued before this time; guarded by mu
	wg      sync.WaitGroup // waits for the goroutine
}

// A note is a message in the queue.
type note struct {
	channel string
	message []byte // JSON

	claim *claim // nil when nobody waits for the answer
}

// A claim is what a message needs that Redis may refuse: because it was sent before with the same
// clientId, or because the channel is slow.
type claim struct {
	sent, paced    string        // keys: of the answer to the clientId, and of the sender's pause
	remember, slow time.Duration // how long each is kept; 0 for no clientId, and for a channel that is not slow
	answer         string        // what the sender gets if the message is accepted
	done           chan result   // capacity 1
}

// A result is Redis's answer to a claim.
type result struct {
	verdict
	err error
}

func newJournal(rdb redis.UniversalClient, cfg Config) *journal { return &journal{rdb: rdb, cfg: cfg} }

// noteOf encodes a message for the queue.
func noteOf(m *Message) *note {
	return &note{channel: m.Channel, message: m.AppendJSON(make([]byte, 0, 192+len(m.Text)))}
}

// keeps reports whether there is a history.
func (j *journal) keeps() bool { return j.rdb != nil && j.cfg.HistoryLength > 0 }

// write queues a message for the history and does not wait.
func (j *journal) write(m *Message) {
	if !j.keeps() {
		return
	}
	if err := j.put(noteOf(m)); err != nil && !errors.Is(err, errAway) {
		j.cfg.Report(err)
	}
}

// claim asks Redis whether a message may be sent, and waits at most Config.RedisTimeout. If it may,
// it is in the history. An error means that there is no answer; Redis may still accept the message
// later.
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

// put queues an entry, and starts the goroutine if it does not run.
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

// work writes the queue in batches until it is empty.
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
			j.cfg.Report(fmt.Errorf("chat: write messages to the history: %w", err))
		}
	}
}

// send writes a batch in one round trip. Entries without a claim share a call with others of their
// channel; each claim has a call of its own. The messages of a channel stay in order.
func (j *journal) send(batch []*note) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTime)
	defer cancel()
	length, age := max(0, j.cfg.HistoryLength), j.cfg.HistoryAge.Milliseconds()
	var calls []*redisx.Call
	claims := map[*redisx.Call]*claim{}
	shared := map[string]*redisx.Call{} // by channel: calls that further entries may join
	for _, n := range batch {
		call := shared[n.channel]
		if c := n.claim; c != nil {
			call = &redisx.Call{
				Script: sayScript, Keys: []string{keys.ChatHistory(n.channel), c.sent, c.paced},
				Args: []any{length, age, c.remember.Milliseconds(), c.slow.Milliseconds(), c.answer},
			}
			calls, claims[call] = append(calls, call), c
			delete(shared, n.channel) // entries behind the claim must not be written before it
		} else if call == nil {
			call = &redisx.Call{Script: sayScript, Keys: []string{keys.ChatHistory(n.channel)}, Args: []any{length, age}}
			calls = append(calls, call)
			shared[n.channel] = call
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

// readVerdict reads the reply of say.lua.
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
	return v, fmt.Errorf("chat: unexpected reply %q", reply)
}

// text returns the receipt in the form in which Redis keeps it: id, space, Unix ms.
func (r Receipt) text() string { return r.ID + " " + strconv.FormatInt(r.At, 10) }

// readReceipt is the inverse of text.
func readReceipt(text string) (*Receipt, error) {
	id, at, ok := strings.Cut(text, " ")
	n, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil {
		return nil, fmt.Errorf("chat: stored answer %q is not a receipt", text)
	}
	return &Receipt{ID: id, At: n}, nil
}

// close refuses further messages and waits until the queue is written.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.wg.Wait()
}
