package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

// embeddedServers are the processes that serve on a unix socket as children of a process.
func embeddedServers(t *testing.T, parent int) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil { // it has ended
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		var state string
		var ppid int
		if _, err := fmt.Sscan(rest, &state, &ppid); err != nil || ppid != parent || state == "Z" {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if strings.Contains(string(line), "redis.sock") {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// gone waits until a process has ended.
func gone(t *testing.T, pid string) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, patience, tick, "process %s is still there", pid)
}

// It is not parallel: it looks at the children of this process.
func TestServesWithNothingConfigured(t *testing.T) {
	g := serve(t, "--dev")
	require.Contains(t, g.out.String(), "EMBEDDED")
	require.Contains(t, g.out.String(), g.public+"/auth/login")
	servers := embeddedServers(t, os.Getpid())
	require.Len(t, servers, 1)

	p := g.connect(g.guest("ann"))
	p.ok("session:ping", "")
	health := do(t, "GET", g.admin+"/health/redis", "")
	require.Equal(t, 200, health.status)
	require.Contains(t, health.json(t)["server"], "embedded redis-server")

	require.NoError(t, g.stop())
	require.False(t, p.ended())
	gone(t, servers[0])
	_, err := try(t, "GET", g.public+"/health/live", "")
	require.Error(t, err, "the port is free again")
}

// The same, when the embedded server dies.
func TestEndsWithItsEmbeddedRedis(t *testing.T) {
	g := serve(t, "--dev")
	servers := embeddedServers(t, os.Getpid())
	require.Len(t, servers, 1)
	kill(t, servers[0])
	err := g.wait(patience)
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err), "%v", err)
}

func kill(t *testing.T, pid string) {
	t.Helper()
	var n int
	_, err := fmt.Sscan(pid, &n)
	require.NoError(t, err)
	p, err := os.FindProcess(n)
	require.NoError(t, err)
	require.NoError(t, p.Kill())
}

func TestDrains(t *testing.T) {
	t.Parallel()
	const over = 1500 * time.Millisecond
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--drain-for", over.String())
	players := []*player{}
	for i := range 4 {
		players = append(players, g.connect(g.guest(fmt.Sprint("user", i))))
	}
	begun := time.Now()
	g.cancel()
	for _, p := range players {
		bye := p.event("gateway:closing")
		require.Equal(t, "DRAINING", bye["code"])
		require.Positive(t, bye["reconnectInMs"])
	}
	ready := do(t, "GET", g.public+"/health/ready", "")
	require.Equal(t, 503, ready.status)
	require.Equal(t, "draining", ready.json(t)["status"])
	require.Equal(t, 200, do(t, "GET", g.public+"/health/live", "").status)
	require.Equal(t, 200, do(t, "GET", g.admin+"/metrics", "").status, "operators look on")
	_, res, err := dial(t, g)
	require.Error(t, err)
	require.Equal(t, 503, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))

	still := 0
	for _, p := range players {
		if p.open() {
			still++
		}
	}
	require.Positive(t, still, "they do not all go at once")
	for _, p := range players {
		require.False(t, p.ended(), "a DISCONNECT would keep browsers away")
	}
	require.NoError(t, g.wait(patience))
	require.Less(t, time.Since(begun), over+3*time.Second)
}

func TestAnUnreachableRedisIsToldAtStart(t *testing.T) {
	t.Parallel()
	dead := redistest.Server(t)
	dead.Kill()
	for name, args := range map[string][]string{
		"serve":                {"serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis-wait=0"},
		"session create":       {"session", "create", "--user", "u", "--username", "n"},
		"session show":         {"session", "show", "x"},
		"session list":         {"session", "list", "x"},
		"session revoke":       {"session", "revoke", "x"},
		"session revoke-user":  {"session", "revoke-user", "x"},
		"trade mint":           {"trade", "mint", "--character", "c", "--gold", "1"},
		"trade show":           {"trade", "show", "x"},
		"trade list":           {"trade", "list"},
		"trade audit":          {"trade", "audit"},
		"a socket that is not": {"session", "list", "x", "--redis", "unix:///nowhere/redis.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name != "a socket that is not" {
				args = append(args, "--redis", dead.URL())
			}
			out, errs, code := command(t, args...)
			require.Equal(t, cli.ExitUnreachable, code, errs)
			require.Empty(t, out)
			require.NotEmpty(t, errs)
		})
	}
}

func TestThePasswordOfRedisIsNeverShown(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	redis := redistest.Server(t, "--requirepass", secret)
	url := strings.Replace(redis.URL(), "redis://", "redis://:"+secret+"@", 1)
	dead := "redis://user:" + secret + "@127.0.0.1:1"

	g := serve(t, "--redis", url, "--dev", "--log-level", "debug")
	p := g.connect(g.guest("ann"))
	said := g.out.String()
	look := func() {
		for _, path := range []string{"/health/redis", "/health/ready", "/health/detailed", "/metrics", "/debug/pprof/cmdline"} {
			a := do(t, "GET", g.admin+path, "")
			said += string(a.body)
		}
	}
	look()
	redis.Kill()
	g.status(g.public+"/health/ready", 503, patience)
	said += fmt.Sprint(p.refused("combat:start", `{"npc":"training-dummy"}`))
	look()
	require.NoError(t, g.stop())
	said += g.out.String() + g.err.String()
	require.Contains(t, said, "***")

	for name, args := range map[string][]string{
		"unreachable":         {"serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis-wait=0", "--redis", dead},
		"wrong password":      {"session", "list", "ann", "--redis", strings.Replace(url, secret, secret+"x", 1)},
		"malformed":           {"session", "list", "ann", "--redis", dead + "x"},
		"no scheme":           {"session", "list", "ann", "--redis", strings.TrimPrefix(dead, "redis://")},
		"in the wrong place":  {"serve", dead},
		"an unknown flag":     {"serve", "--rediss=" + dead},
		"with a space":        {"serve", "redis://user:x " + secret + "@127.0.0.1:1"},
		"where a number goes": {"serve", "--max-payload", dead},
		"in the file":         {"serve", "--config", writeFile(t, "max-payload: "+dead+"\n")},
		"help":                {"serve", "--redis", dead, "--help"},
	} {
		out, errs, code := command(t, args...)
		if name != "help" {
			require.NotZero(t, code, name)
			require.NotEmpty(t, errs, name)
		}
		require.NotContains(t, out+errs, secret, name)
		said += out + errs
	}
	require.NotContains(t, said, secret)
}

func TestAdminMayBeOff(t *testing.T) {
	t.Parallel()
	out := &output{}
	done := make(chan error, 1)
	ctx, cancel := contextFor(t)
	go func() {
		done <- runProgram(ctx, []string{"serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis", redistest.URL(t), "--drain-for", "0s"}, environment(nil), out, &output{})
	}()
	require.Eventually(t, func() bool { return publicLine.MatchString(out.String()) }, patience, tick)
	require.NotContains(t, out.String(), "operators")
	public := publicLine.FindStringSubmatch(out.String())[1]
	require.Equal(t, http.StatusNotFound, do(t, "GET", public+"/metrics", "").status)
	cancel()
	require.NoError(t, <-done)
}
