package lock

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/prometheus/client_golang/prometheus"
)

// counters count what happened in this process.
type counters struct {
	held, waiting                                    atomic.Int64
	acquired, refused, unavailable, lost, unreleased atomic.Uint64
	waited, holding                                  atomic.Int64 // total times in ns

	waitSeconds, holdSeconds *prometheus.HistogramVec // by class

	mu          sync.Mutex
	waits       *hdrhistogram.Histogram // µs; guarded by mu
	holds       *hdrhistogram.Histogram // µs; guarded by mu
	classes     map[string]*classTimes  // by class, for at most maxClasses and "other"; guarded by mu
	contentions map[string]uint64       // how often a name was found taken, for at most maxContended names; guarded by mu
}

const (
	maxContended   = 512
	shownContended = 10
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Hour.Microseconds(), 2)
}

// recordWait records how long an acquisition of a name took.
func (c *counters) recordWait(name string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.waits.RecordValue(boundMicroseconds(d)) // within the bounds
	c.timesOf(name).wait.Observe(d.Seconds())
}

// recordHold records how long a name was held.
func (c *counters) recordHold(name string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.holds.RecordValue(boundMicroseconds(d))
	c.timesOf(name).hold.Observe(d.Seconds())
}

func boundMicroseconds(d time.Duration) int64 {
	return min(max(1, d.Microseconds()), time.Hour.Microseconds())
}

// classTimes are the histograms of the locks of one class.
type classTimes struct{ wait, hold prometheus.Observer }

func newClassHistogram(name, help string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: lockBuckets}, []string{"class"})
}

const (
	maxClasses = 16 // classes that have histograms of their own
	otherClass = "other"
)

// timesOf returns the histograms for the class of a name. mu is held.
func (c *counters) timesOf(name string) *classTimes {
	class := Class(name)
	if c.classes[class] == nil && (len(c.classes) >= maxClasses || class == name || len(class) > 64) {
		class = otherClass // a name without a class may hold the id of a user
	}
	times := c.classes[class]
	if times == nil {
		label := strings.ToValidUTF8(class, "?")
		times = &classTimes{c.waitSeconds.WithLabelValues(label), c.holdSeconds.WithLabelValues(label)}
		c.classes[class] = times
	}
	return times
}

// countContention counts that a caller found a name taken, by a caller of this process or of
// another one. If there are too many names, the name that was taken least often gives its place and
// its count to the new one, so that the most contended names stay.
func (c *counters) countContention(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.contentions[name]; !ok && len(c.contentions) >= maxContended {
		least, n := "", uint64(1<<63)
		for name, count := range c.contentions {
			if count < n {
				least, n = name, count
			}
		}
		delete(c.contentions, least)
		c.contentions[name] = n
	}
	c.contentions[name]++
}

// Stats are the figures of one Manager since it was made.
type Stats struct {
	Held, Waiting int64  // now
	Acquired      uint64 // leases
	Refused       uint64 // ErrTaken and ErrTimeout
	Unavailable   uint64 // ErrUnavailable
	Lost          uint64 // leases that ended before their release
	Unreleased    uint64 // releases that Redis did not answer

	TotalWait time.Duration // of all acquisitions, also of those that failed
	TotalHold time.Duration // of all leases that were released

	WaitP50, WaitP99 time.Duration // percentiles of all acquisitions, also of those that failed
	HoldP50, HoldP99 time.Duration // percentiles of all leases that were released

	// MostContended are the names that were found taken most often: at most ten, the most
	// contended first. If more than 512 names were contended, the counts are upper bounds.
	MostContended []Contention
}

// A Contention says how many callers found a name taken: by a caller of this process or of another
// one, whether they waited or were refused at once.
type Contention struct {
	Name  string
	Times uint64
}

// Stats returns what has happened so far.
func (m *Manager) Stats() Stats {
	c := &m.counters
	s := Stats{
		Held: c.held.Load(), Waiting: c.waiting.Load(), Acquired: c.acquired.Load(), Refused: c.refused.Load(),
		Unavailable: c.unavailable.Load(), Lost: c.lost.Load(), Unreleased: c.unreleased.Load(),
		TotalWait: time.Duration(c.waited.Load()), TotalHold: time.Duration(c.holding.Load()),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	percentile := func(h *hdrhistogram.Histogram, q float64) time.Duration {
		return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond
	}
	s.WaitP50, s.WaitP99 = percentile(c.waits, 50), percentile(c.waits, 99)
	s.HoldP50, s.HoldP99 = percentile(c.holds, 50), percentile(c.holds, 99)
	for _, name := range slices.SortedFunc(maps.Keys(c.contentions), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.contentions[b], c.contentions[a]), cmp.Compare(a, b))
	}) {
		if len(s.MostContended) == shownContended {
			break
		}
		s.MostContended = append(s.MostContended, Contention{name, c.contentions[name]})
	}
	return s
}
