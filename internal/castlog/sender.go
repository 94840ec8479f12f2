package castlog

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
)

// HistoryFunctions are the Lua functions about histories, to stand in front of a script, behind
// record.Functions. history.lua says what they take and return.
//
//go:embed history.lua
var HistoryFunctions string

//go:embed append.lua
var appendLua string

// What go-redis would repeat has an unknown outcome, which the sender must know of: the server that
// takes it may have been another one.
var appendScript = redisx.NewScript(record.Functions + HistoryFunctions + appendLua).WithoutRetry()

// Bounds of one call of the script.
const (
	maxCallCasts = 256
	maxCallBytes = 512 << 10
	callTimeout  = time.Second
	settleRetry  = 20 * time.Millisecond // while other nodes append again
	failureRetry = 50 * time.Millisecond
	// What waited during an outage is sent at about 5 MB a second, so that the members of other nodes
	// can take it.
	maxBacklogBytes = 128 << 10
	backlogPause    = 25 * time.Millisecond

	reportEvery   = 10 * time.Second // a failure that stays is reported so often
	listenersWait = 3 * time.Second
	connLife      = time.Minute            // then the pool may have the sender's connection dialled anew
	markEvery     = 500 * time.Millisecond // the position is published when there was nothing to cast
)

// The modes of the script.
const (
	modeNew   = ""
	modeAgain = "again"
	modeDone  = "done"
	modeBye   = "bye"
)

