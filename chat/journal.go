package chat

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed say.lua
var sayLua string

var sayScript = redisx.NewScript(record.Functions + castlog.HistoryFunctions + sayLua)

// The reasons why a message is sent without asking Redis.
var (
	errRedisPaused = errors.New("chat: redis can not be used now")
	errRedisLate   = errors.New("chat: redis did not answer in time")
	errQueueFull   = errors.New("chat: too many messages wait to be written to the history")
)

// The bounds of the queue and of one round trip.
const (
	maxQueuedBytes    = 8 << 20
	maxBatchEntries   = 512
	batchTimeout      = time.Second
	pauseAfterFailure = 500 * time.Millisecond // for so long after a failure no message is queued
)

// A journal writes the messages of this node to Redis, in order. It has one queue, and one
// goroutine that runs only while the queue is not empty.
type journal struct {
	rdb redis.UniversalClient // nil: there is no history
	cfg Config

	mu           sync.Mutex
	queue        []*journalEntry // guarded by mu
	queuedBytes  int             // of the messages in the queue; guarded by mu
	sendingBytes int             // of the messages that are being written; guarded by mu
	unwritten    int64           // messages that Redis did not take; guarded by mu
	isWriting    bool            // whether the goroutine runs; guarded by mu
	isClosed     bool            // guarded by mu
	pausedUntil  time.Time       // nothing is queued before this time; guarded by mu
	writer       sync.WaitGroup  // waits for the goroutine
}

// A journalEntry is a message in the queue.
type journalEntry struct {
	channel string
	message []byte // JSON

	claim *claim // nil when nobody waits for the answer
}

// A claim is what a message needs that Redis may refuse: because it was sent before with the same
// idempotency key, or because the channel is slow.
type claim struct {
	keys         []string        // of say.lua, without the history
	onceArgs     []any           // of once.Args; four empty texts without an idempotency key
	slowInterval time.Duration   // how long the sender must wait; 0 when the channel is not slow
	done         chan claimReply // capacity 1
}

// newClaim returns the claim of a message that would be answered so. key is nil without an
// idempotency key.
func newClaim(key *event.Claim, answer Receipt, slowKey string, slowInterval time.Duration) *claim {
	c := &claim{keys: []string{slowKey}, onceArgs: []any{"", "", "", ""}, slowInterval: slowInterval, done: make(chan claimReply, 1)}
	if key != nil {
		c.keys, c.onceArgs = append(c.keys, key.Record), once.Args(key, answer.AppendJSON(nil))
	}
	return c
}

// A claimReply is Redis's answer to a claim.
type claimReply struct {
	claimOutcome
	err error
}

func newJournal(rdb redis.UniversalClient, cfg Config) *journal { return &journal{rdb: rdb, cfg: cfg} }

// stats returns what is not written.
func (j *journal) stats() HistoryStats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return HistoryStats{j.queuedBytes + j.sendingBytes, j.unwritten}
}

// newJournalEntry encodes a message for the queue.
func newJournalEntry(m *Message) *journalEntry {
	return &journalEntry{channel: m.Channel, message: m.AppendJSON(make([]byte, 0, 192+len(m.Text)))}
}

// keepsHistory reports whether there is a history.
func (j *journal) keepsHistory() bool { return j.rdb != nil && j.cfg.HistoryLength > 0 }

// writeMessage queues a message for the history and does not wait.
func (j *journal) writeMessage(m *Message) {
	if !j.keepsHistory() {
		return
	}
	if err := j.enqueueEntry(newJournalEntry(m)); err != nil && !errors.Is(err, errRedisPaused) {
		j.cfg.Report(err)
	}
}

// claimMessage asks Redis whether a message may be sent, and waits at most Config.RedisTimeout. If
// it may, it is in the history. An error means that there is no answer; Redis may still accept the
// message later.
func (j *journal) claimMessage(ctx context.Context, m *Message, key *event.Claim, slowKey string, slowInterval time.Duration) (claimOutcome, error) {
	if j.rdb == nil {
		return claimOutcome{}, errRedisPaused
	}
	entry := newJournalEntry(m)
	c := newClaim(key, Receipt{ID: m.ID, At: m.At}, slowKey, slowInterval)
	entry.claim = c
	if err := j.enqueueEntry(entry); err != nil {
		return claimOutcome{}, err
	}
	timeout := time.NewTimer(j.cfg.RedisTimeout)
	defer timeout.Stop()
	select {
	case reply := <-c.done:
		return reply.claimOutcome, reply.err
	case <-timeout.C:
		return claimOutcome{}, errRedisLate
	case <-ctx.Done():
		return claimOutcome{}, ctx.Err()
	}
}

