package throttle

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aeturnis/realtime/fault"
)

// problemTypes are those of draft-ietf-httpapi-ratelimit-headers.
const problemTypes = "https://iana.org/assignments/http-problem-types#"

// Middleware spends policy once for every request before next is called. key says who
// asks; it must not believe headers that the client writes. A refusal is answered with 429,
// application/problem+json and Retry-After. Refused or not, the answer carries the fields
// RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers: q a window's limit,
// w its seconds, r what remains, t seconds until more is there or, at rest, until all is)
// and X-RateLimit-Limit, -Remaining and -Reset (Unix seconds). A policy that is off adds none.
// When Redis is gone and Config.NoLocal is set the answer is 503, of the problem type
// temporary-reduced-capacity.
func (l *Limiter) Middleware(policy string, key func(*http.Request) Subject, next http.Handler) http.Handler {
	return l.Guard([]string{policy}, key, next)
}

// Guard is Middleware for several policies, or none: each request spends all of them, or
// none, as Spend does. The fields tell of the one that Spend tells of. Who leaves before the
// decision is there is no error.
func (l *Limiter) Guard(policies []string, key func(*http.Request) Subject, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := l.Spend(r.Context(), policies, key(r))
		if err != nil {
			f := fault.Of(err)
			if f.Code == fault.ErrUnavailable.Code {
				f = f.With("type", problemTypes+"temporary-reduced-capacity")
			} else if l.cfg.OnError != nil && r.Context().Err() == nil {
				l.cfg.OnError(r, err)
			}
			f.WriteProblem(w)
			return
		}
		d.Header(w.Header())
		if !d.Allowed {
			d.Fault().With("type", problemTypes+"quota-exceeded").With("violated-policies", []string{d.Policy}).WriteProblem(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Header writes the fields of Middleware. Policies that are spent one after the other each
// add to the RateLimit lists; the X- fields tell of the last.
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
