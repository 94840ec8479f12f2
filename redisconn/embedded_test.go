package redisconn_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/redisconn"
)

func embedded(t *testing.T, cfg redisconn.EmbeddedConfig) *redisconn.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := redisconn.Embedded(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestEmbeddedServerIsPrivate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	parent, err := os.MkdirTemp("", "e")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	s := embedded(t, redisconn.EmbeddedConfig{Dir: parent})
	require.Regexp(t, `^(redis|valkey)-server \d+\.\d+\.\d+$`, s.Kind())
	require.NoError(t, s.Err())

	c := open(t, s.URL())
	require.NoError(t, c.Set(ctx, "k", "v", 0).Err())
	require.Equal(t, "0", c.ConfigGet(ctx, "port").Val()["port"], "no TCP port")
	require.Equal(t, "", c.ConfigGet(ctx, "save").Val()["save"])
	require.Equal(t, "no", c.ConfigGet(ctx, "appendonly").Val()["appendonly"])
	dir := filepath.Dir(strings.TrimPrefix(s.URL(), "unix://"))
	st, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), st.Mode().Perm())

	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice is fine")
	<-s.Done()
	require.Error(t, c.Ping(ctx).Err())
	require.NoDirExists(t, dir)
}

func TestEmbeddedServerThatDiesIsTold(t *testing.T) {
	t.Parallel()
	s := embedded(t, redisconn.EmbeddedConfig{})
	select {
	case <-s.Done():
		t.Fatal("it lives")
	default:
	}
	require.NoError(t, syscall.Kill(pidOf(t, s.URL()), syscall.SIGKILL))
	select {
	case <-s.Done():
		require.ErrorContains(t, s.Err(), "killed")
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was told")
	}
}

func pidOf(t *testing.T, url string) int {
	t.Helper()
	text := open(t, url).Info(context.Background(), "server").Val()
	_, after, ok := strings.Cut(text, "process_id:")
	require.True(t, ok)
	var pid int
	_, err := fmt.Sscan(after, &pid)
	require.NoError(t, err)
	return pid
}

// holdEmbedded is the child of TestEmbeddedServerDiesWithUs: it starts an embedded server,
// tells its URL, and waits to be killed.
func holdEmbedded() {
	s, err := redisconn.Embedded(context.Background(), redisconn.EmbeddedConfig{Dir: os.Getenv("REDISCONN_CHILD")})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.URL())
	select {}
}

func TestEmbeddedServerDiesWithUs(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("", "e")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "REDISCONN_CHILD="+parent)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	url, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	url = strings.TrimSpace(url)
	require.Positive(t, pidOf(t, url), "it runs")

	require.NoError(t, child.Process.Signal(syscall.SIGKILL))
	_ = child.Wait() // it was killed
	require.Eventually(t, func() bool {
		_, err := redisconn.Open(context.Background(), url, redisconn.Config{})
		return err != nil
	}, 5*time.Second, 10*time.Millisecond)

	dir := filepath.Dir(strings.TrimPrefix(url, "unix://"))
	require.DirExists(t, dir, "kill -9 leaves it behind")
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(dir, old, old))
	second := embedded(t, redisconn.EmbeddedConfig{Dir: parent})
	require.NoDirExists(t, dir, "the next start sweeps it")

	owned := filepath.Dir(strings.TrimPrefix(second.URL(), "unix://"))
	require.NoError(t, os.Chtimes(owned, old, old))
	embedded(t, redisconn.EmbeddedConfig{Dir: parent})
	require.DirExists(t, owned, "what has an owner stays")
}

func TestEmbeddedWithoutAProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.Equal(t, "miniredis", embedded(t, redisconn.EmbeddedConfig{}).Kind())
}

func TestInProcessClockTicks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := embedded(t, redisconn.EmbeddedConfig{InProcess: true})
	require.Equal(t, "miniredis", s.Kind())
	require.NotContains(t, s.URL(), redisconn.Redact(s.URL()))
	c := open(t, s.URL())
	require.NoError(t, c.Set(ctx, "short", "v", 300*time.Millisecond).Err())
	require.NoError(t, c.Set(ctx, "long", "v", time.Hour).Err())
	start := time.Now()
	require.Eventually(t, func() bool { return c.Get(ctx, "short").Err() == redis.Nil }, 5*time.Second, 5*time.Millisecond)
	require.Greater(t, time.Since(start), 200*time.Millisecond, "time passes no faster than it should")
	require.Greater(t, c.PTTL(ctx, "long").Val(), 59*time.Minute)

	_, err := redisconn.Open(ctx, "redis://"+c.(*redis.Client).Options().Addr, redisconn.Config{})
	require.ErrorIs(t, err, redisconn.ErrRefused, "it wants the password")
	require.NoError(t, s.Err())
	require.NoError(t, s.Close())
	<-s.Done()
	require.Error(t, c.Ping(ctx).Err())
}

// TestNothingIsLeft is not parallel: it counts goroutines.
func TestNothingIsLeft(t *testing.T) {
	open(t, embedded(t, redisconn.EmbeddedConfig{}).URL()) // go-redis starts a clock once
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	for _, cfg := range []redisconn.EmbeddedConfig{{}, {InProcess: true}} {
		s, err := redisconn.Embedded(ctx, cfg)
		require.NoError(t, err)
		c, err := redisconn.Open(ctx, s.URL(), redisconn.Config{})
		require.NoError(t, err)
		m := redisconn.NewMonitor(c, redisconn.MonitorConfig{Every: time.Millisecond})
		done := make(chan error, 1)
		running, stop := context.WithCancel(ctx)
		go func() { done <- m.Run(running) }()
		require.Equal(t, redisconn.StatusUp, redisconn.Check(ctx, c).Status)
		stop()
		require.NoError(t, <-done)
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
	}
	cancel()
	goleak.VerifyNone(t, before)
}
