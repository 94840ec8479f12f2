package jobs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/redis/go-redis/v9"
)

// These are errors of RunNow.
var (
	// ErrUnknown means that there is no job with that name.
	ErrUnknown = errors.New("jobs: there is no such job")
	// ErrRunning means that the job is running already, here or on another node.
	ErrRunning = errors.New("jobs: the job is already running")
)

// A Job is periodic work.
type Job struct {
	Name    string
	About   string        // what it does, in a few words for people
	Every   time.Duration // from the start of one run to the start of the next
	Timeout time.Duration // of one run; a minute when zero
	// Run does the work once. It must return when its context ends.
	Run func(ctx context.Context) error
}

// Leases hands out leases, by which the nodes agree on who runs a job.
type Leases interface {
	// Take takes the lease with that name, which is extended until Release. ok is false when
	// another holder has it; Take does not wait for it.
	Take(ctx context.Context, name string) (l Lease, ok bool, err error)
}

// A Lease is held until Release, or until its context ends because the lease was lost.
type Lease interface {
	// Context ends when the lease is lost or released.
	Context() context.Context
	// Release gives the lease back, so that another node can take it at once.
	Release(ctx context.Context) error
}

// Config of a Runner. The zero value works.
type Config struct {
	// Node is the name of this node in what List returns.
	Node string
	// CheckEvery is how often a node checks what is due; 5 s when zero.
	CheckEvery time.Duration
	// Jitter is the share of Every by which a run may be later, at random; 0.1 when zero.
	Jitter float64
	// Failed, when set, gets the errors of runs, and the errors that kept a node from checking.
	Failed func(job string, err error)
}

// A Runner runs the jobs of one node.
type Runner struct {
	rdb     redis.UniversalClient
	leases  Leases
	cfg     Config
	jobs    []*scheduledJob
	metrics *metrics
}

// A scheduledJob is a job and the state of this node in it. Its checks run one at a time.
type scheduledJob struct {
	Job
	lease  Lease   // nil for a follower; owned by checkAndRunJob
	jitter float64 // share of Config.Jitter for the next run, 0 to 1; owned by checkAndRunJob
}

// New returns a Runner. It panics when two jobs have the same name, and when one lacks its name,
// Every or Run.
func New(rdb redis.UniversalClient, leases Leases, cfg Config, all ...Job) *Runner {
	if cfg.CheckEvery <= 0 {
		cfg.CheckEvery = 5 * time.Second
	}
	if cfg.Jitter <= 0 {
		cfg.Jitter = 0.1
	}
	if cfg.Failed == nil {
		cfg.Failed = func(string, error) {}
	}
	r := &Runner{rdb: rdb, leases: leases, cfg: cfg, metrics: newMetrics()}
	for _, j := range all {
		if j.Name == "" || j.Every <= 0 || j.Run == nil || r.findJobByName(j.Name) != nil {
			panic(fmt.Sprintf("jobs: bad job %q", j.Name))
		}
		if j.Timeout <= 0 {
			j.Timeout = time.Minute
		}
		r.metrics.leader.WithLabelValues(j.Name).Set(0)
		r.jobs = append(r.jobs, &scheduledJob{Job: j, jitter: rand.Float64()})
	}
	return r
}

