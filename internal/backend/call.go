package backend

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/signedpost"
)

var (
	errBusy = errors.New("as many events wait for the backend as may wait")
	errLate = errors.New("the answer came too late")
	errOpen = errors.New("the backend was not reached by the last calls")
)

// busyRetry is when a player should try again whose event may not wait.
const busyRetry = 500 * time.Millisecond

// serveEvent serves one event.
func (b *backend) serveEvent(ctx context.Context, name string, described *eventSchema, p *event.Player, fields map[string]jsontext.Value, key string, dst []byte) ([]byte, error) {
	payload, err := json.Marshal(fields, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return dst, err
	}
	if err := validateValue(described.payload, payload); err != nil {
		return dst, err
	}
	deadline := b.deadlineOf(ctx)
	body := appendRequest(make([]byte, 0, len(payload)+512), request{
		event: name, payload: payload, player: p, key: key, deadline: deadline, node: b.service.opts.Node,
	})
	var a answer
	err = b.performCall(ctx, b.slots, name, body, deadline, func(raw []byte) (err error) {
		a, err = b.parseAnswer(raw, described)
		return err
	})
	if err != nil {
		return dst, err
	}
	if len(a.casts) > 0 {
		b.service.opts.Rooms.AfterAnswer(p.Conn, func() { b.sendCasts(a.casts) })
	}
	return append(dst, a.data...), nil
}

// minTime is how long a request must have, or it is not sent: a call that began late because of
// others says nothing about the backend.
const minTime = 50 * time.Millisecond

// deadlineOf returns when an event that begins now must be answered.
func (b *backend) deadlineOf(ctx context.Context) time.Time {
	deadline := time.Now().Add(b.cfg.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		return d
	}
	return deadline
}

// sendCasts casts what an answer has to cast.
func (b *backend) sendCasts(casts []gateway.Push) {
	for _, c := range casts {
		if err := b.service.opts.Rooms.SendPush(c); err != nil {
			b.counts.failedCasts.Inc()
			if skipped, isDue := b.castReports.take(time.Now()); isDue {
				b.service.opts.CastFailed(b.cfg.Name, err, skipped)
			}
		}
	}
}

// A request is what a backend is sent.
type request struct {
	event     string
	payload   []byte
	player    *event.Player
	key       string
	deadline  time.Time
	node      string
	returning bool // of a connect: the client goes on with a connection, if it may
}

// appendRequest appends a request as JSON.
func appendRequest(b []byte, r request) []byte {
	text := func(name, value string) {
		b = append(append(append(b, `,"`...), name...), `":`...)
		b = event.AppendQuote(b, value)
	}
	b = event.AppendQuote(append(b, `{"event":`...), r.event)
	b = append(append(b, `,"payload":`...), r.payload...)
	b = event.AppendQuote(append(b, `,"player":{"userId":`...), r.player.UserID)
	text("username", r.player.Username)
	text("characterId", r.player.CharacterID)
	b = append(b, `,"roles":[`...)
	for i, role := range r.player.Roles {
		if i > 0 {
			b = append(b, ',')
		}
		b = event.AppendQuote(b, role)
	}
	b = append(b, ']')
	text("session", identity.SessionTag(r.player.SessionID))
	text("address", r.player.Addr)
	b = append(b, '}')
	text("connection", r.player.Conn)
	if r.key != "" {
		text("idempotencyKey", r.key)
	}
	if r.returning {
		b = append(b, `,"returning":true`...)
	}
	text("node", r.node)
	b = strconv.AppendInt(append(b, `,"deadline":`...), r.deadline.UnixMilli(), 10)
	return append(b, '}')
}

// performCall sends a request and has its answer read, and counts what became of it.
func (b *backend) performCall(ctx context.Context, slots chan struct{}, name string, body []byte, deadline time.Time, read func(raw []byte) error) error {
	started := time.Now()
	raw, err := b.sendRequest(ctx, slots, body, deadline)
	if err == nil {
		if err = read(raw); !time.Now().Before(deadline) {
			err = fault.ErrTimeout.Because(errLate)
		}
	}
	b.counts.countCall(name, started, err)
	if errors.Is(err, ErrAnswer) {
		if skipped, isDue := b.answerReports.take(time.Now()); isDue {
			b.service.opts.AnswerFailed(b.cfg.Name, name, fault.Of(err).Unwrap(), skipped)
		}
	}
	return err
}

// sendRequest sends a request, unless the backend is known to be away or too many wait, and returns
// the body of its answer.
func (b *backend) sendRequest(ctx context.Context, slots chan struct{}, body []byte, deadline time.Time) (answer []byte, err error) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		return nil, b.unavailableFault(busyRetry, errBusy)
	}
	if time.Until(deadline) < min(minTime, b.cfg.Timeout/2) { // its fault is not the backend's
		return nil, fault.ErrTimeout.Because(errLate)
	}
	if !b.breaker.TryAcquirePermit() {
		return nil, b.unavailableFault(b.breaker.RemainingDelay(), errOpen)
	}
	isReached := false
	defer func() { // whatever happens, the permit is given back
		if isReached {
			b.breaker.RecordSuccess()
		} else {
			b.breaker.RecordFailure()
		}
	}()
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	status, answer, err := b.client.Post(ctx, b.cfg.URL, b.secrets, body)
	switch {
	case errors.Is(err, signedpost.ErrTooLarge):
		isReached = true
		return nil, b.answerFault("larger than 256 KiB", nil)
	case err != nil && ctx.Err() != nil && !time.Now().Before(deadline):
		return nil, fault.ErrTimeout.Because(err)
	case err != nil:
		return nil, b.unavailableFault(breakerDelay, err)
	case status == http.StatusTooManyRequests, status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout:
		return nil, b.unavailableFault(breakerDelay, errors.New("status "+strconv.Itoa(status)))
	}
	isReached = true
	if status != http.StatusOK {
		return nil, b.answerFault("status "+strconv.Itoa(status)+" in place of 200", errors.New(quoteBeginning(answer)))
	}
	return answer, nil
}

// quoteBeginning returns the beginning of an answer for the log.
func quoteBeginning(answer []byte) string {
	answer = bytes.TrimSpace(answer)
	return "it begins with " + strconv.QuoteToASCII(string(answer[:min(len(answer), 100)]))
}

func (b *backend) unavailableFault(retryAfter time.Duration, cause error) error {
	return fault.Unavailable(b.cfg.Name, max(retryAfter, 100*time.Millisecond), cause)
}

// answerFault refuses an event whose answer is none. reason tells the log what is wrong with it;
// the player can do nothing about that.
func (b *backend) answerFault(reason string, cause error) error {
	if cause != nil {
		reason += ": " + cause.Error()
	}
	return ErrAnswer.With("feature", b.cfg.Name).Because(errors.New("the answer of the backend: " + reason))
}
