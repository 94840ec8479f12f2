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
	maxBehind     = 100    // events of a player behind one that is refused
	maxRefusals   = 2      // of one event while the receiver takes others, before it may be parked early
	maxParkedNow  = 2000   // events that are parked early at one look
	maxContents   = 10_000 // events whose content is in the memory of one node
	maxInFlight   = 32
	maxWhileDown  = 2 // posts at a time to a receiver that takes nothing
	downAfter     = 5 // failures without a success between them
	readCount     = 500
	maxReads      = 20 // of readCount at one look
	leaseFor      = 5 * time.Second
	leaseReserve  = time.Second // before its end, the holder posts no more
	pollEvery     = 200 * time.Millisecond
	idleEvery     = time.Second // a look whether the lease is free, and at the totals
	redisTimeout  = 2 * time.Second
	stopTime      = time.Second // for posts that are under way when the node stops
	lineEvery     = time.Minute // log lines about parked events
	maxErrorBytes = 200         // of what is kept of a failure
	wakeEvery     = 30          // times Config.Retry
	rereadEvery   = time.Minute // what was read and is not removed, when Redis has other events than we
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
	retrying   int                 // those of them that are not the first of their event
	failures   int                 // without a success between them
	successes  int64               // posts that the receiver took
	isDown     bool                // the receiver takes nothing
	isDownTold bool                // and that was logged
	downToldAt time.Time           // when that was logged last
	downError  string              // why it took nothing
	wokenAt    time.Time           // when the failed events were last tried again at once
	totals     totals              // of all nodes
	unwritten  unwrittenTotal      // of all nodes
	sweeper    sweeper             // of the connections of dead nodes
	parkedLine suppressed          // log lines about parked events
	tries      map[string]tryState // of events that an earlier holder had tried, by place
	isBroken   bool                // it was logged that the stream can not be used
}

// A result is the outcome of a post.
type result struct {
	entry    *entry
	err      error // nil: delivered
	parksNow bool  // it holds up too many
}

// errNoContent means that Redis did not say what an event is: it was not posted.
var errNoContent = errors.New("webhooks: the event can not be read")

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
		entries, _, isMine, err := d.takeLease(ctx)
		if err == nil && isMine {
			d.cfg.Log.Info("this node delivers the webhooks")
			d.metrics.isActive.Set(1)
			d.deliverEvents(ctx, entries)
			d.metrics.isActive.Set(0)
			d.metrics.resetGauges()
		}
		d.observeUnwritten(ctx)
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
	d.queue, d.unsettled, d.failures, d.isDown, d.isDownTold, d.retrying = newQueue(), nil, 0, false, false, 0
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
			d.observeUnwritten(ctx)
			d.logDown()
			d.parkEarly()
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

