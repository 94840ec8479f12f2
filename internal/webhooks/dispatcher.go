package webhooks

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	group         = "gateways" // of consumers; take.lua has it too
	maxTries      = 10         // deliveries of one event
	maxParked     = 10_000
	maxBehind     = 100    // events of a player behind one that fails alone
	maxInMemory   = 10_000 // events of one node
	maxInFlight   = 32
	maxWhileDown  = 2 // posts at a time to a receiver that takes nothing
	downAfter     = 5 // failures without a success between them
	readCount     = 500
	leaseFor      = 5 * time.Second
	leaseReserve  = time.Second // before its end, the holder posts no more
	pollEvery     = 200 * time.Millisecond
	idleEvery     = time.Second // a look whether the lease is free, and at the totals
	redisTimeout  = 2 * time.Second
	stopTime      = time.Second // for posts that are under way when the node stops
	lineEvery     = time.Minute // log lines about parked events
	maxErrorBytes = 200         // of what is kept of a failure
	wakeEvery     = 30          // times Config.Retry
	rereadEvery   = time.Minute // what was read and is not removed
	publishEvery  = time.Hour   // the settings
)

var (
	//go:embed take.lua
	takeLua string
	//go:embed park.lua
	parkLua string

	takeScript = redisx.NewScript(takeLua).WithoutRetry() // a repeat would read the next events
	parkScript = redisx.NewScript(parkLua)
)

// Config says how events are delivered. Post, Redis and Outbox are required.
type Config struct {
	Redis  redis.UniversalClient
	Outbox *Outbox
	// Post sends a body to the receiver and returns the status of its answer.
	Post func(ctx context.Context, body []byte) (status int, err error)
	// Retry is how long an event waits before its second delivery; each later time is four times
	// longer. 0 means 1 s: then ten deliveries take a day.
	Retry time.Duration
	Log   *zap.Logger
}

// A Dispatcher delivers events while it has the lease.
type Dispatcher struct {
	cfg     Config
	token   string
	metrics *metrics

	// These belong to Run.
	leaseUntil time.Time
	after      string              // '>', or behind which place to read what was read before
	rereadAt   time.Time           // when it was last read again
	published  time.Time           // when the settings were
	queue      *queue              // in memory
	unsettled  []result            // outcomes that Redis does not know yet
	results    chan result         // of posts
	inFlight   int                 // posts
	failures   int                 // without a success between them
	isDown     bool                // the receiver takes nothing
	wokenAt    time.Time           // when the failed events were last tried again at once
	totals     totals              // of all nodes
	sweeper    sweeper             // of the connections of dead nodes
	parkedLine suppressed          // log lines about parked events
	tries      map[string]tryState // of events that an earlier holder had tried, by place
	isBroken   bool                // it was logged that the stream can not be used
}

// A result is the outcome of a post.
type result struct {
	entry *entry
	err   error // nil: delivered
}

// NewDispatcher makes a Dispatcher. Nothing runs yet.
func NewDispatcher(cfg Config) *Dispatcher {
	if cfg.Retry <= 0 {
		cfg.Retry = time.Second
	}
	return &Dispatcher{cfg: cfg, token: rand.Text(), metrics: newMetrics(), results: make(chan result, maxInFlight)}
}

// Run delivers until ctx ends, whenever this node has the lease.
func (d *Dispatcher) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		d.publishHourly(ctx)
		d.after = "0"
		entries, isMine, err := d.takeLease(ctx, readCount)
		if err == nil && isMine {
			d.cfg.Log.Info("this node delivers the webhooks")
			d.metrics.isActive.Set(1)
			d.deliverEvents(ctx, entries)
			d.metrics.isActive.Set(0)
			d.metrics.resetGauges()
		}
		sleepFor(ctx, idleEvery)
	}
	return nil
}

// publishHourly tells operators' commands which events are told, so that they know it while any
// node lives.
func (d *Dispatcher) publishHourly(ctx context.Context) {
	if time.Since(d.published) > publishEvery && d.withRedis(ctx, d.cfg.Outbox.publishSettings) == nil {
		d.published = time.Now()
	}
}

