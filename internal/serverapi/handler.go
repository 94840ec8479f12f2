package serverapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/docs"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/apikeys"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/throttle"
)

// Handler returns the handler of all calls. It answers problem+json to what it does not know.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, c := range s.calls {
		mux.HandleFunc(c.Method+" "+c.Path, func(w http.ResponseWriter, r *http.Request) { s.serveCall(w, r, c) })
	}
	mux.HandleFunc("POST "+Root+"batch", s.serveBatch)
	mux.HandleFunc("GET "+Root+"openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(docs.OpenAPI)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { errUnknownCall.WriteProblem(w) })
	return mux
}

var (
	errUnknownCall = fault.New(fault.ErrNotFound.Code, "There is no such call.")
	errNoKey       = fault.New(fault.ErrUnauthenticated.Code, "A key of the server API is required: Authorization: Bearer <key>.")
	errScope       = fault.New(fault.ErrForbidden.Code, "The key does not allow that.")
	errKeyText     = fault.Invalid("idempotencyKey", "1 to 64 printable characters")
	errNoEffect    = fault.Invalid("idempotencyKey", "the call has no effect, so it takes none")
)

// authenticate returns the key of a request, or nil after it has answered.
func (s *Service) authenticate(w http.ResponseWriter, r *http.Request) *apikeys.Key {
	scheme, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		if key := s.cfg.Keys.Find(strings.TrimSpace(presented)); key != nil {
			return key
		}
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	errNoKey.WriteProblem(w)
	s.served.WithLabelValues("", "", errNoKey.Code).Inc()
	return nil
}

// spend charges calls to the limit of a key.
func (s *Service) spend(ctx context.Context, key *apikeys.Key, calls int) error {
	if key.Limit == "" {
		return nil
	}
	limit, window, err := throttle.ParseRule(key.Limit)
	if err != nil { // which reading the file would have refused
		return fmt.Errorf("limit of the key %s: %w", key.Name, err)
	}
	if limit == 0 {
		return nil
	}
	if calls > limit {
		return fault.Invalid("calls", "more than the limit of the key: "+key.Limit)
	}
	d, err := s.cfg.Limiter.SpendKeyTimes(ctx, "api:"+key.Name, calls, limit, window)
	switch {
	case err != nil:
		return toFault(ctx, err)
	case !d.Allowed:
		return fault.ErrRateLimited.With("policy", "api:"+key.Name).With("limit", limit).With("windowMs", window.Milliseconds()).
			With("retryAfterMs", d.RetryAfter.Milliseconds())
	}
	return nil
}

// serveCall serves a request with one call.
func (s *Service) serveCall(w http.ResponseWriter, r *http.Request, call *Call) {
	key := s.authenticate(w, r)
	if key == nil {
		return
	}
	answer, err := s.performRequest(w, r, key, call)
	s.writeAnswer(w, key.Name, call.Name, answer, err)
}

// performRequest takes a request through all its steps.
func (s *Service) performRequest(w http.ResponseWriter, r *http.Request, key *apikeys.Key, call *Call) (answer []byte, err error) {
	if !key.Allows(call.Scope) {
		return nil, errScope.With("scope", call.Scope)
	}
	if err := s.spend(r.Context(), key, 1); err != nil {
		return nil, err
	}
	var raw []byte
	if call.HasEffect() {
		raw, err = s.readBody(w, r)
	} else {
		raw, err = readQuery(call.In, r.URL.RawQuery)
	}
	if err != nil {
		return nil, err
	}
	finishReading(w, s.cfg.Timeout)
	idempotencyKey := r.Header.Get("Idempotency-Key")
	if idempotencyKey == "" && len(r.Header.Values("Idempotency-Key")) > 0 {
		return nil, errKeyText
	}
	return s.perform(r.Context(), key, call, raw, idempotencyKey)
}

// finishReading is called when the body has arrived. It removes the deadline for reading the body,
// because net/http would cancel the call when that is over, and sets the deadline for writing the
// answer: answerTimeout after the end of the time that the call has.
func finishReading(w http.ResponseWriter, callTimeout time.Duration) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // net/http's own connections can
	_ = c.SetWriteDeadline(time.Now().Add(callTimeout + answerTimeout))
}

// answerTimeout is how long a program has to read an answer.
const answerTimeout = 20 * time.Second

