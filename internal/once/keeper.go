package once

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	maxAnswer   = 4 << 10         // bytes of an answer that is recorded, where the rule says nothing
	keepRefusal = 2 * time.Minute // how long a refusal is recorded, at most

	// holdMargin is how much longer than a handler may take a holder counts as alive.
	holdMargin = time.Second

	// localPatience is how long an event that works without Redis waits for Redis, latePatience how
	// long it waits when it is about to be refused, and pauseAfterFailure for how long Redis is not
	// asked again for such events.
	localPatience     = 250 * time.Millisecond
	latePatience      = 2 * time.Second
	pauseAfterFailure = 500 * time.Millisecond

	// A repeat asks again after firstPoll, then after twice as long, and at last each lastPoll.
	firstPoll, lastPoll = 5 * time.Millisecond, 100 * time.Millisecond
)

// Config configures a Keeper. The zero value works.
type Config struct {
	// Timeout is how long a handler may take; 0 means 5 s. It is the same on all nodes.
	Timeout time.Duration
	// Report receives the errors of work in the background; may be nil. It must not block.
	Report func(error)
	// Now is the clock of the memory; nil means time.Now.
	Now func() time.Time
}

// A Keeper keeps the records of events that are done once. It is safe for concurrent use.
type Keeper struct {
	cfg     Config
	rdb     redis.UniversalClient // nil: only this node remembers
	scripts *redisx.ScriptBatcher
	memory  *memory
	writer  *writer

	tokenPrefix string        // identifies this process
	tokens      atomic.Uint64 // how many were made
	pausedUntil atomic.Int64  // Unix ns
}

// New makes a Keeper whose records are in rdb. The caller must Close it. With rdb nil, only this
// node's memory knows what was done.
func New(rdb redis.UniversalClient, cfg Config) *Keeper {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{cfg: cfg, rdb: rdb, memory: newMemory(cfg.Now), tokenPrefix: rand.Text()[:16] + "."}
	if rdb != nil {
		k.scripts = redisx.NewScriptBatcher(rdb)
		k.writer = &writer{rdb: rdb, report: cfg.Report}
	}
	return k
}

// Close waits until all answers are recorded, or recording them has failed.
func (k *Keeper) Close() {
	if k.writer != nil {
		k.writer.closeAndDrain()
	}
}

// An Event is one event with an idempotency key.
type Event struct {
	UserID, Route string
	Rule          *event.OnceRule
	Request       event.Request

	// Spend charges the limits of the event, in a script that looks at the record first and claims
	// it. found is NotLooked when the script could not do that. The error says why the event is
	// refused. nil: nothing limits the event.
	Spend func(ctx context.Context, look record.Look) (found record.Found, err error)
	// Serve calls the handler, which appends the answer's JSON to dst.
	Serve func(ctx context.Context, dst []byte) (out []byte, err error)
	// Outcome asks the feature, as event.OnceRule's does; nil when it can not tell.
	Outcome func(ctx context.Context, dst []byte) (out []byte, isDone bool, err error)
	// Refused is why the event may not be done; nil when it may. A repeat that has an answer gets it
	// nevertheless.
	Refused error
}

// errConflict refuses another payload under the same key.
var errConflict = fault.ErrConflict.With("field", "idempotencyKey")

// errNotKnown refuses a repeat of an event of which nobody knows whether it was done.
var errNotKnown = fault.ErrTimeout.With("reason", "what became of the first request is not known")