// sendUntilDone sends until ctx ends, and then what still waits, once.
func (l *Log) sendUntilDone(ctx context.Context) {
	mark := time.NewTicker(markEvery)
	defer mark.Stop()
	defer l.closeConn()
	l.publishMark(ctx)
	for {
		select {
		case <-l.wake.C():
			l.sendQueued(ctx)
		case <-l.markNow.C():
			l.publishMark(ctx)
		case <-mark.C:
			l.publishMark(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
			defer cancel()
			l.sendQueued(last)
			_, _ = l.callScript(last, modeBye, nil) // else it counts as alive for a while
			return
		}
	}
}

// publishMark tells the nodes the position, and the server that this node lives.
func (l *Log) publishMark(ctx context.Context) {
	l.sendQueued(ctx)
	for range 3 { // the server may have changed
		if len(l.takeUnconfirmed()) > 0 || l.sendBatch(ctx, nil) > 0 || l.isDoneAgain {
			return
		}
	}
}

// sendQueued sends what waits until nothing does, or ctx ends.
func (l *Log) sendQueued(ctx context.Context) {
	for {
		if len(l.takeUnconfirmed()) == 0 {
			return
		}
		l.waitForListeners(ctx)
		if time.Since(l.lastMark) > markEvery {
			_ = l.sendBatch(ctx, nil) // busy nodes call so too
		}
		batch := l.takeUnconfirmed() // not before: another server may want others first
		if len(batch) == 0 {
			return
		}
		wait := l.sendBatch(ctx, batch)
		if wait == 0 && l.isBacklog(batch) {
			wait = backlogPause
		}
		if wait == 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// isBacklog reports whether casts were delivered locally, in an outage, so that they are many and
// nobody waits for them.
func (l *Log) isBacklog(batch []*Pending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return batch[len(batch)-1].outcome.IsLocal
}

// takeUnconfirmed returns the casts of the next call.
func (l *Log) takeUnconfirmed() (batch []*Pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := 0
	for sequence := l.confirmed + 1; sequence <= l.newest && len(batch) < maxCallCasts && bytes < maxCallBytes; sequence++ {
		p := l.findKept(sequence)
		if p == nil { // it is not kept any more
			l.stats.lost.Add(1)
			l.confirmed, l.mayLack = sequence, true
			continue
		}
		if !l.isDoneAgain && len(batch) > 0 && sequence > l.againUntil {
			break
		}
		if p.outcome.IsLocal && bytes >= maxBacklogBytes {
			break
		}
		batch = append(batch, p)
		bytes += len(p.cast.Message)
	}
	return batch
}

// sendBatch makes one call, and returns how long to wait before the next.
func (l *Log) sendBatch(ctx context.Context, batch []*Pending) (wait time.Duration) {
	if len(batch) == 0 {
		l.lastMark = time.Now()
	}
	mode := modeNew
	if !l.isDoneAgain {
		mode = modeAgain
		if l.hasAppendedAgain() {
			mode, batch = modeDone, nil
		}
	}
	reply, err := l.callScript(ctx, mode, batch)
	if len(batch) > 0 && (err != nil || reply.status == "ok") {
		l.sentUntil = max(l.sentUntil, batch[len(batch)-1].sequence)
	}
	if err != nil {
		if ctx.Err() == nil && !redisx.Unavailable(err) && time.Since(l.lastReport) > reportEvery {
			l.lastReport = time.Now()
			l.cfg.Report(fmt.Errorf("castlog: append: %w", err))
		}
		return failureRetry
	}
	l.heard.noteEpoch(reply.position)
	if reply.missed != l.missed {
		if l.missed = reply.missed; reply.missed != "" && l.boundary != "" {
			l.stats.missed.Add(1)
			l.cfg.OnMissed()
		}
	}
	switch reply.status {
	case "boundary":
		l.beginAgain(reply)
	case "lacks":
		l.rewindTo(reply.last)
	case "settling", "stale":
		return settleRetry
	default:
		l.stats.dropped.Add(reply.dropped)
		l.confirmBatch(batch, reply, mode)
	}
	return 0
}

// hasAppendedAgain reports whether the server has what one before it may have had.
func (l *Log) hasAppendedAgain() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed >= min(l.againUntil, l.newest)
}

// beginAgain makes casts that a server before this one may have had be appended again.
func (l *Log) beginAgain(reply appendReply) {
	isFirst := l.boundary == ""
	l.boundary, l.forgotFrom, l.isDoneAgain = reply.boundary, reply.forgotFrom, false
	l.againUntil = l.sentUntil
	l.mu.Lock()
	l.isSettling = true
	l.mu.Unlock()
	if reply.last != "" || !isFirst {
		l.rewindTo(reply.last)
	}
}

// rewindTo makes the casts behind a sequence number be sent again, as far as they are kept.
func (l *Log) rewindTo(last string) {
	n, _ := strconv.ParseUint(last, 10, 64) // "" when the server does not know this node
	l.mu.Lock()
	defer l.mu.Unlock()
	if n >= l.confirmed {
		l.mayLack = l.confirmed < l.newest && last == ""
		return
	}
	oldest := l.newest + 1
	if len(l.kept) > 0 {
		oldest = l.kept[0].sequence
	}
	if oldest > n+1 {
		if l.mayLack = true; last != "" {
			l.stats.lost.Add(int64(min(oldest-1, l.confirmed) - n))
		}
		n = oldest - 1
	}
	l.confirmed = min(l.confirmed, n)
}

// confirmBatch notes what became of the casts of a call.
func (l *Log) confirmBatch(batch []*Pending, reply appendReply, mode string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case mode == modeDone:
		l.isDoneAgain = true
	case mode == modeNew && l.isSettling:
		l.noteSettled(reply.position.Number)
	}
	if len(batch) > 0 {
		l.mayLack = false
		l.confirmed = batch[len(batch)-1].sequence
	}
	wasFlagged := reply.endsOutage
	for i, p := range batch {
		outcome := reply.casts[i]
		reply.endsOutage = reply.endsOutage || p.outcome.IsLocal
		if mode == modeAgain && !p.confirmedAt.IsZero() && !outcome.wasThere {
			l.stats.again.Add(1)
		}
		switch {
		case outcome.isLateInStream:
			l.refuseCast(p, nil, nil)
		case outcome.refused != nil:
			l.refuseCast(p, outcome.refused, nil)
		case outcome.isUnknown:
			l.refuseCast(p, nil, ErrUnknown)
		default:
			l.confirmCast(p, Position{reply.position.Epoch, outcome.number}, outcome.receivers)
		}
		if outcome.historyFailure != "" {
			l.cfg.Report(fmt.Errorf("castlog: %s: %s", p.cast.History.Key, outcome.historyFailure))
		}
	}
	if len(batch) > 0 && mode == modeNew || l.confirmed == l.newest {
		l.isAway = false
	}
	if reply.endsOutage {
		l.outage = max(l.outage, reply.position.Number)
		// It is over when the server knows it, and the casts that wait for other nodes have positions.
		l.isOutageOpen = mode != modeNew || !wasFlagged
		if l.isOutageOpen {
			l.markNow.Notify()
		}
	}
	l.listeners = reply.listeners
}

// noteSettled notes that what was appended again stands before a position. Until now it could not
// be heard. mu is held.
func (l *Log) noteSettled(number int64) {
	l.isSettling = false
	for _, p := range l.kept {
		if p.confirmedAt.IsZero() || p.isDelivered {
			continue
		}
		p.number, p.confirmedAt = number, time.Now()
		if p.cast.Stream != "" { // it may wait for its turn
			p.number = 0
		}
	}
}

// waitForListeners returns, after an outage, when the other nodes hear again, or after a while.
// What waits may be more than the logs keep for a node that hears later. What a server has
// forgotten is brought at once: all other nodes wait for it.
func (l *Log) waitForListeners(ctx context.Context) {
	for end := time.Now().Add(listenersWait); l.isDoneAgain && l.IsAway() && ctx.Err() == nil && time.Now().Before(end); {
		if l.listeners = 0; l.sendBatch(ctx, nil) > 0 {
			end = time.Now().Add(listenersWait) // it is not over
		}
		if int(l.listeners) >= l.cfg.Nodes() {
			return
		}
		select {
		case <-time.After(failureRetry):
		case <-ctx.Done():
		}
	}
}

// An appendReply is the reply of append.lua.
type appendReply struct {
	status   string
	position Position
	boundary string
	last     string
	missed   string
	dropped  int64

	forgotFrom int64 // the position that the server had when it began
	listeners  int64 // how many nodes heard the position that was published

	// The call had casts that were delivered locally, or came behind them.
	endsOutage bool

	casts []castReply
}

// replyHeadLength is how many values stand before those of the casts.
const replyHeadLength = 9

type castReply struct {
	number, receivers int64
	wasThere          bool // it was appended before
	isUnknown         bool // it was refused before
	isLateInStream    bool
	refused           []string
	historyFailure    string
}

// callScript runs the script.
func (l *Log) callScript(ctx context.Context, mode string, batch []*Pending) (reply appendReply, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := l.openConn(ctx); err != nil {
		return reply, err
	}
	forced := "0"
	if l.mayLack {
		forced = "1"
	}
	report := ""
	if mode == modeDone {
		report = l.heard.reportFormer(l.forgotFrom, l.boundary)
	}
	c := &l.cfg
	quiet := l.listQuietRooms(batch)
	args := make([]any, 0, 16+9*len(batch))
	args = append(args, l.base, c.Node, c.Server(), l.epoch, l.heard.newestNumber(), c.KeepFor.Milliseconds(), c.RoomBytes, c.MemoryBytes,
		l.boundary, mode, forced, l.MarkChannel(), report, "0", joinZero(quiet))
	localFlag := len(args) - 2
	l.mu.Lock()
	reply.endsOutage = l.isOutageOpen
	if len(batch) > 0 {
		args = append(args, batch[0].sequence)
	}
	for _, p := range batch {
		reply.endsOutage = reply.endsOutage || p.outcome.IsLocal
		args = p.appendArgs(args, l.markPrivate(p.cast.Rooms))
	}
	l.mu.Unlock()
	if reply.endsOutage {
		args[localFlag] = "1"
	}
	list, err := appendScript.Do(ctx, l.conn, l.keys, args...).Slice()
	if err != nil {
		l.closeConn()
		return reply, err
	}
	endsOutage := reply.endsOutage
	reply, err = parseAppendReply(list, len(batch))
	reply.endsOutage = endsOutage
	if err == nil && reply.status == "ok" {
		for _, room := range quiet {
			l.notedRooms[room] = struct{}{}
		}
	}
	return reply, err
}

// openConn makes conn a connection that is open. All calls go over it, so that each comes to the
// server that it names: one of a pool may have been made to another server since the call was put
// together.
func (l *Log) openConn(ctx context.Context) error {
	if l.conn != nil && time.Since(l.connSince) < connLife {
		return nil
	}
	l.closeConn()
	conn := redisx.SingleServer(l.cfg.Redis).Conn()
	if err := conn.Ping(ctx).Err(); err != nil {
		_ = conn.Close() // nothing was sent
		return fmt.Errorf("castlog: connection: %w", err)
	}
	l.conn, l.connSince = conn, time.Now()
	return nil
}

// closeConn gives the connection back. The pool closes it if it is broken.
func (l *Log) closeConn() {
	if l.conn != nil {
		_ = l.conn.Close() // the next call has another one
	}
	l.conn = nil
}

// listQuietRooms returns the rooms of casts that were not noted lately: Redis learns when they were
// written to. It does so a bit more often than the script counts with.
func (l *Log) listQuietRooms(batch []*Pending) (quiet []string) {
	if len(batch) == 0 {
		return nil
	}
	if now := time.Now(); now.Sub(l.notedSince) >= l.cfg.KeepFor/16 {
		l.notedSince, l.notedRooms = now, map[string]struct{}{}
	}
	for _, p := range batch {
		for _, room := range p.cast.Rooms {
			if _, isNoted := l.notedRooms[room]; !isNoted && !slices.Contains(quiet, room) {
				quiet = append(quiet, room)
			}
		}
	}
	return quiet
}

// appendArgs appends the arguments of one cast. rooms are those of the cast, as markPrivate returns
// them.
func (p *Pending) appendArgs(args []any, rooms []string) []any {
	c := &p.cast
	args = append(args, c.Message, joinZero(rooms), joinZero(c.Channels), p.order())
	h := c.History
	if h == nil {
		return append(args, "")
	}
	args = append(args, h.Key, h.Length, h.Age.Milliseconds(), h.Text)
	if h.Claim == nil {
		return append(args, "")
	}
	slow := h.Claim.SlowInterval
	if p.outcome.IsLocal { // it was said already
		slow = 0
	}
	k := h.Claim
	return append(args, k.SlowKey, slow.Milliseconds(), k.Record, k.Token, k.Digest, k.Keep.Milliseconds(), k.Answer)
}

// order returns where the cast must come, for append.lua.
func (p *Pending) order() string {
	if p.number == 0 && p.cast.Stream == "" {
		return ""
	}
	had, place := "", ""
	if p.number > 0 {
		had = strconv.FormatInt(p.number, 10)
	}
	if p.cast.Stream != "" {
		place = strconv.FormatInt(p.cast.Place, 10)
	}
	return joinZero([]string{had, p.cast.Stream, place})
}

// privateMark stands before the name of a private room, for the scripts.
const privateMark = "\x01"

// markPrivate returns rooms with privateMark before the private ones.
func (l *Log) markPrivate(rooms []string) []string {
	if !slices.ContainsFunc(rooms, l.cfg.IsPrivate) {
		return rooms
	}
	marked := slices.Clone(rooms)
	for i, room := range marked {
		if l.cfg.IsPrivate(room) {
			marked[i] = privateMark + room
		}
	}
	return marked
}

// joinZero joins strings with zero bytes.
func joinZero(texts []string) string { return strings.Join(texts, "\x00") }

// parseAppendReply reads the reply of append.lua to a call with some casts.
func parseAppendReply(list []any, casts int) (r appendReply, err error) {
	malformed := func() error { return fmt.Errorf("castlog: unexpected reply %.200q", fmt.Sprint(list)) }
	if len(list) < replyHeadLength {
		return r, malformed()
	}
	text := func(i int) string { s, _ := list[i].(string); return s }
	r.status, r.boundary, r.last, r.missed = text(0), text(3), text(4), text(5)
	r.dropped, _ = list[6].(int64)
	r.listeners, _ = list[8].(int64)
	r.forgotFrom, _ = strconv.ParseInt(text(7), 10, 64) // it is a number
	var ok bool
	if r.position, ok = parsePosition(text(1), text(2)); !ok {
		return r, malformed()
	}
	if r.status != "ok" {
		return r, nil
	}
	if len(list) != replyHeadLength+casts {
		return r, malformed()
	}
	for _, v := range list[replyHeadLength:] {
		c, ok := parseCastReply(v)
		if !ok {
			return r, malformed()
		}
		r.casts = append(r.casts, c)
	}
	return r, nil
}

func parseCastReply(v any) (c castReply, ok bool) {
	switch v {
	case "again":
		return castReply{wasThere: true}, true
	case "refused again":
		return castReply{isUnknown: true}, true
	}
	list, _ := v.([]any)
	if len(list) == 0 {
		return c, false
	}
	first, _ := list[0].(string)
	switch number, err := strconv.ParseInt(first, 10, 64); {
	case first == "late":
		c.isLateInStream = true
	case first == "waits":
	case err != nil:
		for _, part := range list {
			c.refused = append(c.refused, fmt.Sprint(part))
		}
	default:
		c.number = number
		if len(list) > 1 {
			c.receivers, _ = list[1].(int64)
		}
		if len(list) > 2 {
			c.historyFailure, _ = list[2].(string)
		}
	}
	return c, true
}
