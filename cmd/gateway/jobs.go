package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/jobs"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/sessions"
)

// jobsCmd is for operators; nodes that serve do the work by themselves.
type jobsCmd struct {
	List jobsList `cmd:"" help:"Show each job, its last run and its last error."`
	Run  jobsRun  `cmd:"" help:"Run a job now, here."`
}

// chores is all periodic work. What the guide does every five minutes and every thirty.
func chores(rdb redis.UniversalClient, locks *lock.Manager, store *sessions.Store, c *cache.Manager, boards *leaderboard.Service) []jobs.Job {
	warm := func(name string, ttl time.Duration) cache.WarmItem {
		return cache.WarmItem{Key: keys.Leaderboard(name), TTL: ttl, Load: func(ctx context.Context) (any, error) {
			return boards.Top(ctx, name, boardLen)
		}}
	}
	return []jobs.Job{
		{
			Name: "temp", About: "removes temp:* keys that have no TTL", Every: 5 * time.Minute, Timeout: 2 * time.Minute,
			Run: func(ctx context.Context) error {
				_, err := jobs.RemoveForgotten(ctx, rdb, keys.AllTemp)
				return err
			},
		},
		{
			Name: "locks", About: "removes locks that have no TTL", Every: 5 * time.Minute, Timeout: 2 * time.Minute,
			Run: func(ctx context.Context) error {
				_, err := locks.Cleanup(ctx)
				return err
			},
		},
		{
			Name: "sessions", About: "forgets sessions that are gone, in the users' lists", Every: 5 * time.Minute, Timeout: 2 * time.Minute,
			Run: func(ctx context.Context) error {
				_, err := store.CleanupExpired(ctx)
				return err
			},
		},
		{
			Name: "leaderboards", About: "warms the lists of global and weekly", Every: 30 * time.Minute,
			Run: func(ctx context.Context) error {
				return c.WarmBulk(ctx, warm(leaderboard.Global, 2*time.Hour), warm(leaderboard.Weekly, time.Hour))
			},
		},
	}
}

// leases are lock.Manager as jobs want it.
type leases struct{ *lock.Manager }

func (l leases) Take(ctx context.Context, name string) (jobs.Lease, bool, error) {
	lease, err := l.Acquire(ctx, name, lock.Options{TTL: 15 * time.Second, Wait: -1, MaxHold: 365 * 24 * time.Hour})
	if errors.Is(err, lock.ErrTaken) {
		return nil, false, nil
	}
	return lease, err == nil, err
}

// makeJobs is this node's part in the work.
func (n *node) makeJobs() {
	n.chores = jobs.New(n.rdb, leases{n.locks}, jobs.Config{Node: n.name, Failed: n.jobFailed}, chores(n.rdb, n.locks, n.store, n.cache, n.boards)...)
}

func (n *node) jobFailed(job string, err error) {
	n.log.Warn("job failed", zap.String("job", job), zap.Error(err))
}

// runner opens Redis and the jobs in it; done closes it.
func (f lockFlag) runner(ctx context.Context) (r *jobs.Runner, done func(), err error) {
	rdb, err := f.redisFlag.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	locks, closeLocks, err := f.open(ctx)
	if err != nil {
		_ = rdb.Close()
		return nil, nil, err
	}
	c := cache.New(rdb, cache.Config{Local: cache.Local{Off: true}, Budget: 2 * time.Second})
	r = jobs.New(rdb, leases{locks}, jobs.Config{Node: "command"},
		chores(rdb, locks, sessions.New(rdb, sessions.Config{}), c, leaderboard.New(rdb, leaderboard.Config{}))...)
	return r, func() {
		c.Close()
		closeLocks()
		_ = rdb.Close()
	}, nil
}

type jobsList struct {
	lockFlag `embed:""`
	JSON     bool `help:"Print JSON."`
}

// jobView is a job as the command line and /health/detailed show it. Times are Unix ms; 0 is never.
type jobView struct {
	Name      string `json:"name"`
	About     string `json:"about"`
	EveryMs   int64  `json:"everyMs"`
	LastRunAt int64  `json:"lastRunAt"`
	TookMs    int64  `json:"tookMs"`
	LastError string `json:"lastError"`
	Node      string `json:"node"`
	Runs      int64  `json:"runs"`
	Failures  int64  `json:"failures"`
}

func jobViews(all []jobs.State) []jobView {
	out := make([]jobView, len(all))
	for i, s := range all {
		out[i] = jobView{s.Name, s.About, s.Every.Milliseconds(), 0, s.Took.Milliseconds(), s.LastError, s.Node, s.Runs, s.Failures}
		if !s.LastRunAt.IsZero() {
			out[i].LastRunAt = s.LastRunAt.UnixMilli()
		}
	}
	return out
}

// Run lists all jobs.
func (c jobsList) Run(ctx context.Context, s streams) error {
	r, done, err := c.runner(ctx)
	if err != nil {
		return err
	}
	defer done()
	all, err := r.List(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, jobViews(all))
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "JOB\tEVERY\tLAST RUN\tTOOK\tNODE\tRUNS\tFAILURES\tLAST ERROR")
	for _, j := range all {
		last := "never"
		if !j.LastRunAt.IsZero() {
			last = j.LastRunAt.UTC().Format(time.RFC3339)
		}
		row(t, j.Name, j.Every.String(), last, j.Took.String(), j.Node, fmt.Sprint(j.Runs), fmt.Sprint(j.Failures), j.LastError)
	}
	return t.Flush()
}

type jobsRun struct {
	lockFlag `embed:""`
	Name     string `arg:"" help:"The job: temp, locks, sessions or leaderboards."`
}

// Run exits 1 when the job fails, or runs already.
func (c jobsRun) Run(ctx context.Context, s streams) error {
	r, done, err := c.runner(ctx)
	if err != nil {
		return err
	}
	defer done()
	start := time.Now()
	err = r.RunNow(ctx, c.Name)
	if errors.Is(err, jobs.ErrUnknown) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s: done in %s\n", c.Name, time.Since(start).Round(time.Millisecond))
	return nil
}