// takeLease takes or renews the lease, and reads up to readCount events. total is how many wait,
// read or not. isMine is false when another node has the lease.
func (d *Dispatcher) takeLease(ctx context.Context) (entries []redis.XMessage, total int64, isMine bool, err error) {
	begun := time.Now()
	err = d.withRedis(ctx, func(ctx context.Context) error {
		reply, err := takeScript.Do(ctx, d.cfg.Redis, []string{keys.WebhookLease, keys.Webhooks}, d.token, leaseFor.Milliseconds(), d.after, readCount).Slice()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return err
		}
		isMine = true
		total, _ = reply[0].(int64)
		list, _ := reply[1].([]any)
		entries = parseEntries(list)
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
	return entries, total, isMine, err
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

// readMore renews the lease and reads the events that are new. All that wait are known to the node,
// so that those which fail hold up none but those of their players. It returns false when another
// node has the lease.
func (d *Dispatcher) readMore(ctx context.Context) bool {
	for range maxReads {
		entries, total, isMine, err := d.takeLease(ctx)
		if err != nil { // the lease runs out when that lasts
			d.after = "0" // Redis may have given events whose answer was lost
			return true
		}
		if !isMine {
			return false
		}
		d.queueEntries(entries)
		switch {
		case len(entries) == readCount:
		case d.after != ">":
			d.after = ">"
		case total != int64(d.queue.size) && time.Since(d.rereadAt) > rereadEvery:
			// Redis may have failed over, and forgotten that some were removed, or given some to nobody.
			d.rereadAt, d.after = time.Now(), "0"
		default:
			d.forgetTries(ctx)
			return true
		}
	}
	return true
}

// forgetTries removes the tries of events that are gone, which a node may leave that was slow to
// notice the end of its lease. All events that wait are in the queue.
func (d *Dispatcher) forgetTries(ctx context.Context) {
	var gone []string
	for place := range d.tries {
		gone = append(gone, place)
	}
	if len(gone) == 0 || d.withRedis(ctx, func(ctx context.Context) error { return d.cfg.Redis.HDel(ctx, keys.WebhookTries, gone...).Err() }) == nil {
		d.tries = nil
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
		fields := textFields(m.Values)
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
// again. Events that failed before have at most half of the posts: new ones do not wait for them.
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
		if e.tries > 0 {
			if d.retrying >= most/2 { // new ones are due before, so there are none
				d.queue.putBack(e)
				return idleEvery
			}
			d.retrying++
		}
		d.inFlight++
		go func() { d.results <- result{entry: e, err: d.deliverEntry(ctx, e)} }()
	}
}

// deliverEntry posts an event, whose content it reads from Redis where it is not in memory.
func (d *Dispatcher) deliverEntry(ctx context.Context, e *entry) error {
	all, err := d.readContents(ctx, e)
	if err != nil || all[0] == nil { // one that is not there was removed: nothing is left to do
		return err
	}
	return d.postEvent(ctx, all[0])
}

// readContents returns the contents of events, from Redis where they are not in memory; nil for an
// event that was removed.
func (d *Dispatcher) readContents(ctx context.Context, all ...*entry) (contents []*Event, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	contents = make([]*Event, len(all))
	reads := make([]*redis.XMessageSliceCmd, len(all))
	pipe := d.cfg.Redis.Pipeline()
	for i, e := range all {
		if e.hasContent {
			contents[i] = &e.event.Event
			continue
		}
		reads[i] = pipe.XRange(ctx, keys.Webhooks, e.event.place, e.event.place)
	}
	if pipe.Len() == 0 {
		return contents, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoContent, err)
	}
	for i, r := range reads {
		if r != nil && len(r.Val()) > 0 {
			e := parseWaiting(r.Val()[0].ID, textFields(r.Val()[0].Values))
			contents[i] = &e.Event
		}
	}
	return contents, nil
}

// textFields are the fields of an entry.
func textFields(values map[string]any) map[string]string {
	fields := make(map[string]string, len(values))
	for name, value := range values {
		fields[name], _ = value.(string)
	}
	return fields
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
		if r.entry.tries > 0 {
			d.retrying--
		}
		switch {
		case errors.Is(r.err, errNoContent): // it was not tried
			r.entry.due = time.Now().Add(idleEvery)
			d.queue.putBack(r.entry)
		case r.err == nil:
			d.unsettled = append(d.unsettled, r)
			d.noteSuccess()
		default:
			d.unsettled = append(d.unsettled, r)
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
	d.successes++
	if !d.isDown {
		return
	}
	d.isDown = false
	if d.isDownTold {
		d.isDownTold = false
		d.cfg.Log.Info("the receiver takes webhooks again", zap.Int("waiting", d.queue.size))
	}
	if time.Since(d.wokenAt) > wakeEvery*d.cfg.Retry {
		d.wokenAt = time.Now()
		d.queue.makeAllDue(d.wokenAt)
	}
}

// noteFailure notes that the receiver did not take an event, and when it is posted again.
func (d *Dispatcher) noteFailure(r result) {
	e := r.entry
	e.tries++
	e.lastError = shortenError(r.err)
	if d.successes > e.successes {
		e.refusals++
		e.successes = d.successes
	}
	e.due = time.Now().Add(addJitter(retryDelay(d.cfg.Retry, e.tries)))
	if d.queue.contents > maxContents/2 {
		d.queue.dropContent(e)
	}
	if d.failures++; d.failures == downAfter && !d.isDown {
		d.isDown, d.downError = true, e.lastError
		d.logDown()
	}
}

// logDown logs that the receiver takes nothing, at most once a minute: a receiver that takes some
// events and refuses others looks so again and again.
func (d *Dispatcher) logDown() {
	if !d.isDown || d.isDownTold || time.Since(d.downToldAt) < lineEvery {
		return
	}
	d.isDownTold, d.downToldAt = true, time.Now()
	d.cfg.Log.Warn("the receiver takes no webhooks: they wait", zap.String("error", d.downError), zap.Int("waiting", d.queue.size))
}

// shortenError returns the beginning of an error's text.
func shortenError(err error) string {
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxErrorBytes)], "")
}