// perform does a call, once where it has an idempotency key. A call with an effect that has begun
// is ended by its own time alone: a program that goes away must not leave half of it.
func (s *Service) perform(ctx context.Context, key *apikeys.Key, call *Call, raw []byte, idempotencyKey string) ([]byte, error) {
	if call.HasEffect() {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	caller := Caller{Name: key.Name, IdempotencyKey: idempotencyKey}
	if idempotencyKey == "" {
		out, err := call.serve(ctx, s, caller, raw)
		if errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled) { // which it can be without an effect only
			err = fmt.Errorf("%w: %w", errProgramGone, err)
		}
		return out, err
	}
	switch {
	case !call.HasEffect():
		return nil, errNoEffect
	case !isIdempotencyKey(idempotencyKey):
		return nil, errKeyText
	}
	digest, err := digestOf(raw)
	if err != nil {
		return nil, err
	}
	serve := func(ctx context.Context, dst []byte) ([]byte, error) {
		out, err := call.serve(withoutClaim(ctx), s, caller, raw)
		return append(dst, out...), err
	}
	e := &once.Event{
		UserID: key.Name, Route: "api:" + call.Name, Rule: call.onceRule(), Request: event.Request{Key: idempotencyKey, Digest: digest},
		Serve: serve,
	}
	if call.CanRepeat { // also where the answer was too long to be kept
		e.Outcome = func(ctx context.Context, dst []byte) ([]byte, bool, error) {
			out, err := serve(ctx, dst)
			return out, err == nil, err
		}
	}
	return s.cfg.Once.Do(ctx, e, nil)
}

// isIdempotencyKey reports whether a text may be one: the rules are those of players' keys.
func isIdempotencyKey(key string) bool {
	return utf8.ValidString(key) && utf8.RuneCountInString(key) <= event.MaxKeyLength &&
		!strings.ContainsFunc(key, func(c rune) bool { return !unicode.IsPrint(c) })
}

// digestOf identifies a payload: two that mean the same have the same digest.
func digestOf(raw []byte) (string, error) {
	if len(raw) == 0 {
		raw = []byte("{}")
	}
	if !jsontext.Value(raw).IsValid() {
		return "", errBadJSON
	}
	digest, err := event.DigestJSON(raw)
	if err != nil {
		return "", errBadJSON
	}
	return digest, nil
}

var errBadJSON = fault.Invalid("", "a JSON object")

// readBody reads the body of a request.
func (s *Service) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.ErrTooLarge.With("limit", s.cfg.MaxBody)
	case err != nil:
		return nil, fault.Invalid("", "a body that arrives in time")
	}
	return raw, nil
}

// readQuery returns the query of a URL as the JSON that decodes into a type: a number where the
// field is one, and text otherwise. What is unknown stays, so that it is refused.
func readQuery(in reflect.Type, query string) ([]byte, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fault.Invalid("", "a query of a URL")
	}
	object := map[string]any{}
	for name, given := range values {
		if len(given) != 1 {
			return nil, fault.Invalid(name, "given once")
		}
		object[name] = given[0]
		if isNumberField(in, name) {
			n, err := strconv.ParseInt(given[0], 10, 64)
			if err != nil {
				return nil, fault.Invalid(name, "a whole number")
			}
			object[name] = n
		}
	}
	raw, err := json.Marshal(object)
	if err != nil { // such as what is no UTF-8
		return nil, fault.Invalid("", "UTF-8")
	}
	return raw, nil
}

// isNumberField reports whether a field of a struct, by its name in JSON, is a number.
func isNumberField(in reflect.Type, name string) bool {
	for i := range in.NumField() {
		f := in.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Type.Kind() == reflect.Int || f.Type.Kind() == reflect.Int64
		}
	}
	return false
}

// writeAnswer answers a request, and counts it.
func (s *Service) writeAnswer(w http.ResponseWriter, key, call string, answer []byte, err error) {
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		s.noteFailure(key, call, err).WriteProblem(w)
		return
	}
	s.served.WithLabelValues(key, call, "ok").Inc()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(answer, '\n'))
}

// errProgramGone wraps the error of a call that ended because its program has gone.
var errProgramGone = errors.New("serverapi: the program has gone")

// noteFailure counts a call that failed, logs what is our fault, and returns what is answered.
func (s *Service) noteFailure(key, call string, err error) *fault.Fault {
	f := fault.Of(err)
	s.served.WithLabelValues(key, call, f.Code).Inc()
	if f.Code == fault.ErrInternal.Code && !errors.Is(err, errProgramGone) {
		s.cfg.Log.Error("call of the server API failed", zap.String("key", key), zap.String("call", call), zap.Error(err))
	}
	return f
}
