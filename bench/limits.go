package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/redisconn/spawn"
	"github.com/aeturnis/realtime/throttle"
)

// Decisions of the limiter alone, beside the peer's window in Lua and rate-limiter-flexible: each process on one core,
// Redis on the other. What counts is decisions per CPU-second of the client, and Redis's CPU for each.

// A decided is what one limiter did.
type decided struct {
	Decisions  int64   `json:"decisions"`
	CPUSeconds float64 `json:"cpuSeconds"`
	Seconds    float64 `json:"seconds"`
	redisCPU   float64 // seconds of Redis, the whole run, for all decisions of the run
}

func (d decided) perCPU() float64 { return float64(d.Decisions) / max(d.CPUSeconds, 1./ticks) }

// limitLoad is one run: an allowed flood has many subjects, a refused one has few and a long window.
type limitLoad struct {
	Redis             string
	Callers, Subjects int
	Limit             int
	Window            time.Duration
	Warmup, For       time.Duration
}

// wanted ratios: guarded decisions and refusals per CPU-second, and Redis CPU for each decision.
const (
	wantDecisions = 1.5
	wantRedis     = 0.75
	wantRefusals  = 2.5
)

// limitsCase is the name of this table.
const limitsCase = "limits"

func (l *lab) limitsOnly(ctx context.Context, out io.Writer) error {
	met, err := l.limits(ctx, out)
	if err == nil && !met {
		err = errMissed
	}
	return err
}

// limits measures, prints a table, and tells whether all ratios were met.
func (l *lab) limits(ctx context.Context, out io.Writer) (bool, error) {
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
		got := map[string]decided{}
		for _, who := range []string{"lua", "flexible", "ours"} {
			d, err := l.decide(ctx, who, c.load)
			if err != nil {
				return false, fmt.Errorf("limits: %s: %w", who, err)
			}
			got[who] = d
		}
		ratio := got["ours"].perCPU() / max(got["lua"].perCPU(), got["flexible"].perCPU())
		met = met && ratio >= c.want
		fmt.Fprintf(out, "| %s | %.0f | %.0f | %.0f | %.2f | ≥ %.1f |\n", c.title, got["lua"].perCPU(), got["flexible"].perCPU(), got["ours"].perCPU(), ratio, c.want)
		if c.want == wantDecisions {
			r := got["ours"].redisCPU / got["lua"].redisCPU
			met = met && r <= wantRedis
			fmt.Fprintf(out, "| %s: µs of Redis for each | %.1f | %.1f | %.1f | %.2f of the sorted set's | ≤ %.2f |\n", strings.Split(c.title, ",")[0],
				1e6*got["lua"].redisCPU, 1e6*got["flexible"].redisCPU, 1e6*got["ours"].redisCPU, r, wantRedis)
		}
	}
	return met, nil
}

// decide runs one limiter against a fresh Redis. Redis's CPU is per decision.
func (l *lab) decide(ctx context.Context, who string, in limitLoad) (decided, error) {
	port, err := freePort()
	if err != nil {
		return decided{}, err
	}
	in.Redis = "127.0.0.1:" + port
	server, err := spawn.Start(l.taskset, l.folder, "-c", l.plan.loadCore, l.redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err != nil {
		return decided{}, err
	}
	defer server.Kill()
	if err := server.Ready(ctx, "tcp", in.Redis); err != nil {
		return decided{}, err
	}
	args := []string{"-c", l.plan.serverCore, l.env}
	if who == "ours" {
		described, err := json.Marshal(in)
		if err != nil {
			return decided{}, err
		}
		args = append(args, "GOMAXPROCS=1", l.self, "-limiter", string(described))
	} else {
		args = append(args, "REDIS="+in.Redis, "LIMITER="+who, "CALLERS="+strconv.Itoa(in.Callers), "SUBJECTS="+strconv.Itoa(in.Subjects),
			"LIMIT="+strconv.Itoa(in.Limit), "WINDOW_MS="+strconv.FormatInt(in.Window.Milliseconds(), 10),
			fmt.Sprintf("WARMUP=%g", in.Warmup.Seconds()), fmt.Sprintf("SECONDS=%g", in.For.Seconds()), l.node, "limits.js")
	}
	cmd := exec.CommandContext(ctx, l.taskset, args...)
	cmd.Dir = l.plan.peer
	measuring := &onWrite{do: func() float64 { s, _ := cpuSeconds(server.Pid()); return s }}
	cmd.Stderr = measuring
	b, err := cmd.Output()
	if err != nil {
		return decided{}, fmt.Errorf("%w: %s", err, measuring.text.String())
	}
	after, err := cpuSeconds(server.Pid())
	if err != nil {
		return decided{}, err
	}
	var d decided
	if err := json.Unmarshal(b, &d); err != nil {
		return decided{}, err
	}
	d.redisCPU = (after - measuring.at) / float64(max(1, d.Decisions))
	return d, nil
}

// onWrite takes a reading when the process says that it measures from now on.
type onWrite struct {
	do   func() float64
	at   float64
	text strings.Builder
}

func (o *onWrite) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "measuring") {
		o.at = o.do()
	}
	return o.text.Write(b)
}

// playLimiter is the child: our limiter under so many callers.
func playLimiter(ctx context.Context, described string, stdout, stderr io.Writer) error {
	var in limitLoad
	if err := json.Unmarshal([]byte(described), &in); err != nil {
		return fmt.Errorf("limiter: %w", err)
	}
	rdb, err := redisconn.Open(ctx, "redis://"+in.Redis, redisconn.Config{Name: "bench", PoolSize: 64})
	if err != nil {
		return fmt.Errorf("limiter: %w", err)
	}
	defer rdb.Close()
	return decideFor(ctx, rdb, in, stdout, stderr)
}

func decideFor(ctx context.Context, rdb redis.UniversalClient, in limitLoad, stdout, stderr io.Writer) error {
	l, err := throttle.New(rdb, []throttle.Policy{{Name: "p", Limit: in.Limit, Window: in.Window, Scope: throttle.ByUser}}, throttle.Config{Budget: time.Second})
	if err != nil {
		return err
	}
	defer l.Close()
	names := make([]string, in.Subjects)
	for i := range names {
		names[i] = "u" + strconv.Itoa(i)
	}
	var decisions, next atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	policies := []string{"p"}
	for range in.Callers {
		wg.Go(func() {
			for !over.Load() {
				who := names[next.Add(1)%int64(len(names))]
				if _, err := l.Spend(ctx, policies, throttle.Subject{User: who}); err == nil {
					decisions.Add(1)
				}
			}
		})
	}
	time.Sleep(in.Warmup)
	from, cpu, began := decisions.Load(), ownCPU(), time.Now()
	fmt.Fprintln(stderr, "measuring")
	time.Sleep(in.For)
	d := decided{Decisions: decisions.Load() - from, CPUSeconds: ownCPU() - cpu, Seconds: time.Since(began).Seconds()}
	local := l.Degraded()
	over.Store(true)
	wg.Wait()
	if local {
		return fmt.Errorf("limiter: Redis was given up")
	}
	return json.NewEncoder(stdout).Encode(d)
}

// ownCPU is the processor time of this process, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
