// Package fault holds the errors that a player may see. A Fault has a stable code for programs, a
// message written for people, and details that tell a program what to do next.
//
// Faults are package variables, named Err…, and may be wrapped like any error:
//
//	var ErrOver = fault.New("TRADE_OVER", "That trade has ended.")
//
//	return Trade{}, fmt.Errorf("trade %s: %w", id, ErrOver.With("status", status))
//
// Everything else that goes wrong is an ordinary error. Where an answer is written, Of turns any
// error into a fault, so that no cause reaches a client. A fault is written as the error object of
// an acknowledgement (MarshalJSON) or as the body of an HTTP answer (WriteProblem).
package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Fault is an error with a code that clients rely on. Faults are immutable: With and Because
// return copies, so that package variables may be shared.
type Fault struct {
	// Code is stable and made for programs: "RATE_LIMITED", "TRADE_STALE".
	Code string
	// Message is for people. It never contains a cause, the id of a session or a token.
	Message string

	details []detail
	cause   error
}

type detail struct {
	key   string
	value any
}

// The faults that every feature shares. A feature adds its own with New.
var (
	ErrUnknownEvent    = New("UNKNOWN_EVENT", "There is no such event.")
	ErrInvalid         = New("INVALID", "The request is not valid.")
	ErrUnauthenticated = New("UNAUTHENTICATED", "Please log in.")
	ErrForbidden       = New("FORBIDDEN", "You may not do that.")
	ErrNotFound        = New("NOT_FOUND", "There is no such thing.")
	ErrConflict        = New("CONFLICT", "That was already asked for, with other words.")
	ErrRateLimited     = New("RATE_LIMITED", "Too many requests. Please slow down.")
	ErrLocked          = New("LOCKED", "Somebody else is at it. Please try again.")
	ErrUnavailable     = New("UNAVAILABLE", "That is not available right now. Please try again.")
	ErrTimeout         = New("TIMEOUT", "That took too long.")
	ErrTooLarge        = New("PAYLOAD_TOO_LARGE", "That message is too large.")
	ErrInternal        = New("INTERNAL", "Something went wrong on our side.")
)

// New makes a fault. Keep it in a package variable, named Err…
func New(code, message string) *Fault { return &Fault{Code: code, Message: message} }

// Invalid returns ErrInvalid with the field that is not valid and the reason. field is the path as
// the client wrote it ("give.items[0].qty"); it is empty when the payload as a whole is wrong. Of a
// longer one only the first 128 bytes are answered.
func Invalid(field, reason string) *Fault {
	return ErrInvalid.With("field", cutField(field)).With("reason", reason)
}

// maxField is how many bytes of a field's name an answer repeats.
const maxField = 128

func cutField(field string) string {
	if len(field) <= maxField {
		return field
	}
	return strings.ToValidUTF8(field[:maxField], "") + "…"
}

// Unavailable returns ErrUnavailable with the feature that can not be served now, and when to try
// again.
func Unavailable(feature string, retryAfter time.Duration, cause error) *Fault {
	return ErrUnavailable.With("feature", feature).With("retryAfterMs", retryAfter.Milliseconds()).Because(cause)
}

// With returns a copy with one more detail, which stands beside code and message in the answer. The
// value must be one that encoding/json can encode.
func (f *Fault) With(key string, value any) *Fault {
	c := *f
	c.details = append(slices.Clip(f.details), detail{key, value})
	return &c
}

// Because returns a copy that remembers its cause, for the log and for errors.Is.
func (f *Fault) Because(cause error) *Fault {
	c := *f
	c.cause = cause
	return &c
}

// Detail returns the value that With set for a key, or nil.
func (f *Fault) Detail(key string) any {
	for _, d := range f.details {
		if d.key == key {
			return d.value
		}
	}
	return nil
}

// Error returns the code and the cause, or the message where there is no cause. It is for logs.
func (f *Fault) Error() string {
	if f.cause != nil {
		return f.Code + ": " + f.cause.Error()
	}
	return f.Code + ": " + f.Message
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.cause }

// Is reports whether target is a fault with the same code, whatever their details.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Code == f.Code
}

// MarshalJSON writes the error object of the contract: {"code", "message", …details}, in
// that order.
func (f *Fault) MarshalJSON() ([]byte, error) {
	b := []byte(`{"code":`)
	put := func(value any) error {
		v, err := json.Marshal(value)
		b = append(b, v...)
		return err
	}
	if err := put(f.Code); err != nil {
		return nil, err
	}
	b = append(b, `,"message":`...)
	if err := put(f.Message); err != nil {
		return nil, err
	}
	for _, d := range f.details {
		b = append(b, ',')
		if err := put(d.key); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if err := put(d.value); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// Parse reads what MarshalJSON wrote.
func Parse(object []byte) (*Fault, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("fault: not an object: %w", err)
	}
	f := &Fault{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("fault: %w", err)
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("fault: %w", err)
		}
		if n, ok := value.(json.Number); ok {
			if whole, err := n.Int64(); err == nil {
				value = whole // as WriteProblem looks for it
			}
		}
		text, _ := value.(string)
		switch name {
		case "code":
			f.Code = text
		case "message":
			f.Message = text
		default:
			f = f.With(name.(string), value)
		}
	}
	if f.Code == "" {
		return nil, errors.New("fault: no code")
	}
	return f, nil
}

// Of returns the fault that a client is shown for an error: a fault in its chain as it is, TIMEOUT
// for a deadline, and INTERNAL with the error as its cause for everything else. Of(nil) is nil.
func Of(err error) *Fault {
	var f *Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout.Because(err)
	}
	return ErrInternal.Because(err)
}

var statuses = map[string]int{
	"UNKNOWN_EVENT": http.StatusNotFound, "INVALID": http.StatusBadRequest, "UNAUTHENTICATED": http.StatusUnauthorized,
	"FORBIDDEN": http.StatusForbidden, "BANNED": http.StatusForbidden, "NOT_FOUND": http.StatusNotFound, "CONFLICT": http.StatusConflict,
	"RATE_LIMITED": http.StatusTooManyRequests, "LOCKED": http.StatusConflict, "UNAVAILABLE": http.StatusServiceUnavailable,
	"TIMEOUT": http.StatusGatewayTimeout, "PAYLOAD_TOO_LARGE": http.StatusRequestEntityTooLarge, "INTERNAL": http.StatusInternalServerError,
}

// Status returns the HTTP status of the fault. It is 409 for codes that a feature adds.
func (f *Fault) Status() int {
	if s, ok := statuses[f.Code]; ok {
		return s
	}
	return http.StatusConflict
}

// WriteProblem answers an HTTP request with the fault, as application/problem+json (RFC 9457):
// {"type", "title", "status", "code", …details}. A detail retryAfterMs is also sent as Retry-After.
func (f *Fault) WriteProblem(w http.ResponseWriter) {
	p := map[string]any{"type": "about:blank", "title": f.Message, "status": f.Status(), "code": f.Code}
	for _, d := range f.details {
		p[d.key] = d.value
	}
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	if ms, ok := f.Detail("retryAfterMs").(int64); ok && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.FormatInt(max(1, (ms+999)/1000), 10))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(f.Status())
	_, _ = w.Write(body)
}