// Do does an event once, and appends its answer to dst. The error is that of the handler or of
// Spend; a Replayed when the event was refused before; CONFLICT; LOCKED while another holder is at
// it; TIMEOUT when it is not known what became of it; UNAVAILABLE when Redis can not be asked.
func (k *Keeper) Do(ctx context.Context, e *Event, dst []byte) (out []byte, err error) {
	c := &event.Claim{
		Request: e.Request, Keep: e.Rule.Keep,
		Record: keys.Once(e.Route, e.Request.Beside, e.UserID, e.Request.Key),
		Token:  k.tokenPrefix + strconv.FormatUint(k.tokens.Add(1), 36),
	}
	for {
		r, isFirst, known, isKnown := k.memory.startRun(c)
		if isFirst {
			a := attempt{Keeper: k, event: e, claim: c, dst: dst}
			defer func() { k.memory.finishRun(c.Record, r, a.recorded) }()
			switch {
			case !isKnown:
			case known.digest != c.Digest:
				return dst, errConflict
			case known.isDone:
				return a.askUnkept(ctx)
			case known.answer == "":
				c.IsUncertain = true
			default:
				a.recorded = known.answer
				return appendAnswer(dst, known.answer)
			}
			return a.performEvent(ctx)
		}
		if r.digest != c.Digest {
			return dst, errConflict
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return dst, lockedFor(lastPoll)
		}
		if r.answer != "" {
			return appendAnswer(dst, r.answer)
		}
	}
}

// appendAnswer appends a recorded answer to dst. A refusal is returned as an error.
func appendAnswer(dst []byte, text string) ([]byte, error) {
	data, err := parseAnswer(text)
	return append(dst, data...), err
}

// lockedFor refuses a repeat while another holder is at its event, which counts as dead after left.
func lockedFor(left time.Duration) error {
	return fault.ErrLocked.With("retryAfterMs", max(left, lastPoll).Milliseconds())
}

// An attempt is one try to do an event. On this node there is one at a time for each record.
type attempt struct {
	*Keeper
	event     *Event
	claim     *event.Claim
	dst       []byte
	recorded  string // the answer, once it is known; "" when none is recorded
	isCharged bool   // the limits were charged, and did not look at the record
	isLost    bool   // the handler's script found a record that stands in the way
}

// performEvent looks at the record until it is clear what is to be done, and does it.
func (a *attempt) performEvent(ctx context.Context) ([]byte, error) {
	poll, left := firstPoll, time.Duration(0)
	for {
		found, err := a.lookAndSpend(ctx, a.lookFor())
		switch {
		case found.State == record.Answered:
			a.recorded = found.Answer
			return appendAnswer(a.dst, found.Answer)
		case found.State == record.Conflict:
			return a.dst, errConflict
		case found.State == record.Unkept:
			return a.askUnkept(ctx)
		case found.State == record.Lost:
			return a.dst, errNotKnown
		case found.State == record.Held:
			if left = found.Left; !sleepUnlessDone(ctx, poll) {
				return a.dst, lockedFor(left)
			}
			poll = min(2*poll, lastPoll)
			continue
		case left > 0 && ctx.Err() != nil: // it ended while we asked again
			return a.dst, lockedFor(left)
		case err != nil:
			return a.dst, err
		}
		a.claim.IsUncertain = a.claim.IsUncertain || found.State == record.Taken
		out, err := a.serveClaimed(ctx, found.State)
		if isLost(err) && (a.looksLater() || sleepUnlessDone(ctx, poll)) {
			a.isLost = true
			continue
		}
		return out, err
	}
}

// looksLater tells that the handler's script looks at the record, so that nobody need look before.
func (a *attempt) looksLater() bool { return a.event.Rule.InOneScript && !a.isLost }

