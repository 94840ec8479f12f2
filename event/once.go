package event

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
)

// keyField is the field of a payload with the idempotency key.
const keyField = "idempotencyKey"

// MaxKeyLength is how many characters an idempotency key may have, unless KeyLength says more.
const MaxKeyLength = 64

// keepAnswers is how long an answer is kept, unless KeepFor says more.
const keepAnswers = 2 * time.Minute

// A OnceRule says how an event is done once. Route.Once makes it.
type OnceRule struct {
	// Keep is how long an answer that is ok is kept. A refusal is kept for two minutes at most.
	Keep time.Duration
	// KeyLength is how many characters a key may have.
	KeyLength int
	// MaxAnswer is how many bytes of JSON an answer may have to be kept; 0 means 4 KiB.
	MaxAnswer int
	// CanRepeat says that the event may be done again under a claim whose holder died: see
	// CanRepeat.
	CanRepeat bool
	// InOneScript says that no claim is needed before the event is done: see InOneScript.
	InOneScript bool
	// WorksWithoutRedis says that the event is done while Redis is away: see WorksWithoutRedis.
	WorksWithoutRedis bool
	// Outcome asks the feature what became of an event whose claim's holder died; nil when the
	// feature can not tell. isDone is false when the event was not done, and never will be. The
	// answer's JSON is appended to dst.
	Outcome func(ctx context.Context, p *Player, raw, dst []byte) (out []byte, isDone bool, err error)

	passing  []string // codes of refusals that are not recorded, see Passing
	oldName  string   // of the key's field
	names    [][]byte // of both fields, as they end in JSON
	identify func(r *OnceRule, p *Player, raw []byte, key string) (Request, error)
	beside   any // func(Player, In) string, or nil
}

// A Request is one event that has an idempotency key. The zero value is an event without one.
type Request struct {
	Key string
	// Digest identifies the payload without its key: two payloads that mean the same have the same
	// digest, 16 characters.
	Digest string
	// Beside is a Redis key. The record of the event lies in its slot, and belongs to it.
	Beside string
}

// A OnceOption refines how an event is done once.
type OnceOption func(*OnceRule)

// Once returns a route whose event is done once for each idempotency key. A client that did not
// hear the answer sends the event again with the same key, and gets the answer of the first time.
//
// The payload type must have a field `idempotencyKey`, a string that may be absent. Over HTTP the
// key may stand in the header Idempotency-Key instead. It has 1 to 64 printable characters. An
// event without a key is served as if the route were not declared so, at no further cost.
//
// An event with a key is recorded for its user, route and key (and what Beside adds). Before
// anything is judged, be it rights, membership or limits, the record is looked for:
//
//   - There is none: the record is claimed, and the event is served. With a limit in Redis, the
//     script of the limit does this. With InOneScript, nothing is claimed.
//   - It has an answer: the client gets the same answer, and no limit is spent.
//   - Its payload is another one: CONFLICT.
//   - It is claimed by a holder that lives: the repeat waits for the answer, as long as a handler
//     may take, and is then refused as LOCKED with retryAfterMs.
//   - It is claimed by a holder that died, or did not learn what became of the event: with Outcome,
//     the feature is asked; with CanRepeat, the event is served again; otherwise, the event is done
//     at most once, and the repeat is refused as TIMEOUT.
//
// A holder is taken for dead when the time of a handler and a second are over. Recorded are answers
// that are ok and final refusals, up to 4 KiB. RATE_LIMITED, UNAVAILABLE, TIMEOUT, LOCKED,
// UNAUTHENTICATED, INTERNAL and what Passing names are not: the client may ask again. Nor is
// INVALID: the payload alone decides it, and the client may mend the payload and keep the key.
//
// The gateway records the answer after the handler. A feature whose effect is one script records it
// there, so that a death between the two can not matter: see ClaimOf.
//
// Once panics when the payload type has no such field, or an option is not for this type.
func (r Route) Once(options ...OnceOption) Route {
	rule := &OnceRule{Keep: keepAnswers, KeyLength: MaxKeyLength, identify: r.identify}
	for _, o := range options {
		o(rule)
	}
	if r.identify == nil || r.IsInstant {
		panic(fmt.Sprintf("event: %s can not be done once", r.Name))
	}
	for _, name := range []string{keyField, rule.oldName} {
		if name == "" {
			continue
		}
		if r.In != nil && findStringField(r.In, name) < 0 {
			panic(fmt.Sprintf("event: the payload of %s has no field %s", r.Name, name))
		}
		rule.names = append(rule.names, []byte(name+`"`))
	}
	if r.In == nil && (rule.beside != nil || rule.oldName != "" || rule.Outcome != nil) {
		panic(fmt.Sprintf("event: %s has no type for these options", r.Name))
	}
	if rule.beside != nil && reflect.TypeOf(rule.beside).In(1) != r.In {
		panic(fmt.Sprintf("event: Beside is not for the payload of %s", r.Name))
	}
	r.OnceRule = rule
	return r
}

