package redistest_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redistest"
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

// TestServerDiesWithTheTestBinary runs this binary again, kills it with -9 and sees its
// servers gone.
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

// zombie tells whether a process is dead but not waited for: its new parent may be slow.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil && strings.Contains(string(stat), ") Z ")
}
