package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/server"
)

// All faults of a file are named at once, with their lines and what is allowed.
func TestConfigCheckNamesAllFaults(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`# the file of a game
drian-for: 30s
session-ttl: 48h
ping-interval: soon
log-level: loud
max-rooms: 0
max-payload: 012
limit-fallback: [local, none]
allowed-origins: [https://play.example/]
trusted-proxies: nowhere
compression: perhaps
session-ttl: 1h
policies:
  chat: {limit: 20, window: 10s}
  shouts: {limit: 5, widow: 60s}
redis: redis://u:secret@127.0.0.1:6379
`), 0o600))
	out, errs, code := command(t, "config", "check", file, "--json")
	require.Equal(t, cli.ExitUsage, code, errs)
	var faults []cli.FileFault
	require.NoError(t, json.Unmarshal([]byte(out), &faults), out)
	got := map[int]cli.FileFault{}
	for _, f := range faults {
		got[f.Line] = f
	}
	for line, want := range map[int]struct{ key, fault, allowed string }{
		2:  {"drian-for", "no such setting", "drain-for"},
		3:  {"session-ttl", "longer than --session-absolute-ttl", ""},
		4:  {"ping-interval", "soon", "a duration"},
		5:  {"log-level", "loud", "debug, info, warn, error"},
		6:  {"max-rooms", "at least 1", ""},
		7:  {"max-payload", "begins with 0", "a whole number"},
		8:  {"limit-fallback", "one value", "local, none"},
		9:  {"allowed-origins", "no origin", ""},
		10: {"trusted-proxies", "nowhere", ""},
		11: {"compression", "perhaps", "true, false"},
		12: {"session-ttl", "line 3 already", ""},
		15: {"policies: shouts", "widow", "limit, window"},
	} {
		require.Equal(t, want.key, got[line].Key, "line %d: %s", line, out)
		require.Contains(t, got[line].Fault, want.fault, "line %d", line)
		require.Contains(t, got[line].Allowed, want.allowed, "line %d", line)
	}
	require.Len(t, faults, 12)
	require.NotContains(t, out+errs, "secret")
	text, _, _ := command(t, "config", "check", file)
	require.Contains(t, text, file+": line 2: drian-for: there is no such setting (allowed: did you mean drain-for?)")

	require.NoError(t, os.WriteFile(file, []byte("dev: true\nping-interval: 20s\npolicies:\n  chat: {limit: 3, window: 1s}\n"), 0o600))
	require.Empty(t, must(t, "config", "check", file))
	for _, bad := range []string{"[1, 2]", "a: [", "\t", "- x", "dev: true\n---\ndev: false\n", strings.Repeat("a: &x [*x]\n", 3)} {
		require.NoError(t, os.WriteFile(file, []byte(bad), 0o600))
		_, _, code := command(t, "config", "check", file)
		require.Equal(t, cli.ExitUsage, code, bad)
	}
	_, _, code = command(t, "config", "check", file+".not")
	require.Equal(t, cli.ExitUsage, code)
}

// A misspelt variable is an error that names the nearest one; what other programs set is none.
func TestUnknownVariablesAreErrors(t *testing.T) {
	t.Parallel()
	check := func(environ ...string) error { return cli.CheckEnvironment(&commands{}, environ) }
	err := check("GATEWAY_DRIAN_FOR=30s", "PATH=/bin", "GATEWAY_REDIS=redis://x", "GATEWAY_NOTHING_LIKE_ANY_OF_THEM=1")
	require.ErrorContains(t, err, "there is no setting GATEWAY_DRIAN_FOR; did you mean GATEWAY_DRAIN_FOR?")
	require.ErrorContains(t, err, "there is no setting GATEWAY_NOTHING_LIKE_ANY_OF_THEM")
	require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
	require.NoError(t, check("GATEWAY_DRIAN_FOR="), "it sets nothing")
	require.NoError(t, check("GATEWAY_DRAIN_FOR=1s", "GATEWAY_CONFIG=x", "GATEWAY_TOP=bytes", "gateway_x=1"))
	require.NoError(t, check("GATEWAY_SERVICE_HOST=10.0.0.1", "GATEWAY_SERVICE_PORT=8080", "GATEWAY_SERVICE_PORT_HTTP=1", "GATEWAY_PORT=tcp://x",
		"GATEWAY_PORT_8080_TCP=x", "GATEWAY_PORT_8080_TCP_PROTO=tcp", "GATEWAY_1=127.0.0.1:8101"), "Kubernetes and HAProxy")
}

// Each setting of the started line is a flag of serve.
func TestSettingsAreFlags(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli.ServeFlags{})
	require.NoError(t, err)
	flags := map[string]bool{"policies": true, "backends": true}
	for _, f := range parser.Model.Flags {
		flags[f.Name] = true
	}
	for name := range server.SettingsOf(server.Config{}) {
		require.True(t, flags[name], name)
	}
	shown := server.SettingsOf(server.Config{RedisURL: "redis://u:hush@h:1", SentinelLogin: "u:hush", ProfilesToken: "hush", ProfilesURL: "https://u:hush@h", LockRedisURLs: []string{"redis://:hush@h:1"}})
	for name, text := range shown {
		require.NotContains(t, text, "hush", name)
	}
}