// KeepFor keeps answers that are ok for so long, instead of two minutes.
func KeepFor(d time.Duration) OnceOption { return func(r *OnceRule) { r.Keep = d } }

// KeyLength allows keys of so many characters, instead of 64.
func KeyLength(characters int) OnceOption {
	return func(r *OnceRule) { r.KeyLength = characters }
}

// LongAnswers keeps answers of up to so many bytes of JSON, instead of 4 KiB.
func LongAnswers(bytes int) OnceOption { return func(r *OnceRule) { r.MaxAnswer = bytes } }

// OldKeyName names another field of the payload that holds the key when idempotencyKey is absent.
func OldKeyName(field string) OnceOption { return func(r *OnceRule) { r.oldName = field } }

// Passing names the codes of refusals that are not recorded, because the client can do something
// about them and then ask again with the same key.
func Passing(faults ...*fault.Fault) OnceOption {
	return func(r *OnceRule) {
		for _, f := range faults {
			r.passing = append(r.passing, f.Code)
		}
	}
}

// Beside makes the record belong to a Redis key as well: the same idempotency key beside another
// Redis key is another event. On a Redis Cluster the record lies in the slot of that key, so that a
// script can write both. f returns "" for a payload that the handler will refuse; nothing is
// recorded of such an event. Where no script writes both, any other short text serves as well.
func Beside[In any](f func(p Player, in In) (redisKey string)) OnceOption {
	return func(r *OnceRule) { r.beside = f }
}

// CanRepeat says that the event may be served again under a claim whose holder died. This is right
// where a script does the effect, records the answer and refuses a claim that is not its own any
// more; and where twice is the same as once.
func CanRepeat() OnceOption { return func(r *OnceRule) { r.CanRepeat = true } }

// InOneScript says that one script looks at the record, does the effect and writes the record, so
// that of two servers of one event only one does it. Then the record is not claimed before the
// event is served, and is looked at only where a limit's script does that anyway, or where the
// handler refused the event or found the claim of another holder.
func InOneScript() OnceOption {
	return func(r *OnceRule) { r.InOneScript, r.CanRepeat = true, true }
}

// WorksWithoutRedis says that the event is served while Redis is away. This node's memory stands in
// for the records then. All other routes answer UNAVAILABLE to an event whose record can not be
// looked for, and do nothing.
func WorksWithoutRedis() OnceOption { return func(r *OnceRule) { r.WorksWithoutRedis = true } }

// Outcome names the method of a feature that is asked what became of an event whose claim's holder
// died, or did not learn it. It gets the same player and payload as the handler, and the same claim
// (ClaimOf), and says:
//
//   - isDone: the event was done, and out is its answer.
//   - not isDone: the event was not done, and now never will be under the key: the feature's script
//     refuses a second effect of one key, whoever is late. The handler is called next.
//   - an error: this is not known now. It becomes the answer, and the next repeat asks again.
//
// The method is asked by one caller at a time for each record.
func Outcome[In, Out any](f func(ctx context.Context, p Player, in In) (out Out, isDone bool, err error)) OnceOption {
	return func(r *OnceRule) {
		r.Outcome = func(ctx context.Context, p *Player, raw, dst []byte) ([]byte, bool, error) {
			var in In
			if err := Decode(raw, &in); err != nil {
				return dst, false, err
			}
			out, isDone, err := f(ctx, *p, in)
			if err != nil || !isDone {
				return dst, false, err
			}
			dst, err = appendAnswerJSON(dst, &out)
			return dst, err == nil, err
		}
	}
}

// IsPassing reports whether a refusal with this code is not recorded.
func (r *OnceRule) IsPassing(code string) bool {
	switch code {
	case fault.ErrRateLimited.Code, fault.ErrUnavailable.Code, fault.ErrTimeout.Code, fault.ErrLocked.Code,
		fault.ErrUnauthenticated.Code, fault.ErrInternal.Code, fault.ErrInvalid.Code:
		return true
	}
	for _, c := range r.passing {
		if c == code {
			return true
		}
	}
	return false
}

