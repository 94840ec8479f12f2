package jobs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a node counts about the jobs.
type metrics struct {
	runs               *prometheus.CounterVec
	last, took, failed *prometheus.GaugeVec
	leader             *prometheus.GaugeVec
}

// nameLabel is the label with the name of a job. It is not called job: Prometheus sets a label job
// on each series that it scrapes, and would rename ours to exported_job.
const nameLabel = "name"

func newMetrics() *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{nameLabel})
	}
	return &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_jobs_runs_total", Help: "Runs on this node.",
		}, []string{nameLabel, "outcome"}),
		last:   gauge("gateway_jobs_last_run_timestamp_seconds", "When the job last started on any node, as far as its leader knows."),
		took:   gauge("gateway_jobs_last_duration_seconds", "How long the last run on this node took."),
		failed: gauge("gateway_jobs_last_failed", "1 when the last run on this node failed."),
		leader: gauge("gateway_jobs_leader", "1 while this node leads the job."),
	}
}

func (m *metrics) allCollectors() []prometheus.Collector {
	return []prometheus.Collector{m.runs, m.last, m.took, m.failed, m.leader}
}

func (m *metrics) recordOutcome(job string, start time.Time, took time.Duration, err error) {
	outcome, bad := "ok", 0.
	if err != nil {
		outcome, bad = "error", 1
	}
	m.runs.WithLabelValues(job, outcome).Inc()
	m.last.WithLabelValues(job).Set(float64(start.Unix()))
	m.took.WithLabelValues(job).Set(took.Seconds())
	m.failed.WithLabelValues(job).Set(bad)
}

// Describe implements prometheus.Collector.
func (r *Runner) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range r.metrics.allCollectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (r *Runner) Collect(ch chan<- prometheus.Metric) {
	for _, c := range r.metrics.allCollectors() {
		c.Collect(ch)
	}
}