// doctor names what would not work, and exits 1.
func TestDoctor(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	diagnose := func(want int, args ...string) map[string]server.Diagnosis {
		t.Helper()
		out, errs, code := command(t, append([]string{"doctor", "--json", "--redis", redis.URL()}, args...)...)
		require.Equal(t, want, code, "%s %s", out, errs)
		var all []server.Diagnosis
		require.NoError(t, json.Unmarshal([]byte(out), &all))
		byName := map[string]server.Diagnosis{}
		for _, d := range all {
			byName[d.Name+" "+d.Verdict] = d
		}
		return byName
	}
	all := diagnose(1, "--trusted-proxies", "0.0.0.0/0", "--allowed-origins", "http://play.example", "--max-connections", "2000000000", "--session-ttl", "48h")
	require.Contains(t, all["settings fail"].Text, "--session-absolute-ttl")
	require.Contains(t, all["proxies fail"].Text, "believes everybody")
	require.Contains(t, all["origins warn"].Text, "not encrypted")
	require.Contains(t, all["open files warn"].Text, "2000000000")
	require.Contains(t, all["clock ok"].Text, "Redis")
	require.Contains(t, all, "rights ok")
	require.Contains(t, all, "eviction ok")
	require.Contains(t, all, "persistence fail", "the test's Redis keeps nothing")
	require.Contains(t, all["adapters ok"].Text, "no other")

	beside := serve(t, "--redis", redis.URL())
	all = diagnose(1)
	require.Contains(t, all["adapters ok"].Text, "all Socket.IO servers on this Redis have the prefix socket.io", "a gateway is no other server")
	require.NotContains(t, all, "adapters warn")
	require.NoError(t, beside.stop())

	rdb := redis.Client()
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "100mb").Err())
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	require.NoError(t, rdb.ConfigSet(t.Context(), "save", "3600 1").Err())
	require.NoError(t, rdb.XAdd(t.Context(), &goredis.XAddArgs{Stream: "socket.io", Values: []any{"f", "v"}}).Err())
	other := rdb.Subscribe(t.Context(), "elsewhere-request#/#")
	defer other.Close()
	_, err := other.Receive(t.Context())
	require.NoError(t, err)
	sharded := rdb.SSubscribe(t.Context(), "socket.io#/#")
	defer sharded.Close()
	_, err = sharded.Receive(t.Context())
	require.NoError(t, err)
	all = diagnose(1)
	require.Contains(t, all["eviction fail"].Fix, "noeviction")
	require.Contains(t, all, "persistence warn")
	require.Contains(t, all["adapters warn"].Text, `"elsewhere"`)
	require.Contains(t, all["adapters fail"].Text, "redis-streams-adapter")

	require.NoError(t, rdb.Do(t.Context(), "ACL", "SETUSER", "narrow", "on", ">pw", "~*", "resetchannels", "&socket.io*", "+@all", "-time").Err())
	narrow := strings.Replace(redis.URL(), "redis://", "redis://narrow:pw@", 1)
	out, _, code := command(t, "doctor", "--redis", narrow)
	require.Equal(t, 1, code)
	require.Contains(t, out, "+time")
	require.NotContains(t, out, "pw@")
	redis.Kill()
	require.Contains(t, diagnose(1), "redis fail")
}

// What can follow a SIGHUP does, and what can not is named.
func TestSettingsFollowSIGHUP(t *testing.T) { //nolint:paralleltest // the signal reaches every server of the process
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("log-level: info\nmax-rooms: 64\n")
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--config", file)
	ann := g.connect(g.guest("ann"))
	write("log-level: debug\nmax-rooms: 7\npolicies:\n  chat: {limit: 1, window: 1h}\n")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	line := g.logged(1, "settings have changed that need a restart: the old ones stay", nil)[0]
	require.Equal(t, []any{"max-rooms"}, line["settings"])
	require.Equal(t, []any{"log-level"}, g.logged(1, "settings read again", nil)[0]["settings"])
	changed := g.logged(1, "limits changed", map[string]any{"policy": "chat"})[0]
	require.Equal(t, "10/10s by user", changed["from"])
	require.Equal(t, "the configuration", changed["by"])
	ann.ok("chat:join", `{"channel":"global"}`)
	ann.ok("chat:message", `{"channel":"global","text":"x"}`)
	ann.refused("chat:message", `{"channel":"global","text":"x"}`)
	ann.refused("chat:message", `{"channel":"global","text":"x"}`)
	require.Eventually(t, func() bool { return strings.Contains(g.err.String(), `"level":"debug"`) }, patience, 10*time.Millisecond, "the level is debug")
}

// help is --help.
func TestHelpOfACommand(t *testing.T) {
	t.Parallel()
	require.Contains(t, must(t, "help", "user", "show"), "--reveal")
	require.Contains(t, must(t, "help"), "audit-log")
	require.Contains(t, must(t, "--version"), "go1")
}
