package loadtest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A meter follows one run: it takes samples, draws the progress bar, and separates the measured
// time from the rest. All of it belongs to the goroutine that called Run.
type meter struct {
	run           *run
	sampler       *sampler
	bar           *progressbar.ProgressBar // nil when there is no terminal
	countsAtStart counts                   // at the start of the measured time
	countsAtEnd   counts                   // at the end of the measured time
	measured      time.Duration
	returnTimes   []time.Duration // for each storm, the time until 99 % were back
}

func newMeter(r *run, progress io.Writer) *meter {
	m := &meter{run: r, sampler: newSampler(r.tallies, r.scenario.byDelivery)}
	if progress != nil {
		total := r.cfg.Ramp + r.cfg.Warmup + r.cfg.For
		m.bar = progressbar.NewOptions64(max(1, total.Milliseconds()),
			progressbar.OptionSetWriter(progress), progressbar.OptionSetWidth(24),
			progressbar.OptionSetDescription(r.scenario.name+": connecting"), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(50*time.Millisecond))
		_ = m.bar.RenderBlank() // the run continues when the terminal is gone
	}
	return m
}

func (m *meter) closeProgress() {
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}

// startTraffic makes the traffic begin now, and sets its end.
func (m *meter) startTraffic() {
	r := m.run
	r.trafficStart = r.now()
	r.trafficEnd = r.trafficStart + int64(r.cfg.Ramp+r.cfg.Warmup+r.cfg.For)
	m.sampler.lastSample = 0
}

// watchTraffic follows the traffic until it ends or ctx does. It calls chore about once a second.
func (m *meter) watchTraffic(ctx context.Context, chore func()) error {
	r := m.run
	step := int64(max(100*time.Millisecond, min(r.cfg.For/60, 10*time.Second)))
	from := r.trafficEnd - int64(r.cfg.For)
	const second = int64(time.Second)
	sample, work := r.trafficStart+step, r.trafficStart+second
	for measuring := false; ; {
		now := r.now()
		over := now >= r.trafficEnd || ctx.Err() != nil
		if !measuring && now >= from {
			m.sampler.takeSample(now-r.trafficStart, false)
			m.countsAtStart, m.measured = m.sampler.total, -time.Duration(now)
			measuring = true
			m.notifyWatch(true)
			sample = now + step
		}
		if over {
			if measuring {
				m.sampler.takeSample(now-r.trafficStart, true)
				m.countsAtEnd, m.measured = m.sampler.total, m.measured+time.Duration(now)
				m.notifyWatch(false)
			}
			return nil // when ctx ended early, the result covers the shorter time
		}
		if now >= sample {
			m.sampler.takeSample(now-r.trafficStart, measuring)
			m.drawProgress(now)
			sample = now + step
		}
		if now >= work {
			if chore != nil {
				chore()
			}
			work = now + second
		}
		next := min(sample, work, r.trafficEnd)
		if !measuring {
			next = min(next, from)
		}
		_ = sleepContext(ctx, time.Duration(next-r.now())) // the start of the loop checks ctx
	}
}

func (m *meter) notifyWatch(measuring bool) {
	if m.run.cfg.Watch != nil {
		m.run.cfg.Watch(measuring)
	}
}

func (m *meter) drawProgress(now int64) {
	if m.bar == nil {
		return
	}
	s := m.sampler.samples[len(m.sampler.samples)-1]
	rate, what := s.Answers, "answers/s"
	if m.run.scenario.byDelivery {
		rate, what = s.Deliveries, "deliveries/s"
	}
	m.bar.Describe(fmt.Sprintf("%s  %s %s  p99 %s ms  faults %d", m.run.scenario.name, groupDigits(int64(rate)), what, formatMillis(s.P99), m.sampler.total.faultCount()))
	_ = m.bar.Set64(min(m.bar.GetMax64()-1, (now-m.run.trafficStart)/int64(time.Millisecond)))
}

// takeLateCounts adds what arrived after the end of the traffic to the totals.
func (m *meter) takeLateCounts() {
	m.sampler.takeSample(m.run.now()-m.run.trafficStart, false)
	m.sampler.samples = m.sampler.samples[:max(0, len(m.sampler.samples)-1)] // the last sample is not of the traffic
}

// buildResult builds the run's result. end holds the counts that are known only after the run.
func (m *meter) buildResult(end counts) Result {
	r := m.run
	m.sampler.takeSample(m.run.now()-m.run.trafficStart, false)
	all := m.sampler.total
	all.addCounts(end)
	connects, backs := newHistogram(), newHistogram()
	errors := map[string]int64{}
	for _, t := range r.tallies {
		t.mu.Lock()
		connects.Merge(t.connects)
		backs.Merge(t.returnTimes)
		for code, n := range t.errors {
			errors[code] += n
		}
		t.mu.Unlock()
	}
	res := Result{
		Scenario: r.scenario.name, Target: r.endpoint.baseURL, Clients: r.cfg.Clients, Rate: r.cfg.Rate, At: time.Now(),
		Sent: all.sent, Answered: all.answered, Delivered: all.delivered, Refused: all.refused, Behind: all.behind,
		Lost: all.lost, Doubled: all.doubled, Reordered: all.reordered, Wrong: all.wrong, Disconnected: all.disconnections,
		Errors: errors, Seconds: m.measured.Seconds(),
		Connect: summariseHistogram(connects), Samples: m.sampler.samples,
	}
	if res.Returned = all.returned; res.Returned > 0 {
		res.Back = new(summariseHistogram(backs))
	}
	if r.scenario.name == "recovery" {
		res.Recovery = &RecoveryResult{Acknowledged: all.acknowledged, Local: all.local, Notices: all.notices, MissedTold: all.missedTold, MissedUntold: all.missedUntold, Ended: all.ended, Recovered: all.recovered}
	}
	main := m.sampler.answers
	if r.scenario.byDelivery {
		main = m.sampler.deliveries
		res.Answer = new(summariseHistogram(m.sampler.answers))
	}
	res.Latency = summariseHistogram(main)
	for _, b := range main.CumulativeDistribution() {
		res.Distribution = append(res.Distribution, Quantile{b.Quantile / 100, time.Duration(b.ValueAt) * time.Microsecond})
	}
	if s := m.measured.Seconds(); s > 0 {
		res.EventsPerSecond = roundToTenth(float64(m.countsAtEnd.answered-m.countsAtStart.answered) / s)
		res.DeliveriesPerSecond = roundToTenth(float64(m.countsAtEnd.delivered-m.countsAtStart.delivered) / s)
	}
	for _, d := range m.returnTimes {
		res.StormMs = append(res.StormMs, toMilliseconds(d))
	}
	return res
}