// retryDelay is how long an event waits that failed so often: four times as long each time.
func retryDelay(first time.Duration, tries int) time.Duration { return first << (2 * (tries - 1)) }

// mustPark reports whether an event that failed makes way for those behind it.
func (d *Dispatcher) mustPark(e *entry) bool {
	return e.tries >= maxTries || e.refusals >= maxRefusals && d.queue.countBehind(e) >= maxBehind
}

// parkEarly parks events that the receiver refuses while it takes others: those with too many
// events of their player behind them; and the oldest ones, while those that failed and those behind
// them are more than half of what may wait, so that there is always room for the events of others.
func (d *Dispatcher) parkEarly() {
	all := d.queue.takeFailed(maxParkedNow, d.mustPark)
	if most := d.cfg.Outbox.most / 2; d.queue.size > most {
		if tooMany := d.queue.countHeldUp() - most; tooMany > 0 {
			all = append(all, d.queue.takeFailed(min(tooMany, maxParkedNow), func(e *entry) bool { return e.refusals >= maxRefusals })...)
		}
	}
	for _, e := range all {
		d.unsettled = append(d.unsettled, result{entry: e, err: errors.New(e.lastError), parksNow: true})
	}
}

// settleOutcomes tells Redis what became of events. What Redis does not take is told again later:
// until then, the next events of their players wait.
func (d *Dispatcher) settleOutcomes(ctx context.Context) error {
	if len(d.unsettled) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	var parked []*entry
	_, err := d.cfg.Redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		var places []string
		for _, r := range d.unsettled {
			switch e := r.entry; {
			case r.err == nil:
				places = append(places, e.event.place)
			case r.parksNow || d.mustPark(e):
				parked = append(parked, e)
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
	for _, e := range parked {
		d.queue.removeEntry(e)
	}
	for _, r := range d.unsettled {
		if r.err == nil {
			d.queue.removeEntry(r.entry)
		} else if d.queue.hasPlace(r.entry.event.place) {
			d.queue.putBack(r.entry)
		}
	}
	d.unsettled = d.unsettled[:0]
	return nil
}

// parkAll parks events.
func (d *Dispatcher) parkAll(ctx context.Context, all []*entry) error {
	contents, err := d.readContents(ctx, all...)
	if err != nil {
		return err
	}
	var calls []*redisx.Call
	for i, e := range all {
		if contents[i] != nil {
			calls = append(calls, parkCall(e, contents[i]))
		}
	}
	redisx.RunScripts(ctx, d.cfg.Redis, calls...)
	for _, c := range calls {
		n, err := c.Int()
		if err != nil {
			return err
		}
		d.metrics.parkings.Add(float64(n))
	}
	for i, e := range all {
		if c := contents[i]; c != nil {
			if isFirst, others := d.parkedLine.countLine(time.Now(), lineEvery); isFirst {
				d.cfg.Log.Warn("webhook parked: its player's next ones go on", zap.String("id", c.ID), zap.String("type", c.Type),
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
