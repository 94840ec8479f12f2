package throttle

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once/record"
)

// problemTypes is the prefix of the problem types of draft-ietf-httpapi-ratelimit-headers.
const problemTypes = "https://iana.org/assignments/http-problem-types#"

// Middleware spends policy once for every request before next is called. key returns the subject of
// a request; it must not trust headers that the client writes. A refusal is answered with 429,
// application/problem+json and Retry-After. Every answer, refused or not, carries the header fields
// RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers (q is a window's limit, w
// its seconds, r what remains, t the seconds until more is available, or if nothing was refused
// until all of it is), and X-RateLimit-Limit, -Remaining and -Reset (Unix seconds). A policy that
// is off adds no fields. When Redis is gone and Config.NoLocal is set, the answer is 503 with the
// problem type temporary-reduced-capacity.
func (l *Limiter) Middleware(policy string, key func(*http.Request) Subject, next http.Handler) http.Handler {
	return l.Guard([]string{policy}, key, next)
}

// Guard is Middleware for any number of policies: each request spends all of them or none, as Spend
// does. The header fields are about the policy in Spend's Decision. A client that leaves before the
// decision is not reported to Config.OnError.
func (l *Limiter) Guard(policies []string, key func(*http.Request) Subject, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := l.SpendRequest(w, r, policies, key(r), nil); err != nil {
			err.WriteProblem(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// SpendRequest charges a request to policies, and writes the header fields that Middleware
// describes. The error refuses the request; WriteProblem answers it. look, if it is not nil, is the
// record of an event that is done once, as in SpendOnce.
func (l *Limiter) SpendRequest(w http.ResponseWriter, r *http.Request, policies []string, sub Subject, look *record.Look) (found record.Found, refused *fault.Fault) {
	var d Decision
	var err error
	if look == nil {
		d, err = l.Spend(r.Context(), policies, sub)
	} else {
		d, found, err = l.SpendOnce(r.Context(), policies, sub, *look)
	}
	if err != nil {
		f := fault.Of(err)
		if f.Code == fault.ErrUnavailable.Code {
			f = f.With("type", problemTypes+"temporary-reduced-capacity")
		} else if l.cfg.OnError != nil && r.Context().Err() == nil {
			l.cfg.OnError(r, err)
		}
		return found, f
	}
	d.Header(w.Header())
	if d.Allowed || d.Policy == "" { // a record stands in the way: nothing was charged
		return found, nil
	}
	return found, d.Fault().With("type", problemTypes+"quota-exceeded").With("violated-policies", []string{d.Policy})
}

// Header writes the header fields that Middleware describes. When several decisions write into one
// answer, each adds to the RateLimit lists; the X- fields are about the last.
func (d Decision) Header(h http.Header) {
	if d.Policy == "" {
		return
	}
	reset := time.Until(d.ResetAt)
	if !d.Allowed {
		reset = d.RetryAfter
		h.Set("Retry-After", strconv.FormatInt(ceilSeconds(reset), 10))
	}
	h.Add("RateLimit-Policy", fmt.Sprintf(`"%s";q=%d;w=%d`, d.Policy, d.Limit, ceilSeconds(d.Window)))
	h.Add("RateLimit", fmt.Sprintf(`"%s";r=%d;t=%d`, d.Policy, d.Remaining, ceilSeconds(reset)))
	h.Set("X-RateLimit-Limit", strconv.Itoa(d.Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt((d.ResetAt.UnixMilli()+999)/1000, 10))
}
