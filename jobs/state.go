package jobs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// A State is what Redis knows about a job, from all nodes.
type State struct {
	Name      string
	About     string
	Every     time.Duration
	LastRunAt time.Time     // the start of the last run; zero: it never ran
	Took      time.Duration // by the last run
	LastError string        // of the last run; "" when it succeeded
	Node      string        // that did the last run
	Runs      int64
	Failures  int64
}

const (
	// stateTTL is how long Redis keeps the state of a job that nobody runs any more.
	stateTTL      = 30 * 24 * time.Hour
	maxErrorBytes = 500 // bytes of an error that Redis keeps
)

// List returns the state of every job, in the order of New. It takes one round trip.
func (r *Runner) List(ctx context.Context) ([]State, error) {
	pipe := r.rdb.Pipeline()
	cmds := make([]*redis.MapStringStringCmd, len(r.jobs))
	for i, w := range r.jobs {
		cmds[i] = pipe.HGetAll(ctx, keys.Job(w.Name))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := make([]State, len(r.jobs))
	for i, w := range r.jobs {
		fields, err := cmds[i].Result()
		switch {
		case redis.HasErrorPrefix(err, "WRONGTYPE"): // another program's key hides this job only
			fields = map[string]string{"error": err.Error()}
		case err != nil:
			return nil, fmt.Errorf("jobs: list: %w", err)
		}
		out[i] = parseJobState(w, fields)
	}
	return out, nil
}

func (r *Runner) readJobState(ctx context.Context, w *scheduledJob) (State, error) {
	fields, err := r.rdb.HGetAll(ctx, keys.Job(w.Name)).Result()
	if err != nil {
		return State{}, fmt.Errorf("read the last run: %w", err)
	}
	return parseJobState(w, fields), nil
}

func parseJobState(w *scheduledJob, fields map[string]string) State {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64) // a missing field is 0
		return n
	}
	s := State{
		Name: w.Name, About: w.About, Every: w.Every, Took: time.Duration(number("tookMs")) * time.Millisecond,
		LastError: fields["error"], Node: fields["node"], Runs: number("runs"), Failures: number("failures"),
	}
	if at := number("lastRunAt"); at > 0 {
		s.LastRunAt = time.UnixMilli(at)
	}
	return s
}

// storeOutcome stores the outcome of a run.
func (r *Runner) storeOutcome(ctx context.Context, w *scheduledJob, start time.Time, took time.Duration, failure error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	text, failed := "", int64(0)
	if failure != nil {
		text, failed = strings.ToValidUTF8(failure.Error(), "?"), 1
		text = text[:min(len(text), maxErrorBytes)]
	}
	key := keys.Job(w.Name)
	pipe := r.rdb.TxPipeline()
	pipe.HSet(ctx, key, "lastRunAt", start.UnixMilli(), "tookMs", took.Milliseconds(), "error", text, "node", r.cfg.Node)
	pipe.HIncrBy(ctx, key, "runs", 1)
	pipe.HIncrBy(ctx, key, "failures", failed)
	pipe.PExpire(ctx, key, stateTTL)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("store the run: %w", err)
	}
	return nil
}
