package main

import (
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A password of Redis may stand in a file, as it may with its URL, for the gateway and for
// commands. What is wrong with a file is named, and nothing of it is quoted.
func TestTheRedisPasswordFileAndURLFile(t *testing.T) {
	t.Parallel()
	const secret = "not-in-argv"
	locked := redistest.Server(t, "--requirepass", secret)
	password, url := writeFile(t, secret+"\n"), writeFile(t, "redis://:"+secret+"@"+locked.Addr()+"\n")
	for name, args := range map[string][]string{
		"a password": {"--redis", "redis://" + locked.Addr(), "--redis-password-file", password},
		"a URL":      {"--redis-url-file", url},
	} {
		g := serve(t, args...)
		require.Equal(t, 200, do(t, "GET", g.public+"/health/ready", "").status, name)
		require.NotContains(t, g.out.String()+g.err.String(), secret, name)
		must(t, append([]string{"session", "create", "--user", "ann", "--username", "Ann"}, args...)...)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"both URLs":      {[]string{"--redis", "redis://" + locked.Addr(), "--redis-url-file", url}, "exclude each other"},
		"both passwords": {[]string{"--redis-url-file", url, "--redis-password-file", password}, "--redis-password-file"},
		"no such file":   {[]string{"--redis", "redis://" + locked.Addr(), "--redis-password-file", "/nowhere/secret"}, "/nowhere/secret"},
		"an empty file":  {[]string{"--redis", "redis://" + locked.Addr(), "--redis-password-file", writeFile(t, "\n")}, "one line"},
		"two lines":      {[]string{"--redis-url-file", writeFile(t, secret+"\n"+secret)}, "one line"},
		"no URL in it":   {[]string{"--redis-url-file", writeFile(t, secret)}, "scheme"},
	} {
		for _, command1 := range [][]string{{"serve", "--addr", "127.0.0.1:0", "--admin-addr="}, {"session", "list", "ann"}} {
			_, errs, code := command(t, append(command1[:len(command1):len(command1)], c.args...)...)
			require.Equal(t, cli.ExitUsage, code, "%s: %s", name, errs)
			require.Contains(t, errs, c.want, name)
			require.NotContains(t, errs, secret, name)
		}
	}
	for _, line := range strings.Split(textOf(t, "../../README.md"), "\n") {
		require.NotRegexp(t, `(redis|rediss)(\+\w+)?://[^ ]*:[^ ]*@|--redis-sentinel-login|--profiles-token`, line, "README shows no password in argv")
	}
}

// The password of Redis, and of the servers of the locks, is read again at each dial: it can be
// replaced while the gateway runs.
func TestAPasswordIsRotated(t *testing.T) {
	t.Parallel()
	locked, lockServer := redistest.Server(t, "--requirepass", "first"), redistest.Server(t, "--requirepass", "first")
	clients := func() (all []redis.UniversalClient) {
		for _, s := range []*redistest.Instance{locked, lockServer} {
			o := redis.Options{Addr: s.Addr(), Password: "first"}
			all = append(all, redis.NewClient(&o))
		}
		return all
	}()
	password, url, lockPassword := writeFile(t, "first\n"), writeFile(t, "redis://:first@"+locked.Addr()), writeFile(t, "first")
	locks := []string{"--dev", "--lock-redis", "redis://" + lockServer.Addr(), "--lock-redis-password-file", lockPassword, "--redis-wait", "1s"}
	gates := map[string]*gate{
		"a password": serve(t, append([]string{"--redis", "redis://" + locked.Addr(), "--redis-password-file", password}, locks...)...),
		"a URL":      serve(t, append([]string{"--redis-url-file", url}, locks...)...),
	}
	for _, c := range clients {
		require.NoError(t, c.ConfigSet(t.Context(), "requirepass", "second").Err())
	}
	for file, text := range map[string]string{password: "second\n", url: "redis://:second@" + locked.Addr(), lockPassword: "second"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	for _, c := range clients { // all connections are dialled anew
		require.NoError(t, c.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err())
		require.NoError(t, c.Do(t.Context(), "client", "kill", "type", "pubsub").Err())
		_ = c.Close()
	}
	for name, g := range gates {
		g.status(g.public+"/health/ready", 200, patience)
		require.Eventually(t, func() bool {
			a := do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`)
			return a.status == 201 && strings.Contains(string(do(t, "GET", g.admin+"/metrics", "").body), `gateway_lock_servers{state="up"} 1`)
		}, patience, 10*tick, name)
	}
	must(t, append([]string{"lock", "list", "--redis-url-file", url}, locks[1:5]...)...)
	_, errs, code := command(t, "lock", "list", "--redis-url-file", url, "--lock-redis", "redis://"+lockServer.Addr())
	require.NotZero(t, code, "the servers of locks do not use the password of --redis: %s", errs)
}
