package redistest_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

func TestDatabasesAreEmptyAndApart(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a, b := redistest.Client(t), redistest.Client(t)
	require.Zero(t, a.DBSize(ctx).Val())
	require.NoError(t, a.Set(ctx, "k", "v", 0).Err())
	require.ErrorIs(t, b.Get(ctx, "k").Err(), redis.Nil)

	o, err := redis.ParseURL(redistest.URL(t))
	require.NoError(t, err)
	c := redis.NewClient(o)
	defer c.Close()
	require.ErrorIs(t, c.Get(ctx, "k").Err(), redis.Nil)
}

func TestInstanceLifecycle(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t, "--maxmemory", "64mb")
	c := s.Client()
	require.Equal(t, map[string]string{"maxmemory": "67108864"}, c.ConfigGet(ctx, "maxmemory").Val())
	require.NoError(t, c.Set(ctx, "k", "v", 0).Err())

	s.Pause()
	require.Error(t, c.Ping(ctx).Err(), "a frozen server answers nothing")
	s.Resume()
	require.NoError(t, c.Ping(ctx).Err())
	require.Equal(t, "v", c.Get(ctx, "k").Val())

	addr := s.Addr()
	for name, end := range map[string]func(){"stop": s.Stop, "kill": s.Kill, "kill while frozen": func() { s.Pause(); s.Kill() }} {
		end()
		require.Error(t, c.Ping(ctx).Err(), name)
		s.Restart()
		require.Equal(t, addr, s.Addr())
		require.NoError(t, c.Ping(ctx).Err(), name)
		require.ErrorIs(t, c.Get(ctx, "k").Err(), redis.Nil, "nothing is kept")
	}
}

// Each fault is visible to the client, and gone after Mend.
func TestToxic(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		spoil   func(*redistest.Wire)
		refused bool
	}{
		"sound":      {(*redistest.Wire).Mend, false},
		"delay":      {func(w *redistest.Wire) { w.Delay(30 * time.Millisecond) }, false},
		"late":       {func(w *redistest.Wire) { w.Delay(10 * time.Second) }, true},
		"black hole": {(*redistest.Wire).BlackHole, true},
		"cut in two": {(*redistest.Wire).Isolate, true},
		"refused":    {(*redistest.Wire).Refuse, true},
		"reset":      {(*redistest.Wire).Reset, true},
		"trickle":    {func(w *redistest.Wire) { w.Trickle(time.Second) }, true},
		"two faults": {func(w *redistest.Wire) { w.Reset(); w.Delay(0) }, false},
		"cut":        {(*redistest.Wire).Cut, false}, // a new connection is there at once
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := redistest.Toxic(t, server)
			rdb := w.Client()
			require.Eventually(t, func() bool { return rdb.Ping(ctx).Err() == nil }, 10*time.Second, time.Millisecond)
			c.spoil(w)
			begun := time.Now()
			if c.refused {
				require.Error(t, rdb.Ping(ctx).Err())
			} else {
				require.Eventually(t, func() bool { return rdb.Ping(ctx).Err() == nil }, 10*time.Second, time.Millisecond)
			}
			if name == "delay" {
				require.GreaterOrEqual(t, time.Since(begun), 30*time.Millisecond)
			}
			w.Mend()
			require.Eventually(t, func() bool { return rdb.Ping(ctx).Err() == nil }, 10*time.Second, time.Millisecond)
		})
	}
}

// Only the connections that subscribe are cut.
func TestRelayCutsSubscriptions(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	relay := redistest.NewRelay(t, redistest.Server(t))
	opts, err := redis.ParseURL(relay.URL())
	require.NoError(t, err)
	opts.PoolSize, opts.MaxRetries = 1, -1
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	id := rdb.ClientID(ctx).Val()
	require.NotZero(t, id)
	require.Zero(t, relay.CutSubscriptions(), "there is none")
	news := rdb.Subscribe(ctx, "news")
	t.Cleanup(func() { _ = news.Close() })
	_, err = news.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, relay.CutSubscriptions())
	_, err = news.Receive(ctx)
	require.Error(t, err)
	require.Equal(t, id, rdb.ClientID(ctx).Val(), "the other connection lives")
}

// What was written behind the size is gone after a restart.
func TestAppendOnlyFileIsTruncated(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t, "--appendonly", "yes")
	c := s.Client()
	require.NoError(t, c.Set(ctx, "before", "1", 0).Err())
	size := s.AppendOnlySize()
	require.Positive(t, size)
	require.NoError(t, c.Set(ctx, "behind", "1", 0).Err())
	s.Kill()
	s.TruncateAppendOnly(size)
	s.Restart()
	require.EqualValues(t, 1, c.Exists(ctx, "before").Val())
	require.Zero(t, c.Exists(ctx, "behind").Val())
}

// Cut closes a connection that is open.
func TestToxicCut(t *testing.T) {
	t.Parallel()
	w := redistest.Toxic(t, redistest.Server(t))
	conn, err := net.Dial("tcp", w.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("PING\r\n"))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 64))
	require.NoError(t, err)
	w.Cut()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Read(make([]byte, 64))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// TestServerDiesWithTheTestBinary starts this binary as a child, kills it with SIGKILL, and checks
// that its servers end too.
func TestServerDiesWithTheTestBinary(t *testing.T) {
	if os.Getenv("REDISTEST_CHILD") != "" {
		_, err := os.Stdout.WriteString("pid=" + strconv.Itoa(redistest.Server(t).Pid()) + "\n")
		require.NoError(t, err)
		select {}
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithTheTestBinary$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), "REDISTEST_CHILD=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	require.NoError(t, err)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	pid, err := strconv.Atoi(strings.TrimPrefix(line, "pid="))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, 0), "the server runs")
	require.NoError(t, cmd.Process.Kill())
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) }, 5*time.Second, 10*time.Millisecond)
}

// zombie reports whether a process has ended but its new parent has not waited for it yet.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil && strings.Contains(string(stat), ") Z ")
}
