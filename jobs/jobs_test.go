package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/jobs"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(beANode); url != "" {
		node(url)
	}
	redistest.Main(m)
}

const (
	beANode  = "JOBS_TEST_NODE"
	patience = 20 * time.Second
	tick     = 10 * time.Millisecond
)

// locks hands out short leases of package lock.
type locks struct{ *lock.Manager }

func newLocks(rdb redis.UniversalClient) locks {
	return locks{lock.New(lock.Config{}, rdb)}
}

func (l locks) Take(ctx context.Context, name string) (jobs.Lease, bool, error) {
	lease, err := l.TryAcquire(ctx, name, lock.Options{TTL: time.Second, MaxHold: time.Hour})
	if errors.Is(err, lock.ErrTaken) {
		return nil, false, nil
	}
	return lease, err == nil, err
}

// start runs a node until stop, which waits.
func start(t *testing.T, r *jobs.Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestOneNodeOfManyRuns(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var running, most, runs atomic.Int64
	job := jobs.Job{Name: "sweep", Every: 100 * time.Millisecond, Run: func(context.Context) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		time.Sleep(20 * time.Millisecond)
		runs.Add(1)
		return nil
	}}
	begun := time.Now()
	for i := range 4 {
		start(t, jobs.New(rdb, newLocks(rdb), jobs.Config{Node: fmt.Sprint(i), CheckEvery: 10 * time.Millisecond}, job))
	}
	require.Eventually(t, func() bool { return runs.Load() >= 5 }, patience, tick)
	n := runs.Load()
	require.LessOrEqual(t, n, int64(time.Since(begun)/job.Every)+1, "each once in the cluster, however many nodes")
	require.Equal(t, int64(1), most.Load(), "one at a time")
}

func TestTheNextTakesOverWhenTheLeaderStops(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var by [2]atomic.Int64
	var stops [2]func()
	for i := range 2 {
		stops[i] = start(t, jobs.New(rdb, newLocks(rdb), jobs.Config{CheckEvery: 10 * time.Millisecond}, jobs.Job{
			Name: "sweep", Every: 20 * time.Millisecond, Run: func(context.Context) error { by[i].Add(1); return nil },
		}))
	}
	require.Eventually(t, func() bool { return by[0].Load()+by[1].Load() >= 3 }, patience, tick)
	first := 0
	if by[1].Load() > 0 {
		first = 1
	}
	require.Zero(t, by[1-first].Load(), "the leader stays")
	stops[first]()
	require.Eventually(t, func() bool { return by[1-first].Load() >= 3 }, patience, tick)
}

// node runs a job for ever in a process of its own, which the test kills.
func node(url string) {
	rdb, err := redisconn.Open(context.Background(), url, redisconn.Config{})
	if err != nil {
		panic(err)
	}
	r := jobs.New(rdb, newLocks(rdb), jobs.Config{Node: "child", CheckEvery: 20 * time.Millisecond}, jobs.Job{
		Name: "sweep", Every: 50 * time.Millisecond, Run: func(context.Context) error { return nil },
	})
	panic(r.Run(context.Background()))
}

func TestTheNextTakesOverWhenTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := redistest.URL(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), beANode+"="+url)
	require.NoError(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	rdb, err := redisconn.Open(ctx, url, redisconn.Config{})
	require.NoError(t, err)
	defer rdb.Close()
	r := jobs.New(rdb, newLocks(rdb), jobs.Config{Node: "here", CheckEvery: 20 * time.Millisecond}, jobs.Job{
		Name: "sweep", Every: 50 * time.Millisecond, Run: func(context.Context) error { return nil },
	})
	last := func() jobs.State {
		all, err := r.List(ctx)
		require.NoError(t, err)
		return all[0]
	}
	require.Eventually(t, func() bool { return last().Node == "child" && last().Runs >= 2 }, patience, tick)
	start(t, r)
	runs := last().Runs
	require.Eventually(t, func() bool { return last().Runs > runs+3 }, patience, tick)
	require.Equal(t, "child", last().Node)
	require.NoError(t, child.Process.Kill())
	killed := time.Now()
	require.Eventually(t, func() bool { return last().Node == "here" }, patience, tick)
	t.Logf("taken over after %v", time.Since(killed))
}

