package ops

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/jobs"
	"github.com/aeturnis/realtime/leaderboard"
)

// Jobs is the command that lists and runs jobs. Nodes that serve run them by themselves.
type Jobs struct {
	List jobsList `cmd:"" help:"Show each job, its last run and its last error."`
	Run  jobsRun  `cmd:"" help:"Run a job now, here."`
}

// openJobRunner opens Redis and the jobs in it. The caller calls done at the end.
func (f lockFlags) openJobRunner(ctx context.Context) (r *jobs.Runner, done func(), err error) {
	rdb, err := f.OpenRedis(ctx)
	if err != nil {
		return nil, nil, err
	}
	locks, closeLocks, err := f.openLocks(ctx)
	if err != nil {
		_ = rdb.Close()
		return nil, nil, err
	}
	store, err := newSessions(ctx, rdb)
	if err != nil {
		closeLocks()
		_ = rdb.Close()
		return nil, nil, err
	}
	c := cache.New(rdb, cache.Config{Local: cache.Local{Off: true}, Budget: 2 * time.Second})
	r = jobs.New(rdb, housekeeping.Leases{Manager: locks}, jobs.Config{Node: "command"},
		housekeeping.Jobs(rdb, locks, store, c, leaderboard.New(rdb, leaderboard.Config{}))...)
	return r, func() {
		c.Close()
		closeLocks()
		_ = rdb.Close()
	}, nil
}

type jobsList struct {
	lockFlags `embed:""`
	JSON      bool `help:"Print JSON."`
}

// Run lists all jobs.
func (c jobsList) Run(ctx context.Context, s cli.Streams) error {
	r, done, err := c.openJobRunner(ctx)
	if err != nil {
		return err
	}
	defer done()
	all, err := r.List(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, housekeeping.Views(all))
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "JOB\tEVERY\tLAST RUN\tTOOK\tNODE\tRUNS\tFAILURES\tLAST ERROR")
	for _, j := range all {
		last := "never"
		if !j.LastRunAt.IsZero() {
			last = j.LastRunAt.UTC().Format(time.RFC3339)
		}
		writeTableRow(t, j.Name, j.Every.String(), last, j.Took.String(), j.Node, fmt.Sprint(j.Runs), fmt.Sprint(j.Failures), j.LastError)
	}
	return t.Flush()
}

type jobsRun struct {
	lockFlags `embed:""`
	Name      string `arg:"" help:"The job: temp, locks, sessions or leaderboards."`
	JSON      bool   `help:"Print JSON."`
}

// A JobRunView is a run of a job.
type JobRunView struct {
	Job    string `json:"job"`
	TookMs int64  `json:"tookMs"`
}

// Run exits 1 when the job fails, or runs already.
func (c jobsRun) Run(ctx context.Context, s cli.Streams) error {
	r, done, err := c.openJobRunner(ctx)
	if err != nil {
		return err
	}
	defer done()
	start := time.Now()
	err = r.RunNow(ctx, c.Name)
	if errors.Is(err, jobs.ErrUnknown) {
		return usage.Wrap(err)
	}
	if err != nil {
		return err
	}
	if rdb, err := c.OpenRedis(ctx); err == nil {
		defer rdb.Close()
		recordAct(ctx, rdb, s, auditlog.Act{What: "jobs run", Target: c.Name})
	}
	took := time.Since(start).Round(time.Millisecond)
	if c.JSON {
		return printJSON(s.Out, JobRunView{c.Name, took.Milliseconds()})
	}
	_, err = fmt.Fprintf(s.Out, "%s: done in %s\n", c.Name, took)
	return err
}
