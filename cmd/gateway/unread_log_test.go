package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// setPipeSize is Linux's F_SETPIPE_SZ.
const setPipeSize = 1031

// startWithPipe runs `gateway serve` as a process whose log goes to a pipe that holds 4 KiB, and
// returns the end that is read. The test may close it.
func startWithPipe(t *testing.T, args ...string) (g *gate, cmd *exec.Cmd, log *os.File) {
	t.Helper()
	log, w, err := os.Pipe()
	require.NoError(t, err)
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), setPipeSize, 4096)
	require.Zero(t, errno)
	g = &gate{t: t, out: &output{}, err: &output{}}
	cmd = program(t, append([]string{
		"serve", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--dev", "--drain-for", "1s", "--log-level", "debug",
	}, args...)...)
	cmd.Stdout, cmd.Stderr = g.out, w
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	require.Eventually(t, func() bool { return adminLine.MatchString(g.out.String()) }, patience, tick)
	g.public = publicLine.FindStringSubmatch(g.out.String())[1]
	g.admin = adminLine.FindStringSubmatch(g.out.String())[1]
	return g, cmd, log
}

// metric waits until a line of /metrics is as want says.
func (g *gate) metric(name string, want func(value float64) bool) {
	g.t.Helper()
	var value float64
	require.Eventually(g.t, func() bool {
		a, err := try(g.t, "GET", g.admin+"/metrics", "")
		value = metricValue(a.body, name)
		return err == nil && want(value)
	}, patience, tick, "%s is %v", name, value)
}

// metricValue is the value of one line of /metrics, 0 if there is none.
func metricValue(metrics []byte, name string) (value float64) {
	for line := range strings.Lines(string(metrics)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			value, _ = strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return value
}

// While nobody reads the log, players and operators are served, the return of Redis is noticed, and
// SIGTERM stops the gateway.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g, cmd, _ := startWithPipe(t, "--redis", redis.URL(), "--limit", "errors=off", "--limit", "connect=off")
	id := g.guest("ann")
	p := g.connect(id)
	for range 200 { // each a line: together more than the pipe takes
		p.refused("no:such-event", `{}`)
	}

	players := make([]*player, 30)
	for i := range players {
		players[i] = g.connect(g.guest(fmt.Sprintf("player%d", i)))
		players[i].ok("session:ping", "")
	}
	g.metric("gateway_connections", func(n float64) bool { return n == 31 })
	for _, p := range players {
		require.NoError(t, p.conn.Close())
	}
	g.metric("gateway_connections", func(n float64) bool { return n == 1 })

	redis.Kill()
	g.status(g.public+"/health/ready", 503, patience)
	redis.Restart()
	g.status(g.public+"/health/ready", 200, patience)

	last := g.connect(g.guest("bob"))
	begun := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "DRAINING", last.event("gateway:closing")["code"])
	require.NoError(t, ended(t, cmd))
	require.Less(t, time.Since(begun), 7*time.Second)
}

// Lines that do not fit into the buffer are counted, and a line says so when the log is read again.
func TestLinesThatNobodyReadAreCounted(t *testing.T) {
	t.Parallel()
	g, cmd, log := startWithPipe(t, "--redis", redistest.URL(t), "--limit", "errors=off", "--limit", "events=off", "--limit", "connect=off")
	p := g.connect(g.guest("ann"))
	isFull := func() bool {
		return metricValue(do(t, "GET", g.admin+"/metrics", "").body, `gateway_log_lines_dropped_total{reason="full"}`) > 0
	}
	for begun := time.Now(); !isFull(); { // about 4,500 lines later; 2,000 of a kind are written in a second
		require.Less(t, time.Since(begun), patience, "nothing was dropped")
		for range 500 {
			p.send(`42["no:such-event",{}]`)
		}
		p.ok("session:ping", "")
	}
	all := &output{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(all, log)
	}()
	require.Eventually(t, func() bool { return strings.Contains(all.String(), "log lines were dropped") }, patience, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, ended(t, cmd))
	<-read
	g.err = all
	lines, err := g.lines() // none is torn
	require.NoError(t, err)
	require.NotEmpty(t, lines)
	require.Positive(t, g.logged(1, "log lines were dropped: nobody read the log, or it could not be written", nil)[0]["lines"])
	g.logged(1, "stopped", nil)
}

// The log's reader goes away: the process does not die of SIGPIPE, and drains as always.
func TestTheReaderOfTheLogGoesAway(t *testing.T) {
	t.Parallel()
	g, cmd, log := startWithPipe(t, "--redis", redistest.URL(t))
	ann := g.connect(g.guest("ann"))
	require.NoError(t, log.Close())
	ann.refused("no:such-event", `{}`)
	g.metric(`gateway_log_lines_dropped_total{reason="failed"}`, func(n float64) bool { return n > 0 })
	g.connect(g.guest("bob")).ok("session:ping", "")
	ann.ok("session:ping", "")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "DRAINING", ann.event("gateway:closing")["code"])
	require.NoError(t, ended(t, cmd))
}
