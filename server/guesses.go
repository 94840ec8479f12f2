package server

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/clientaddr"
	"github.com/aeturnis/realtime/throttle"
)

// guessPolicy is the policy that a request spends whose session id is not valid.
const guessPolicy = "bearers"

// maxGuessers is how many addresses are remembered that are refused without a look at Redis.
const maxGuessers = 10_000

// guessGate bounds the HTTP requests of an address whose session id is not valid. Once the policy
// is used up, ids from that address are not looked up any more, but for those of players who are
// connected here: a neighbour behind the same address must not keep them from playing.
type guessGate struct {
	limiter     *throttle.Limiter
	subjectOf   func(*http.Request) throttle.Subject
	isConnected func(sessionID string) bool

	mu       sync.Mutex
	guessers map[string]guesser // by clientaddr.Network; guarded by mu
}

// A guesser is an address that is refused for a while.
type guesser struct {
	until   time.Time
	refusal *fault.Fault
}

func newGuessGate(l *throttle.Limiter, subjectOf func(*http.Request) throttle.Subject, isConnected func(string) bool) *guessGate {
	return &guessGate{limiter: l, subjectOf: subjectOf, isConnected: isConnected, guessers: map[string]guesser{}}
}

// Check implements auth.GuessGate.
func (g *guessGate) Check(r *http.Request, ids []string) error {
	g.mu.Lock()
	isQuiet := len(g.guessers) == 0
	g.mu.Unlock()
	if isQuiet || len(ids) == 0 {
		return nil
	}
	network := clientaddr.Network(g.subjectOf(r).IP)
	g.mu.Lock()
	known, isGuesser := g.guessers[network]
	left := time.Until(known.until)
	if isGuesser && left <= 0 {
		delete(g.guessers, network)
	}
	g.mu.Unlock()
	if !isGuesser || left <= 0 || slices.ContainsFunc(ids, g.isConnected) {
		return nil
	}
	return known.refusal.With("retryAfterMs", left.Milliseconds())
}

// Failed implements auth.GuessGate. While limits can not be judged, nothing is counted: then nobody
// is logged in by an id either.
func (g *guessGate) Failed(r *http.Request) error {
	subject := g.subjectOf(r)
	d, err := g.limiter.Check(r.Context(), guessPolicy, subject)
	if err != nil || d.Allowed {
		return nil
	}
	refusal := d.Fault()
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if len(g.guessers) >= maxGuessers {
		for network, known := range g.guessers {
			if !now.Before(known.until) {
				delete(g.guessers, network)
			}
		}
	}
	if len(g.guessers) < maxGuessers {
		g.guessers[clientaddr.Network(subject.IP)] = guesser{now.Add(d.RetryAfter), refusal}
	}
	return refusal
}
