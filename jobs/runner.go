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

// Errors of RunNow.
var (
	// ErrUnknown: there is no job of that name.
	ErrUnknown = errors.New("jobs: there is no such job")
	// ErrRunning: it runs already, here or on another node.
	ErrRunning = errors.New("jobs: it is running")
)

// A Job is work that is done again and again. Run is stopped by its context.
type Job struct {
	Name    string
	About   string // for people, in a few words
	Every   time.Duration
	Timeout time.Duration // 0 means a minute
	Run     func(ctx context.Context) error
}

// Leases hands out leases; it is how nodes agree who does it.
type Leases interface {
	// Take returns a lease that is extended until Release, and ok false when somebody else
	// has it. It does not wait for them.
	Take(ctx context.Context, name string) (l Lease, ok bool, err error)
}

// A Lease is held until Release, or until its context ends.
type Lease interface {
	Context() context.Context
	Release(ctx context.Context) error
}

// Config tunes a Runner. The zero value works.
type Config struct {
	// Node is this node's name in what List tells.
	Node string
	// Look is how often a node looks what is to be done; 0 means 5 s.
	Look time.Duration
	// Jitter is the share of Every that a run may come later, at random; 0 means 0.1.
	Jitter float64
	// Failed, when set, is told of runs that failed, and of what kept a node from looking.
	Failed func(job string, err error)
}

// A Runner is one node's part in the work.
type Runner struct {
	rdb    redis.UniversalClient
	leases Leases
	cfg    Config
	jobs   []*work
	meters *meters
}

// work is a job and this node's standing in it. Its task runs one at a time.
type work struct {
	Job
	lead   Lease   // nil for a follower; owned by look
	spread float64 // of the jitter, for the next run: 0 to 1; owned by look
}

// New makes a Runner. It panics when two jobs have one name, or one has none, no Every or no Run.
func New(rdb redis.UniversalClient, leases Leases, cfg Config, all ...Job) *Runner {
	if cfg.Look <= 0 {
		cfg.Look = 5 * time.Second
	}
	if cfg.Jitter <= 0 {
		cfg.Jitter = 0.1
	}
	if cfg.Failed == nil {
		cfg.Failed = func(string, error) {}
	}
	r := &Runner{rdb: rdb, leases: leases, cfg: cfg, meters: newMeters()}
	for _, j := range all {
		if j.Name == "" || j.Every <= 0 || j.Run == nil || r.find(j.Name) != nil {
			panic(fmt.Sprintf("jobs: bad job %q", j.Name))
		}
		if j.Timeout <= 0 {
			j.Timeout = time.Minute
		}
		r.meters.leader.WithLabelValues(j.Name).Set(0)
		r.jobs = append(r.jobs, &work{Job: j, spread: rand.Float64()})
	}
	return r
}

func (r *Runner) find(name string) *work {
	for _, w := range r.jobs {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// Run works until ctx ends, then gives its leases back. It is called once. The error says
// why it could not begin.
func (r *Runner) Run(ctx context.Context) error {
	s, err := gocron.NewScheduler(gocron.WithStopTimeout(10 * time.Second))
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	for _, w := range r.jobs {
		_, err := s.NewJob(
			gocron.DurationRandomJob(r.cfg.Look-r.cfg.Look/5, r.cfg.Look+r.cfg.Look/5),
			gocron.NewTask(func(ctx context.Context) { r.look(ctx, w) }),
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
	err = s.Shutdown() // waits for looks
	for _, w := range r.jobs {
		r.follow(w)
	}
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	return nil
}

// look is what a node does for a job now and then: lead, if nobody else does, and run it,
// if it is due.
func (r *Runner) look(ctx context.Context, w *work) {
	if ctx.Err() != nil {
		return
	}
	if w.lead != nil && w.lead.Context().Err() != nil {
		r.follow(w) // the lease was lost
	}
	if w.lead == nil {
		// The lease outlives this look, so its context is not the look's.
		l, ok, err := r.leases.Take(context.WithoutCancel(ctx), leaseOf(w.Name))
		switch {
		case err != nil:
			r.cfg.Failed(w.Name, fmt.Errorf("lead: %w", err))
			return
		case !ok:
			return
		}
		w.lead = l
		r.meters.leader.WithLabelValues(w.Name).Set(1)
	}
	s, err := r.state(ctx, w)
	if err != nil {
		r.cfg.Failed(w.Name, err)
		return
	}
	r.meters.last.WithLabelValues(w.Name).Set(float64(s.LastRunAt.Unix()))
	wait := w.Every + time.Duration(w.spread*r.cfg.Jitter*float64(w.Every))
	if s.Runs > 0 && time.Since(s.LastRunAt) < wait {
		return
	}
	w.spread = rand.Float64()
	held, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(w.lead.Context(), stop)() // who leads no more stops
	if err := r.run(held, w); err != nil && !errors.Is(err, ErrRunning) && ctx.Err() == nil {
		r.cfg.Failed(w.Name, err)
	}
}

func (r *Runner) follow(w *work) {
	if w.lead == nil {
		return
	}
	_ = w.lead.Release(context.Background()) // it runs out by itself otherwise
	w.lead = nil
	r.meters.leader.WithLabelValues(w.Name).Set(0)
}

// RunNow runs a job once, whether it is due or not. Errors: ErrUnknown, ErrRunning, the
// job's own, and what kept it from being run.
func (r *Runner) RunNow(ctx context.Context, name string) error {
	w := r.find(name)
	if w == nil {
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return r.run(ctx, w)
}

// run does the work, nobody else doing it, and keeps what came of it.
func (r *Runner) run(ctx context.Context, w *work) error {
	l, ok, err := r.leases.Take(context.WithoutCancel(ctx), leaseOf(w.Name)+":run")
	if err != nil {
		return fmt.Errorf("take turns: %w", err)
	}
	if !ok {
		return ErrRunning
	}
	defer func() { _ = l.Release(ctx) }() // it runs out by itself otherwise
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	defer context.AfterFunc(l.Context(), cancel)()
	start := time.Now()
	err = call(ctx, w.Run)
	took := time.Since(start)
	r.meters.ran(w.Name, start, took, err)
	return errors.Join(err, r.keep(context.WithoutCancel(ctx), w, start, took, err))
}

// call runs fn; a panic is an error.
func call(ctx context.Context, fn func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("jobs: panic: %v", p)
		}
	}()
	return fn(ctx)
}

// leaseOf is the name of a job's lease.
func leaseOf(job string) string { return "job:" + job }