// sleepFor waits, at most until ctx ends.
func sleepFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// withRedis calls f with the time that Redis has.
func (d *Dispatcher) withRedis(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return f(ctx)
}

// deliverEvents delivers while this node has the lease, or until ctx ends. Posts that are under way
// then have a moment to end; those that are cut off are repeated by the next holder.
func (d *Dispatcher) deliverEvents(ctx context.Context, entries []redis.XMessage) {
	posting, stopPosting := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if time.Now().Before(d.leaseUntil) {
			cut := time.AfterFunc(min(stopTime, time.Until(d.leaseUntil)), stopPosting)
			defer cut.Stop()
		} else {
			stopPosting()
		}
		for ; d.inFlight > 0; d.inFlight-- { // what was delivered is removed, if Redis answers
			if r := <-d.results; r.err == nil {
				d.unsettled = append(d.unsettled, r)
			}
		}
		stopPosting()
		if !time.Now().Before(d.leaseUntil) { // failures are counted by the next holder, which may have removed the event
			d.unsettled = slices.DeleteFunc(d.unsettled, func(r result) bool { return r.err != nil })
		}
		_ = d.settleOutcomes(context.WithoutCancel(ctx))
		d.queue, d.unsettled, d.tries = nil, nil, nil
		if ctx.Err() != nil {
			d.releaseLease()
		}
	}()
	d.queue, d.unsettled, d.failures, d.isDown = newQueue(), nil, 0, false
	d.sweeper = sweeper{}
	if err := d.withRedis(ctx, d.loadTries); err != nil {
		return
	}
	d.queueEntries(entries)
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	idle := time.NewTicker(idleEvery)
	defer idle.Stop()
	for time.Now().Before(d.leaseUntil) {
		wait := d.postDue(posting)
		due := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			due.Stop()
			return
		case r := <-d.results:
			d.noteOutcomes(r)
			_ = d.settleOutcomes(ctx)
		case <-due.C:
		case <-idle.C:
			d.observeBacklog(ctx)
			d.publishHourly(ctx)
		case <-poll.C:
			_ = d.settleOutcomes(ctx)
			if !d.readMore(ctx) {
				due.Stop()
				return
			}
		}
		due.Stop()
	}
}

// releaseLease gives the lease back, so that another node takes it at once.
func (d *Dispatcher) releaseLease() {
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	if holder, err := d.cfg.Redis.Get(ctx, keys.WebhookLease).Result(); err == nil && holder == d.token {
		_ = d.cfg.Redis.Del(ctx, keys.WebhookLease).Err()
	}
}

// takeLease takes or renews the lease, and reads up to count events. isMine is false when another
// node has the lease.
func (d *Dispatcher) takeLease(ctx context.Context, count int) (entries []redis.XMessage, isMine bool, err error) {
	begun := time.Now()
	err = d.withRedis(ctx, func(ctx context.Context) error {
		reply, err := takeScript.Do(ctx, d.cfg.Redis, []string{keys.WebhookLease, keys.Webhooks}, d.token, leaseFor.Milliseconds(), d.after, count).Slice()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return err
		}
		isMine = true
		entries = parseEntries(reply)
		return nil
	})
	if isMine {
		d.leaseUntil = begun.Add(leaseFor - leaseReserve)
	}
	switch {
	case err == nil && d.isBroken:
		d.isBroken = false
		d.cfg.Log.Info("webhooks can be read again")
	case err != nil && !d.isBroken && ctx.Err() == nil && !redisx.Unavailable(err):
		d.isBroken = true // an outage has its own lines
		d.cfg.Log.Error("webhooks can not be read: they wait", zap.Error(err))
	}
	return entries, isMine, err
}

// parseEntries reads what XREADGROUP returned in a script. An entry that was removed has no fields.
func parseEntries(reply []any) []redis.XMessage {
	var all []redis.XMessage
	for _, r := range reply {
		pair, _ := r.([]any)
		if len(pair) == 0 {
			continue
		}
		m := redis.XMessage{Values: map[string]any{}}
		m.ID, _ = pair[0].(string)
		if len(pair) > 1 {
			list, _ := pair[1].([]any)
			for i := 0; i+1 < len(list); i += 2 {
				name, _ := list[i].(string)
				m.Values[name] = list[i+1]
			}
		}
		all = append(all, m)
	}
	return all
}