func TestFailuresAreKeptAndTold(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	var told atomic.Int64
	var mode atomic.Pointer[string]
	set := func(s string) { mode.Store(&s) }
	set("ok")
	job := jobs.Job{Name: "sweep", About: "sweeps", Every: time.Hour, Timeout: 50 * time.Millisecond, Run: func(ctx context.Context) error {
		switch *mode.Load() {
		case "error":
			return errors.New("broken " + strings.Repeat("x", 1000))
		case "panic":
			panic("oh")
		case "hang":
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	r := jobs.New(rdb, newLocks(rdb), jobs.Config{Node: "a", CheckEvery: tick, Failed: func(string, error) { told.Add(1) }}, job)
	for i, c := range []struct{ mode, want string }{{"error", "broken"}, {"panic", "oh"}, {"hang", "deadline"}, {"ok", ""}} {
		set(c.mode)
		err := r.RunNow(ctx, "sweep")
		require.Equal(t, c.want == "", err == nil, c.mode)
		all, err := r.List(ctx)
		require.NoError(t, err)
		s := all[0]
		require.Contains(t, s.LastError, c.want)
		require.LessOrEqual(t, len(s.LastError), 500)
		require.Equal(t, int64(i+1), s.Runs)
		require.Equal(t, "a", s.Node)
		require.WithinDuration(t, time.Now(), s.LastRunAt, patience)
	}
	reg := prometheus.NewRegistry()
	require.NoError(t, reg.Register(r))
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				require.NotContains(t, []string{"job", "instance"}, l.GetName(), "Prometheus renames it")
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	require.Equal(t, 3., got["gateway_jobs_runs_total sweep error"])
	require.Equal(t, 1., got["gateway_jobs_runs_total sweep ok"])
	require.Zero(t, got["gateway_jobs_last_failed sweep"])
	require.Positive(t, got["gateway_jobs_last_run_timestamp_seconds sweep"])
	require.ErrorIs(t, r.RunNow(ctx, "nothing"), jobs.ErrUnknown)
	require.Zero(t, told.Load(), "RunNow returns what it found")

	start(t, r)
	require.Never(t, func() bool {
		all, err := r.List(ctx) // an error is that of the test's end, which may come in between
		return err == nil && all[0].Runs != 4
	}, 10*tick, tick, "a takeover is no reason to run")
}

func TestRunsDoNotOverlap(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	begun, hold := make(chan struct{}), make(chan struct{})
	r := jobs.New(rdb, newLocks(rdb), jobs.Config{}, jobs.Job{Name: "sweep", Every: time.Hour, Run: func(context.Context) error {
		close(begun)
		<-hold
		return nil
	}})
	done := make(chan error, 1)
	go func() { done <- r.RunNow(t.Context(), "sweep") }()
	<-begun
	require.ErrorIs(t, r.RunNow(t.Context(), "sweep"), jobs.ErrRunning)
	close(hold)
	require.NoError(t, <-done)
}

func TestALeaderWithoutItsLeaseStops(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	stopped := make(chan struct{})
	var once atomic.Bool
	start(t, jobs.New(server.Client(), newLocks(server.Client()), jobs.Config{CheckEvery: tick}, jobs.Job{
		Name: "sweep", Every: time.Millisecond, Run: func(ctx context.Context) error {
			if once.CompareAndSwap(false, true) {
				server.Kill()
				<-ctx.Done()
				close(stopped)
			}
			return nil
		},
	}))
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("it went on without a lease")
	}
	server.Restart()
}

func TestForgottenKeys(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func() string{
		"standalone": func() string { return redistest.URL(t) },
		"cluster":    func() string { return redistest.StartCluster(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			rdb, err := redisconn.Open(ctx, url(), redisconn.Config{})
			require.NoError(t, err)
			defer rdb.Close()
			for i := range 1200 {
				require.NoError(t, rdb.Set(ctx, fmt.Sprintf("temp:forgotten:%d", i), 1, 0).Err())
			}
			require.NoError(t, rdb.HSet(ctx, "temp:hash:1", "a", 1).Err())
			require.NoError(t, rdb.Set(ctx, "temp:password_reset:123", 1, time.Hour).Err())
			require.NoError(t, rdb.Set(ctx, "template", 1, 0).Err())
			n, err := jobs.RemoveKeysWithoutTTL(ctx, rdb, "temp:*")
			require.NoError(t, err)
			require.Equal(t, 1201, n)
			for key, want := range map[string]int64{"temp:forgotten:7": 0, "temp:hash:1": 0, "temp:password_reset:123": 1, "template": 1} {
				require.Equal(t, want, rdb.Exists(ctx, key).Val(), key)
			}
		})
	}
}

func TestJobsThatCanNotBe(t *testing.T) {
	t.Parallel()
	run := func(context.Context) error { return nil }
	for name, all := range map[string][]jobs.Job{
		"no name":  {{Every: 1, Run: run}},
		"no every": {{Name: "a", Run: run}},
		"no run":   {{Name: "a", Every: 1}},
		"twice":    {{Name: "a", Every: 1, Run: run}, {Name: "a", Every: 1, Run: run}},
	} {
		require.Panics(t, func() { jobs.New(nil, nil, jobs.Config{}, all...) }, name)
	}
}