func (r *Runner) findJobByName(name string) *scheduledJob {
	for _, w := range r.jobs {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// Run runs the jobs until ctx ends, and then releases the leases. It may be called once. The error
// says why it could not start or stop.
func (r *Runner) Run(ctx context.Context) error {
	s, err := gocron.NewScheduler(gocron.WithStopTimeout(10 * time.Second))
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	for _, w := range r.jobs {
		_, err := s.NewJob(
			gocron.DurationRandomJob(r.cfg.CheckEvery-r.cfg.CheckEvery/5, r.cfg.CheckEvery+r.cfg.CheckEvery/5),
			gocron.NewTask(func(ctx context.Context) { r.checkAndRunJob(ctx, w) }),
			gocron.WithName(w.Name), gocron.WithContext(ctx),
			gocron.WithSingletonMode(gocron.LimitModeReschedule),
			gocron.WithStartAt(gocron.WithStartImmediately()),
		)
		if err != nil {
			return fmt.Errorf("jobs: %s: %w", w.Name, errors.Join(err, s.Shutdown()))
		}
	}
	s.Start()
	<-ctx.Done()
	err = s.Shutdown() // waits for the checks under way
	for _, w := range r.jobs {
		r.releaseLease(w)
	}
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	return nil
}

// checkAndRunJob is one check of a job: it takes the lease if nobody holds it, and then runs the
// job if that is due.
func (r *Runner) checkAndRunJob(ctx context.Context, w *scheduledJob) {
	if ctx.Err() != nil {
		return
	}
	if w.lease != nil && w.lease.Context().Err() != nil {
		r.releaseLease(w) // the lease was lost
	}
	if w.lease == nil {
		// The lease outlives this check, so it must not have the context of the check.
		l, ok, err := r.leases.Take(context.WithoutCancel(ctx), jobLeaseName(w.Name))
		switch {
		case err != nil:
			r.cfg.Failed(w.Name, fmt.Errorf("take the lease: %w", err))
			return
		case !ok:
			return
		}
		w.lease = l
		r.metrics.leader.WithLabelValues(w.Name).Set(1)
	}
	s, err := r.readJobState(ctx, w)
	if err != nil {
		r.cfg.Failed(w.Name, err)
		return
	}
	r.metrics.last.WithLabelValues(w.Name).Set(float64(s.LastRunAt.Unix()))
	wait := w.Every + time.Duration(w.jitter*r.cfg.Jitter*float64(w.Every))
	if s.Runs > 0 && time.Since(s.LastRunAt) < wait {
		return
	}
	w.jitter = rand.Float64()
	held, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(w.lease.Context(), stop)() // a node that loses the lease stops
	if err := r.runUnderLease(held, w); err != nil && !errors.Is(err, ErrRunning) && ctx.Err() == nil {
		r.cfg.Failed(w.Name, err)
	}
}

func (r *Runner) releaseLease(w *scheduledJob) {
	if w.lease == nil {
		return
	}
	_ = w.lease.Release(context.Background()) // otherwise it expires by itself
	w.lease = nil
	r.metrics.leader.WithLabelValues(w.Name).Set(0)
}

// RunNow runs a job once, whether it is due or not. The error is ErrUnknown, ErrRunning, the error
// of the job, or says why the job could not be run.
func (r *Runner) RunNow(ctx context.Context, name string) error {
	w := r.findJobByName(name)
	if w == nil {
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return r.runUnderLease(ctx, w)
}

// runUnderLease runs the job while nobody else does, and stores the outcome.
func (r *Runner) runUnderLease(ctx context.Context, w *scheduledJob) error {
	l, ok, err := r.leases.Take(context.WithoutCancel(ctx), jobLeaseName(w.Name)+":run")
	if err != nil {
		return fmt.Errorf("take the lease of the run: %w", err)
	}
	if !ok {
		return ErrRunning
	}
	defer func() { _ = l.Release(ctx) }() // otherwise it expires by itself
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	defer context.AfterFunc(l.Context(), cancel)()
	start := time.Now()
	err = runRecovered(ctx, w.Run)
	took := time.Since(start)
	r.metrics.recordOutcome(w.Name, start, took, err)
	return errors.Join(err, r.storeOutcome(context.WithoutCancel(ctx), w, start, took, err))
}

// runRecovered calls fn, and returns a panic as an error.
func runRecovered(ctx context.Context, fn func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("jobs: panic: %v", p)
		}
	}()
	return fn(ctx)
}

// jobLeaseName is the name of a job's lease.
func jobLeaseName(job string) string { return "job:" + job }
