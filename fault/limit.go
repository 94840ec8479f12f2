package fault

import (
	"encoding/json"
	"strconv"
	"time"
)

// A Limit describes a limit and how much of it is used. As a refusal it is RATE_LIMITED with these
// details.
type Limit struct {
	Policy, Scope    string
	Limit, Remaining int
	Window           time.Duration
	RetryAfter       time.Duration
	// Message replaces the message of RATE_LIMITED, if it is set.
	Message string
	// Fatal says that the connection is closed because of the refusal.
	Fatal bool
}

// Fault returns the refusal as an error.
func (l Limit) Fault() *Fault {
	f := ErrRateLimited
	if l.Message != "" {
		f = New(f.Code, l.Message)
	}
	f = f.With("policy", l.Policy).With("scope", l.Scope).
		With("limit", l.Limit).With("remaining", l.Remaining).
		With("windowMs", l.Window.Milliseconds()).With("retryAfterMs", l.RetryAfter.Milliseconds())
	if l.Fatal {
		f = f.With("fatal", true)
	}
	return f
}

var limitHead = headOf(ErrRateLimited)

// headOf returns the JSON of a fault without details, up to the name of the policy.
func headOf(f *Fault) []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return append(b[:len(b)-1], `,"policy":"`...)
}

// AppendJSON appends the same JSON as MarshalJSON of the Fault, without an allocation if there is
// no Message. Policy and Scope must be names that need no escapes in JSON.
func (l Limit) AppendJSON(dst []byte) []byte {
	head := limitHead
	if l.Message != "" {
		head = headOf(New(ErrRateLimited.Code, l.Message))
	}
	dst = append(append(dst, head...), l.Policy...)
	dst = append(append(dst, `","scope":"`...), l.Scope...)
	dst = strconv.AppendInt(append(dst, `","limit":`...), int64(l.Limit), 10)
	dst = strconv.AppendInt(append(dst, `,"remaining":`...), int64(l.Remaining), 10)
	dst = strconv.AppendInt(append(dst, `,"windowMs":`...), l.Window.Milliseconds(), 10)
	dst = strconv.AppendInt(append(dst, `,"retryAfterMs":`...), l.RetryAfter.Milliseconds(), 10)
	if l.Fatal {
		dst = append(dst, `,"fatal":true`...)
	}
	return append(dst, '}')
}