// Identify returns the Request of an event: its key, from the payload or, when it is not "", the
// one that stood beside the payload. Without a key it returns the zero Request and allocates
// nothing. The error is INVALID and names the field.
func (r *OnceRule) Identify(p *Player, raw []byte, key string) (Request, error) {
	if key == "" && !r.mentionsKey(raw) {
		return Request{}, nil
	}
	return r.identify(r, p, raw, key)
}

// mentionsKey reports whether a payload may have a key. A name with an escape in it is read by the
// JSON library.
func (r *OnceRule) mentionsKey(raw []byte) bool {
	for _, name := range r.names {
		if bytes.Contains(raw, name) {
			return true
		}
	}
	return bytes.Contains(raw, []byte(`\u`))
}

// identifyPayload is OnceRule.Identify for one type of payloads.
func identifyPayload[In any](r *OnceRule, p *Player, raw []byte, key string) (Request, error) {
	var in In
	if err := Decode(raw, &in); err != nil {
		return Request{}, err
	}
	v := reflect.ValueOf(&in).Elem()
	field := keyField
	own := v.Field(findStringField(v.Type(), keyField))
	switch given := own.String(); {
	case given == "" && hasMember(raw, keyField):
		return Request{}, r.badKey(field)
	case given != "" && key != "" && given != key:
		return Request{}, fault.Invalid(field, "is not that of the header Idempotency-Key")
	case given != "":
		key = given
	case key == "" && r.oldName != "":
		field = r.oldName
		old := v.Field(findStringField(v.Type(), r.oldName))
		key = old.String()
	}
	own.SetString("")
	if key == "" {
		return Request{}, nil
	}
	if !r.isKey(key) {
		return Request{}, r.badKey(field)
	}
	request := Request{Key: key}
	if r.beside != nil {
		if request.Beside = r.beside.(func(Player, In) string)(*p, in); request.Beside == "" {
			return Request{}, nil
		}
	}
	text, err := json.Marshal(&in, json.Deterministic(true))
	if err != nil {
		return Request{}, err
	}
	sum := sha256.Sum256(text)
	request.Digest = base64.RawURLEncoding.EncodeToString(sum[:12])
	return request, nil
}

func (r *OnceRule) badKey(field string) error {
	return fault.Invalid(field, fmt.Sprintf("1 to %d printable characters", r.KeyLength))
}

// isKey reports whether a key may be used.
func (r *OnceRule) isKey(key string) bool {
	return utf8.ValidString(key) && utf8.RuneCountInString(key) <= r.KeyLength &&
		!strings.ContainsFunc(key, func(c rune) bool { return !unicode.IsPrint(c) })
}

// hasMember reports whether a JSON object has a member of that name. The JSON is valid.
func hasMember(raw []byte, name string) bool {
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	if _, err := d.ReadToken(); err != nil {
		return false
	}
	for d.PeekKind() == '"' {
		member, err := d.ReadToken()
		if err != nil || member.String() == name {
			return err == nil
		}
		if d.SkipValue() != nil {
			return false
		}
	}
	return false
}

// findStringField returns the index of a struct's field with a name in JSON, or -1 when there is
// no such string.
func findStringField(t reflect.Type, name string) int {
	if t.Kind() != reflect.Struct {
		return -1
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if n, _, _ := strings.Cut(f.Tag.Get("json"), ","); n == name && f.Type.Kind() == reflect.String {
			return i
		}
	}
	return -1
}

// A Claim is what a handler may do with the record of its event. The gateway makes it, and puts it
// into the handler's context.
type Claim struct {
	Request

	// Record is the Redis key of the record.
	Record string
	// Token is the holder: a script that finds another one in the record must do nothing.
	Token string
	// Keep is how long an answer that is ok is kept.
	Keep time.Duration
	// IsUncertain says that an effect under this key may have happened before: the holder died, or
	// did not learn what became of it. Outcome has then said that it did not, or CanRepeat holds.
	IsUncertain bool

	isRecorded bool
}

// MarkRecorded says that the answer which the handler will return stands in the record already,
// because the effect's own script wrote it (package internal/once). The gateway does not write it
// again then.
func (c *Claim) MarkRecorded() { c.isRecorded = true }

// IsRecorded reports whether the handler called MarkRecorded.
func (c *Claim) IsRecorded() bool { return c.isRecorded }

type claimKey struct{}

// WithClaim returns a context with a claim.
func WithClaim(ctx context.Context, c *Claim) context.Context {
	return context.WithValue(ctx, claimKey{}, c)
}

// ClaimOf returns the claim of the event that a handler serves, nil when the event has no key.
func ClaimOf(ctx context.Context) *Claim {
	c, _ := ctx.Value(claimKey{}).(*Claim)
	return c
}
