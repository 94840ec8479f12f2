package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/throttle"
)

// This table compares the limiter alone with the peer's window in Lua and with
// rate-limiter-flexible: decisions per CPU-second of the client, and Redis's CPU time for each
// decision.

// limitLoad is one run. An allowed flood has many subjects. A refused flood has few subjects and a
// long window.
type limitLoad struct {
	Redis             string
	Callers, Subjects int
	Limit             int
	Window            time.Duration
	Warmup, For       time.Duration
}

// These are the wanted ratios: decisions and refusals per CPU-second of ours to the better of the
// others, and Redis's CPU time for each decision to the peer's.
const (
	wantDecisions = 1.5
	wantRedis     = 0.75
	wantRefusals  = 2.5
)

// limitsCase is the table's name for -only.
const limitsCase = "limits"

func (l *lab) requireLimits(ctx context.Context, out io.Writer) error {
	met, err := l.compareLimiters(ctx, out)
	if err == nil && !met {
		err = errMissed
	}
	return err
}

// compareLimiters measures, prints a table, and reports whether all wanted ratios were reached.
func (l *lab) compareLimiters(ctx context.Context, out io.Writer) (bool, error) {
	fmt.Fprint(out, "\n| limiter | peer's Lua window | rate-limiter-flexible | ours | ratio to the better | wanted |\n|---|---|---|---|---|---|\n")
	met := true
	for _, c := range []struct {
		title string
		load  limitLoad
		want  float64
	}{
		{"64 callers, decisions per CPU-second", limitLoad{Callers: 64, Subjects: 100_000, Limit: 10, Window: time.Second}, wantDecisions},
		{"512 callers, decisions per CPU-second", limitLoad{Callers: 512, Subjects: 100_000, Limit: 10, Window: time.Second}, wantDecisions},
		{"refused flood of 64, refusals per CPU-second", limitLoad{Callers: 64, Subjects: 64, Limit: 1, Window: time.Hour}, wantRefusals},
	} {
		c.load.Warmup, c.load.For = l.plan.warmup, l.plan.measured
		got := map[string]contestResult{}
		for _, who := range []string{"lua", "flexible", "ours"} {
			d, err := l.runLimiter(ctx, who, c.load)
			if err != nil {
				return false, fmt.Errorf("limits: %s: %w", who, err)
			}
			got[who] = d
		}
		ratio := got["ours"].decisionsPerCPUSecond() / max(got["lua"].decisionsPerCPUSecond(), got["flexible"].decisionsPerCPUSecond())
		met = met && ratio >= c.want
		fmt.Fprintf(out, "| %s | %.0f | %.0f | %.0f | %.2f | ≥ %.1f |\n", c.title, got["lua"].decisionsPerCPUSecond(), got["flexible"].decisionsPerCPUSecond(), got["ours"].decisionsPerCPUSecond(), ratio, c.want)
		if c.want == wantDecisions {
			r := got["ours"].redisSeconds / got["lua"].redisSeconds
			met = met && r <= wantRedis
			fmt.Fprintf(out, "| %s: µs of Redis for each | %.1f | %.1f | %.1f | %.2f of the sorted set's | ≤ %.2f |\n", strings.Split(c.title, ",")[0],
				1e6*got["lua"].redisSeconds, 1e6*got["flexible"].redisSeconds, 1e6*got["ours"].redisSeconds, r, wantRedis)
		}
	}
	return met, nil
}

// runLimiter runs one of the limiters.
func (l *lab) runLimiter(ctx context.Context, who string, in limitLoad) (contestResult, error) {
	return l.runContest(ctx, func(redis string) ([]string, error) {
		in.Redis = redis
		if who == "ours" {
			return l.selfCommand("-limiter", in)
		}
		return []string{
			"REDIS=" + in.Redis, "LIMITER=" + who, "CALLERS=" + strconv.Itoa(in.Callers), "SUBJECTS=" + strconv.Itoa(in.Subjects),
			"LIMIT=" + strconv.Itoa(in.Limit), "WINDOW_MS=" + strconv.FormatInt(in.Window.Milliseconds(), 10),
			fmt.Sprintf("WARMUP=%g", in.Warmup.Seconds()), fmt.Sprintf("SECONDS=%g", in.For.Seconds()), l.node, "limits.js",
		}, nil
	})
}

// playLimiterChild is all that the child process does: it runs our limiter under the given number
// of callers.
func playLimiterChild(ctx context.Context, described string, stdout, stderr io.Writer) error {
	var in limitLoad
	if err := json.Unmarshal([]byte(described), &in); err != nil {
		return fmt.Errorf("limiter: %w", err)
	}
	rdb, err := redisconn.Open(ctx, "redis://"+in.Redis, redisconn.Config{Name: "bench", PoolSize: 64})
	if err != nil {
		return fmt.Errorf("limiter: %w", err)
	}
	defer rdb.Close()
	return spendRepeatedly(ctx, rdb, in, stdout, stderr)
}

func spendRepeatedly(ctx context.Context, rdb redis.UniversalClient, in limitLoad, stdout, stderr io.Writer) error {
	l, err := throttle.New(rdb, []throttle.Policy{{Name: "p", Limit: in.Limit, Window: in.Window, Scope: throttle.ByUser}}, throttle.Config{Budget: time.Second})
	if err != nil {
		return err
	}
	defer l.Close()
	names := make([]string, in.Subjects)
	for i := range names {
		names[i] = "u" + strconv.Itoa(i)
	}
	var next atomic.Int64
	policies := []string{"p"}
	d := runCallers(in.Callers, in.Warmup, in.For, stderr, func(int) bool {
		who := names[next.Add(1)%int64(len(names))]
		_, err := l.Spend(ctx, policies, throttle.Subject{User: who})
		return err == nil
	})
	if l.Degraded() {
		return fmt.Errorf("limiter: the limiter stopped asking Redis and decided locally")
	}
	return json.NewEncoder(stdout).Encode(d)
}