// enqueueEntry queues an entry, and starts the goroutine if it does not run.
func (j *journal) enqueueEntry(entry *journalEntry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.isClosed, time.Now().Before(j.pausedUntil):
		j.unwritten++
		return errRedisPaused
	case j.queuedBytes+len(entry.message) > maxQueuedBytes:
		j.unwritten++
		return errQueueFull
	}
	j.queue = append(j.queue, entry)
	j.queuedBytes += len(entry.message)
	if !j.isWriting {
		j.isWriting = true
		j.writer.Go(j.writeQueued)
	}
	return nil
}

// writeQueued writes the queue in batches until it is empty.
func (j *journal) writeQueued() {
	for {
		j.mu.Lock()
		j.sendingBytes = 0
		batch := j.queue[:min(len(j.queue), maxBatchEntries)]
		j.queue = j.queue[len(batch):]
		if len(batch) == 0 {
			j.queue, j.isWriting = nil, false
			j.mu.Unlock()
			return
		}
		for _, entry := range batch {
			j.sendingBytes += len(entry.message)
		}
		j.queuedBytes -= j.sendingBytes
		j.mu.Unlock()
		if err := j.sendBatch(batch); err != nil {
			j.mu.Lock()
			j.pausedUntil = time.Now().Add(pauseAfterFailure)
			j.unwritten += int64(len(batch))
			j.mu.Unlock()
			j.cfg.Report(fmt.Errorf("chat: write messages to the history: %w", err))
		}
	}
}

// sendBatch writes a batch in one round trip. Entries without a claim share a call with others of
// their channel; each claim has a call of its own. The messages of a channel stay in order.
func (j *journal) sendBatch(batch []*journalEntry) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	length, age := max(0, j.cfg.HistoryLength), j.cfg.HistoryAge.Milliseconds()
	var calls []*redisx.Call
	claims := map[*redisx.Call]*claim{}
	shared := map[string]*redisx.Call{} // by channel: calls that further entries may join
	for _, entry := range batch {
		call := shared[entry.channel]
		if c := entry.claim; c != nil {
			call = &redisx.Call{
				Script: sayScript, Keys: append([]string{keys.ChatHistory(entry.channel)}, c.keys...),
				Args: append([]any{length, age, c.slowInterval.Milliseconds()}, c.onceArgs...),
			}
			calls, claims[call] = append(calls, call), c
			delete(shared, entry.channel) // entries behind the claim must not be written before it
		} else if call == nil {
			call = &redisx.Call{Script: sayScript, Keys: []string{keys.ChatHistory(entry.channel)}, Args: []any{length, age}}
			calls = append(calls, call)
			shared[entry.channel] = call
		}
		call.Args = append(call.Args, entry.message)
	}
	redisx.RunScripts(ctx, j.rdb, calls...)
	var failed error
	for _, call := range calls {
		outcome, err := parseOutcome(call)
		if call.Err() != nil { // and not because one stored answer cannot be read
			failed = err
		}
		if c := claims[call]; c != nil {
			c.done <- claimReply{outcome, err}
		}
	}
	return failed
}

// parseOutcome reads the reply of say.lua.
func parseOutcome(call *redisx.Call) (outcome claimOutcome, err error) {
	reply, err := call.StringSlice()
	if err != nil {
		return outcome, err
	}
	switch {
	case len(reply) == 1 && reply[0] == "said":
		return outcome, nil
	case len(reply) == 2 && reply[0] == "early":
		outcome.wait, err = parseWait(reply[1])
		return outcome, err
	case len(reply) > 0 && (reply[0] == "answer" || reply[0] == "lost"):
		outcome.once = reply
		return outcome, nil
	}
	return outcome, fmt.Errorf("chat: unexpected reply %q", reply)
}

// parseWait reads for how many ms a sender must wait.
func parseWait(text string) (time.Duration, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(max(1, ms)) * time.Millisecond, err
}

// closeAndDrain refuses further messages and waits until the queue is written.
func (j *journal) closeAndDrain() {
	j.mu.Lock()
	j.isClosed = true
	j.mu.Unlock()
	j.writer.Wait()
}
