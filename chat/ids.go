package chat

import (
	crand "crypto/rand"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// ids makes ULIDs that ascend, also within one millisecond and when the clock steps back.
type ids struct {
	now func() time.Time

	mu      sync.Mutex
	last    uint64                 // guarded by mu
	entropy *ulid.MonotonicEntropy // guarded by mu
}

func newIDs(now func() time.Time) *ids {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails: it would end the process instead
	return &ids{now: now, entropy: ulid.Monotonic(rand.NewChaCha8(seed), 0)}
}

// next is a new id, and the Unix ms that it carries.
func (g *ids) next() (string, int64, error) {
	now := ulid.Timestamp(g.now())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last, now)
	id, err := ulid.New(g.last, g.entropy)
	if err != nil {
		return "", 0, err
	}
	return id.String(), int64(g.last), nil
}