// sleepUnlessDone waits, and reports false when ctx ended first.
func sleepUnlessDone(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lookAndSpend spends the limits, and looks at the record and claims it. Where the script of the
// limits did not do that, it is a call of its own. The error says why the event can not be served;
// the record may have an answer nevertheless.
func (a *attempt) lookAndSpend(ctx context.Context, look record.Look) (found record.Found, err error) {
	err = a.event.Refused
	if err == nil && a.event.Spend != nil && !a.isCharged {
		found, err = a.event.Spend(ctx, look)
		a.isCharged = err == nil && found.State == record.NotLooked
	}
	if found.State != record.NotLooked || a.rdb == nil || err == nil && a.looksLater() {
		return found, err
	}
	look.TakeDead = look.TakeDead && err == nil
	found, lookErr := a.lookAlone(ctx, look, err == nil)
	switch {
	case err != nil:
		if a.event.Refused == nil {
			a.dropLateClaim()
		}
		if found.State == record.Lost { // it is refused, whatever became of it
			found.State = record.Missing
		}
		return found, err
	case lookErr == nil || a.event.Rule.WorksWithoutRedis:
		return found, nil
	}
	a.dropLateClaim()
	feature, _, _ := strings.Cut(a.event.Route, ":")
	if redisx.Unavailable(lookErr) || ctx.Err() != nil {
		lookErr = fault.Unavailable(feature, redisx.RetryAfter, lookErr)
	}
	return found, lookErr
}

// dropLateClaim ends the claim of a script that was sent and did not answer in time: it may have
// claimed, or have taken the claim of a dead holder, of whose event the feature must still be
// asked.
func (a *attempt) dropLateClaim() {
	if a.event.Outcome != nil {
		a.settleClaim(record.GiveUp, "")
	} else {
		a.settleClaim(record.Release, "")
	}
}

// lookAlone is record.LookAlone, with a short patience for events that work without Redis.
func (a *attempt) lookAlone(ctx context.Context, look record.Look, mayClaim bool) (record.Found, error) {
	if !a.event.Rule.WorksWithoutRedis {
		return record.LookAlone(ctx, a.scripts, look, mayClaim)
	}
	if time.Now().UnixNano() < a.pausedUntil.Load() {
		return record.Found{}, redisx.ErrBreakerOpen
	}
	ctx, cancel := context.WithTimeout(ctx, localPatience)
	defer cancel()
	found, err := record.LookAlone(ctx, a.scripts, look, mayClaim)
	if err != nil {
		a.pausedUntil.Store(time.Now().Add(pauseAfterFailure).UnixNano())
	}
	return found, err
}

// serveClaimed does the event, for which this attempt has the claim or which needs none, and
// records the answer. found is what the look at the record said, NotLooked when Redis did not say
// it.
func (a *attempt) serveClaimed(ctx context.Context, found record.State) (out []byte, err error) {
	hasClaim := !a.looksLater() || found == record.Claimed || found == record.Mine || found == record.Taken
	ctx = event.WithClaim(ctx, a.claim)
	if a.claim.IsUncertain {
		switch {
		case a.event.Outcome != nil:
			out, isDone, err := a.event.Outcome(ctx, a.dst)
			if err != nil {
				a.giveUp()
				return a.dst, err
			}
			if isDone {
				a.recordAnswer("+" + string(out[len(a.dst):]))
				return out, nil
			}
		case !a.event.Rule.CanRepeat:
			a.giveUp()
			return a.dst, errNotKnown
		}
	}
	out, err = a.event.Serve(ctx, a.dst)
	if err == nil {
		a.recordAnswer("+" + string(out[len(a.dst):]))
		return out, nil
	}
	if found == record.NotLooked {
		switch found, e := a.lookLate(ctx); {
		case e != nil:
		case found.State == record.Answered:
			a.recorded = found.Answer
			return appendAnswer(a.dst, found.Answer)
		case found.State == record.Conflict:
			return a.dst, errConflict
		case found.State == record.Unkept:
			return a.askUnkept(ctx)
		}
	}
	var replayed *Replayed
	f := fault.Of(err)
	switch {
	case errors.As(err, &replayed): // the feature's script found it
		a.claim.MarkRecorded()
	case isOutcomeUnknown(f.Code):
		a.giveUp()
		return out, err
	case a.event.Rule.IsPassing(f.Code):
		if hasClaim {
			a.releaseClaim(f.Code)
		}
		return out, err
	}
	if text, e := json.Marshal(f); e == nil {
		a.recordAnswer("-" + string(text))
	}
	return out, err
}

// lookLate looks once more for an event that was refused before Redis had said whether it was
// answered: the repeat of a message that was said must not be refused because the player has not
// joined its channel on this node yet.
func (a *attempt) lookLate(ctx context.Context) (record.Found, error) {
	if a.rdb == nil {
		return record.Found{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, latePatience)
	defer cancel()
	return record.LookAlone(ctx, a.scripts, a.lookFor(), false)
}

// lookFor returns the look at the record of this event.
func (a *attempt) lookFor() record.Look {
	return record.Look{
		Key: a.claim.Record, Token: a.claim.Token, Digest: a.claim.Digest, Keep: a.claim.Keep,
		Unclaimed: a.looksLater(), Hold: a.cfg.Timeout + holdMargin, TakeDead: a.event.Rule.CanRepeat || a.event.Outcome != nil,
	}
}

// isOutcomeUnknown reports whether an event that failed with this code may have been done.
func isOutcomeUnknown(code string) bool {
	return code == fault.ErrUnavailable.Code || code == fault.ErrTimeout.Code || code == fault.ErrInternal.Code
}

// askUnkept asks the feature for an answer that was too long to be kept.
func (a *attempt) askUnkept(ctx context.Context) ([]byte, error) {
	if a.event.Outcome == nil {
		return a.dst, errNotKnown
	}
	a.claim.IsUncertain = true
	out, isDone, err := a.event.Outcome(event.WithClaim(ctx, a.claim), a.dst)
	if err == nil && !isDone {
		err = errNotKnown
	}
	return out, err
}

// recordAnswer records an answer here, and in Redis unless the feature's script did.
func (a *attempt) recordAnswer(answer string) {
	a.recorded = answer
	most := cmp.Or(a.event.Rule.MaxAnswer, maxAnswer)
	if len(answer) <= most {
		a.memory.rememberEvent(a.claim.Record, remembered{digest: a.claim.Digest, answer: answer, until: a.cfg.Now().Add(a.keepAnswer(answer))})
	} else {
		a.recorded = ""
		answer = answer[:most+1] // Redis sees that it is too long
		a.memory.rememberEvent(a.claim.Record, remembered{digest: a.claim.Digest, isDone: true, until: a.cfg.Now().Add(a.claim.Keep)})
	}
	if !a.claim.IsRecorded() {
		a.settleClaim(record.Answer, answer)
	}
}

// keepAnswer returns how long an answer is kept.
func (a *attempt) keepAnswer(answer string) time.Duration {
	if answer[0] == '-' {
		return min(a.claim.Keep, keepRefusal)
	}
	return a.claim.Keep
}

// giveUp says that it is not known what became of the event.
func (a *attempt) giveUp() {
	a.memory.rememberEvent(a.claim.Record, remembered{digest: a.claim.Digest, until: a.cfg.Now().Add(a.claim.Keep)})
	a.settleClaim(record.GiveUp, "")
}

// releaseTimeout bounds how long an answer waits until its key is free again.
const releaseTimeout = 250 * time.Millisecond

// releaseClaim frees the key of a refusal that is not recorded. It does so before the player is
// answered, because a client that mends its payload may use the key again at once; only where
// Redis may be the cause of the refusal, it does so in the background.
func (a *attempt) releaseClaim(code string) {
	if a.writer == nil || code == fault.ErrUnavailable.Code {
		a.settleClaim(record.Release, "")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	call := a.settlement(a.claim.Keep, record.Release, "").Call()
	if redisx.RunScripts(ctx, a.writer.rdb, call); call.Err() != nil {
		a.settleClaim(record.Release, "")
	}
}

// settleClaim ends the claim in Redis, in the background.
func (a *attempt) settleClaim(how, answer string) {
	if a.writer == nil {
		return
	}
	keep := a.claim.Keep
	if how == record.Answer {
		keep = a.keepAnswer(answer)
	}
	a.writer.enqueueCall(a.settlement(keep, how, answer).Call(), len(answer))
}

// settlement returns how the claim ends in Redis.
func (a *attempt) settlement(keep time.Duration, how, answer string) record.Settlement {
	return record.Settlement{
		Key: a.claim.Record, Token: a.claim.Token, Digest: a.claim.Digest, Keep: keep, How: how, Answer: answer,
		MaxAnswer: cmp.Or(a.event.Rule.MaxAnswer, maxAnswer),
	}
}
