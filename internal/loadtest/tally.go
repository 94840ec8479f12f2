package loadtest

import (
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// maxLatencyMicros is the largest latency that the histograms hold, in µs. A slower event is
// recorded as this.
const maxLatencyMicros = int64(time.Minute / time.Microsecond)

func newHistogram() *hdr.Histogram { return hdr.New(1, maxLatencyMicros, 3) }

// counts holds the numbers of events and messages by what happened to them.
type counts struct {
	sent, answered, delivered, refused, behind      int64
	lost, doubled, reordered, wrong, disconnections int64
	returned                                        int64

	// These are only counted in recovery.
	acknowledged, local, notices, missedTold, missedUntold int64
	ended, recovered                                       int64
	expected                                               int64 // deliveries of what was acknowledged, or may have been sent
}

func (c *counts) addCounts(o counts) {
	c.sent += o.sent
	c.answered += o.answered
	c.delivered += o.delivered
	c.refused += o.refused
	c.behind += o.behind
	c.lost += o.lost
	c.doubled += o.doubled
	c.reordered += o.reordered
	c.wrong += o.wrong
	c.disconnections += o.disconnections
	c.returned += o.returned
	c.acknowledged += o.acknowledged
	c.local += o.local
	c.notices += o.notices
	c.expected += o.expected
	c.missedTold += o.missedTold
	c.missedUntold += o.missedUntold
	c.ended += o.ended
	c.recovered += o.recovered
}

// A tally collects the counts and latencies of some of the clients, so that the cores do not wait
// for one lock.
type tally struct {
	mu          sync.Mutex
	counts                       // guarded by mu
	errors      map[string]int64 // guarded by mu
	answers     *hdr.Histogram   // guarded by mu; in µs; the sampler empties it
	deliveries  *hdr.Histogram   // guarded by mu; in µs; the sampler empties it
	connects    *hdr.Histogram   // guarded by mu; in µs; never emptied
	returnTimes *hdr.Histogram   // guarded by mu; in µs; never emptied; from a connection's end to the return
}

func newTally() *tally {
	return &tally{errors: map[string]int64{}, answers: newHistogram(), deliveries: newHistogram(), connects: newHistogram(), returnTimes: newHistogram()}
}

// maxCodes is the largest number of different error names, because they come from the server.
const maxCodes = 64

// countErrorCode counts an error under its code. The caller holds mu.
func (t *tally) countErrorCode(code string) {
	if _, known := t.errors[code]; !known && len(t.errors) >= maxCodes {
		code = "other"
	}
	t.errors[code]++
}

// recordLatency records a time in nanoseconds in a histogram of microseconds.
func recordLatency(h *hdr.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns/1000, 1), maxLatencyMicros)) // the value is in range, so this cannot fail
}

// A Sample is one interval of a run, for the plots.
type Sample struct {
	At         time.Duration // since the traffic began
	Answers    float64       // per second
	Deliveries float64       // per second
	P50, P99   time.Duration
	Max        time.Duration
}

// sampler empties the tallies at even intervals. All fields belong to the one goroutine that calls
// takeSample.
type sampler struct {
	tallies             []*tally
	spare               *hdr.Histogram
	answers, deliveries *hdr.Histogram // of the whole measured time
	samples             []Sample
	total               counts
	lastSample          int64
	byDelivery          bool // the plots show deliveries, not answers
}

func newSampler(tallies []*tally, byDelivery bool) *sampler {
	return &sampler{tallies: tallies, spare: newHistogram(), answers: newHistogram(), deliveries: newHistogram(), byDelivery: byDelivery}
}

// takeSample adds what happened since the last call. now is in nanoseconds since the traffic
// started. Only latencies of the measured time enter the sampler's histograms.
func (s *sampler) takeSample(now int64, measured bool) {
	var sum counts
	part := newHistogram()
	empty := func(of **hdr.Histogram, into *hdr.Histogram, plot bool) {
		full := *of
		*of, s.spare = s.spare, full
		if measured {
			into.Merge(full)
		}
		if plot {
			part.Merge(full)
		}
	}
	for _, t := range s.tallies {
		t.mu.Lock()
		sum.addCounts(t.counts)
		empty(&t.answers, s.answers, !s.byDelivery)
		t.mu.Unlock()
		s.spare.Reset()
		t.mu.Lock()
		empty(&t.deliveries, s.deliveries, s.byDelivery)
		t.mu.Unlock()
		s.spare.Reset()
	}
	if d := float64(now-s.lastSample) / 1e9; d > 0.01 {
		us := func(v int64) time.Duration { return time.Duration(v) * time.Microsecond }
		s.samples = append(s.samples, Sample{
			At:         time.Duration(now),
			Answers:    float64(sum.answered-s.total.answered) / d,
			Deliveries: float64(sum.delivered-s.total.delivered) / d,
			P50:        us(part.ValueAtQuantile(50)), P99: us(part.ValueAtQuantile(99)), Max: us(part.Max()),
		})
	}
	s.total, s.lastSample = sum, now
}