// readMore renews the lease and reads as many events as there is room for. It returns false when
// another node has the lease.
func (d *Dispatcher) readMore(ctx context.Context) bool {
	if time.Since(d.rereadAt) > rereadEvery { // a Redis that failed over may have forgotten that some were removed
		d.rereadAt, d.after = time.Now(), "0"
	}
	for {
		count := min(readCount, maxInMemory-d.queue.size)
		entries, isMine, err := d.takeLease(ctx, max(0, count))
		if err != nil { // the lease runs out when that lasts
			d.after = "0" // Redis may have given events whose answer was lost
			return true
		}
		if !isMine {
			return false
		}
		d.queueEntries(entries)
		if d.after != ">" && len(entries) == 0 && count > 0 {
			d.after = ">"
			continue
		}
		if len(entries) < count || count <= 0 {
			return true
		}
	}
}

// queueEntries puts events into the queue.
func (d *Dispatcher) queueEntries(entries []redis.XMessage) {
	for _, m := range entries {
		if d.after != ">" {
			d.after = m.ID
		}
		if d.queue.hasPlace(m.ID) {
			continue
		}
		fields := map[string]string{}
		for name, value := range m.Values {
			fields[name], _ = value.(string)
		}
		if len(fields) == 0 { // it was removed, and is only left in the list of what was read
			d.unsettled = append(d.unsettled, result{entry: &entry{event: waitingEvent{place: m.ID}}})
			continue
		}
		e := &entry{event: parseWaiting(m.ID, fields)}
		if t, isTried := d.tries[m.ID]; isTried {
			e.tries, e.lastError = t.tries, t.lastError
			e.due = time.Now().Add(time.Until(t.due))
			delete(d.tries, m.ID)
		}
		d.queue.addEntry(e)
	}
}

// postDue posts the events that are due and whose turn it is, and returns after how long to look
// again.
func (d *Dispatcher) postDue(ctx context.Context) time.Duration {
	for {
		most := maxInFlight
		if d.isDown {
			most = maxWhileDown
		}
		if d.inFlight >= most || len(d.unsettled) > maxInFlight || !time.Now().Before(d.leaseUntil) {
			return idleEvery
		}
		e, wait := d.queue.takeDue(time.Now())
		if e == nil {
			return wait
		}
		d.inFlight++
		go func() { d.results <- result{e, d.postEvent(ctx, &e.event.Event)} }()
	}
}

// postEvent posts one event.
func (d *Dispatcher) postEvent(ctx context.Context, e *Event) error {
	begun := time.Now()
	status, err := d.cfg.Post(ctx, e.encodeBody())
	d.metrics.seconds.Observe(time.Since(begun).Seconds())
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		d.metrics.deliveries.WithLabelValues("failed").Inc()
		return err
	case status < 200 || status > 299:
		d.metrics.deliveries.WithLabelValues("refused").Inc()
		return fmt.Errorf("status %d", status)
	}
	d.metrics.deliveries.WithLabelValues("ok").Inc()
	return nil
}

// noteOutcomes notes the outcomes of posts, the one that has come and those that wait behind it.
func (d *Dispatcher) noteOutcomes(r result) {
	for {
		d.inFlight--
		d.unsettled = append(d.unsettled, r)
		if r.err == nil {
			d.noteSuccess()
		} else {
			d.noteFailure(r)
		}
		select {
		case r = <-d.results:
		default:
			return
		}
	}
}

// noteSuccess notes that the receiver takes events.
func (d *Dispatcher) noteSuccess() {
	d.failures = 0
	if !d.isDown {
		return
	}
	d.isDown = false
	d.cfg.Log.Info("the receiver takes webhooks again", zap.Int("waiting", d.queue.size))
	if time.Since(d.wokenAt) > wakeEvery*d.cfg.Retry {
		d.wokenAt = time.Now()
		d.queue.makeAllDue()
	}
}

