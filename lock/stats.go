package lock

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// counts are of one process.
type counts struct {
	held, waiting                                   atomic.Int64
	acquired, refused, unavailable, lost, forgotten atomic.Uint64
	waited, holding                                 atomic.Int64 // ns in all

	mu    sync.Mutex
	waits *hdrhistogram.Histogram // µs; guarded by mu
	holds *hdrhistogram.Histogram // µs; guarded by mu
	names map[string]uint64       // how often a name was found taken, of at most maxNames; guarded by mu
}

const (
	maxNames = 512
	topNames = 10
)

func newTimes() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Hour.Microseconds(), 2) }

func (c *counts) took(h *hdrhistogram.Histogram, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = h.RecordValue(min(max(1, d.Microseconds()), time.Hour.Microseconds())) // in bounds
}

// contended notes that a name was taken when somebody wanted it. When there are too many names the one
// that was taken least gives its place, and its count, to the new one: what is contended most stays.
func (c *counts) contended(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.names[name]; !ok && len(c.names) >= maxNames {
		least, n := "", uint64(1<<63)
		for name, count := range c.names {
			if count < n {
				least, n = name, count
			}
		}
		delete(c.names, least)
		c.names[name] = n
	}
	c.names[name]++
}

// Stats are of this process, since its start.
type Stats struct {
	Held, Waiting int64 // now
	Acquired      uint64
	Refused       uint64 // ErrTaken and ErrTimeout
	Unavailable   uint64
	Lost          uint64        // leases that ended before their release
	Unreleased    uint64        // releases that Redis did not answer
	Waited        time.Duration // in all acquisitions, also those that failed
	Holding       time.Duration // in all leases that have ended

	WaitP50, WaitP99 time.Duration // of acquisitions, also of those that failed
	HoldP50, HoldP99 time.Duration // of leases that have ended

	// MostContended are the names that were found taken most often, at most ten, most often first. Counts
	// are upper bounds when more than 512 names were contended.
	MostContended []Contention
}

// A Contention is how often a name was found taken.
type Contention struct {
	Name  string
	Times uint64
}

// Stats returns what has happened so far.
func (m *Manager) Stats() Stats {
	c := &m.counts
	s := Stats{
		Held: c.held.Load(), Waiting: c.waiting.Load(), Acquired: c.acquired.Load(), Refused: c.refused.Load(),
		Unavailable: c.unavailable.Load(), Lost: c.lost.Load(), Unreleased: c.forgotten.Load(),
		Waited: time.Duration(c.waited.Load()), Holding: time.Duration(c.holding.Load()),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := func(h *hdrhistogram.Histogram, q float64) time.Duration {
		return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond
	}
	s.WaitP50, s.WaitP99 = at(c.waits, 50), at(c.waits, 99)
	s.HoldP50, s.HoldP99 = at(c.holds, 50), at(c.holds, 99)
	for _, name := range slices.SortedFunc(maps.Keys(c.names), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.names[b], c.names[a]), cmp.Compare(a, b))
	}) {
		if len(s.MostContended) == topNames {
			break
		}
		s.MostContended = append(s.MostContended, Contention{name, c.names[name]})
	}
	return s
}
