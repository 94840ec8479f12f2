package backend

import (
	"sync"
	"time"
)

// reportEvery is how often one kind of failure of one backend is reported.
const reportEvery = 10 * time.Second

// pacedReports says which failures are reported. The zero value is ready.
type pacedReports struct {
	mu      sync.Mutex
	last    time.Time // of the last report; guarded by mu
	skipped int       // since then; guarded by mu
}

// take reports whether a failure is to be reported, and how many were not since the last one.
func (p *pacedReports) take(now time.Time) (skipped int, isDue bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() && now.Sub(p.last) < reportEvery {
		p.skipped++
		return 0, false
	}
	skipped, p.skipped, p.last = p.skipped, 0, now
	return skipped, true
}