// noteFailure notes that the receiver did not take an event, and when it is posted again.
func (d *Dispatcher) noteFailure(r result) {
	e := r.entry
	e.tries++
	e.lastError = shortenError(r.err)
	e.due = time.Now().Add(addJitter(d.cfg.Retry << (2 * (e.tries - 1))))
	if d.failures++; d.failures == downAfter && !d.isDown {
		d.isDown = true
		d.cfg.Log.Warn("the receiver takes no webhooks: they wait", zap.String("error", e.lastError), zap.Int("waiting", d.queue.size))
	}
}

// shortenError returns the beginning of an error's text.
func shortenError(err error) string {
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxErrorBytes)], "")
}

// mustPark reports whether an event that failed makes way for those behind it.
func (d *Dispatcher) mustPark(e *entry) bool {
	return e.tries >= maxTries || !d.isDown && e.tries > 1 && d.queue.countBehind(e) >= maxBehind
}

// settleOutcomes tells Redis what became of events. What Redis does not take is told again later:
// until then, the next events of their players wait.
func (d *Dispatcher) settleOutcomes(ctx context.Context) error {
	if len(d.unsettled) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	var parked []result
	_, err := d.cfg.Redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		var places []string
		for _, r := range d.unsettled {
			switch e := r.entry; {
			case r.err == nil:
				places = append(places, e.event.place)
			case d.mustPark(e):
				parked = append(parked, r)
			default:
				p.HSet(ctx, keys.WebhookTries, e.event.place, tryState{e.tries, e.due, e.lastError}.encodeState())
			}
		}
		if len(places) > 0 {
			p.XAck(ctx, keys.Webhooks, group, places...)
			p.XDel(ctx, keys.Webhooks, places...)
			p.HDel(ctx, keys.WebhookTries, places...)
		}
		return nil
	})
	if err == nil {
		err = d.parkAll(ctx, parked)
	}
	if err != nil {
		return err
	}
	for _, r := range d.unsettled {
		if r.err == nil || slices.ContainsFunc(parked, func(p result) bool { return p.entry == r.entry }) {
			d.queue.removeEntry(r.entry)
		} else {
			d.queue.putBack(r.entry)
		}
	}
	d.unsettled = d.unsettled[:0]
	return nil
}

// parkAll parks events.
func (d *Dispatcher) parkAll(ctx context.Context, all []result) error {
	var calls []*redisx.Call
	for _, r := range all {
		calls = append(calls, d.parkCall(r.entry))
	}
	if len(calls) == 0 {
		return nil
	}
	redisx.RunScripts(ctx, d.cfg.Redis, calls...)
	for i, c := range calls {
		n, err := c.Int()
		if err != nil {
			return err
		}
		if e := all[i].entry; n == 1 {
			d.metrics.parkings.Inc()
			if isFirst, others := d.parkedLine.countLine(time.Now(), lineEvery); isFirst {
				d.cfg.Log.Warn("webhook parked: its player's next ones go on", zap.String("id", e.event.ID), zap.String("type", e.event.Type),
					zap.Int("tries", e.tries), zap.String("error", e.lastError), zap.Int("others", others))
			}
		}
	}
	return nil
}

// loadTries reads how often an earlier holder has posted the events that wait.
func (d *Dispatcher) loadTries(ctx context.Context) error {
	found, err := d.cfg.Redis.HGetAll(ctx, keys.WebhookTries).Result()
	if err != nil {
		return err
	}
	d.tries = map[string]tryState{}
	for place, text := range found {
		d.tries[place] = parseTryState(text)
	}
	return nil
}

// A tryState is what Redis knows of an event that failed.
type tryState struct {
	tries     int
	due       time.Time
	lastError string
}

// encodeState writes it as "<tries> <due, Unix ms> <error>".
func (t tryState) encodeState() string {
	return strconv.Itoa(t.tries) + " " + strconv.FormatInt(t.due.UnixMilli(), 10) + " " + t.lastError
}

func parseTryState(text string) tryState {
	tries, rest, _ := strings.Cut(text, " ")
	due, lastError, _ := strings.Cut(rest, " ")
	t := tryState{lastError: lastError}
	t.tries, _ = strconv.Atoi(tries)
	t.tries = min(max(0, t.tries), maxTries-1)
	ms, _ := strconv.ParseInt(due, 10, 64)
	t.due = time.UnixMilli(ms)
	return t
}
