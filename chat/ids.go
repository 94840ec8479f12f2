package chat

import (
	crand "crypto/rand"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// idSource makes ULIDs that ascend, also within one millisecond and when the clock is set back.
type idSource struct {
	now func() time.Time

	mu      sync.Mutex
	last    ulid.ULID              // guarded by mu; ids are made in place, to save an allocation
	entropy *ulid.MonotonicEntropy // guarded by mu
}

func newIDSource(now func() time.Time) *idSource {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails: it would end the process instead
	return &idSource{now: now, entropy: ulid.Monotonic(rand.NewChaCha8(seed), 0)}
}

// nextID returns a new id and its time in Unix ms.
func (g *idSource) nextID() (string, int64, error) {
	now := ulid.Timestamp(g.now())
	g.mu.Lock()
	defer g.mu.Unlock()
	at := max(g.last.Time(), now)
	if err := g.last.SetTime(at); err != nil {
		return "", 0, err
	}
	if err := g.entropy.MonotonicRead(at, g.last[6:]); err != nil {
		return "", 0, err
	}
	return g.last.String(), int64(at), nil
}
