package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alecthomas/kong"
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

// The token for the profile service is read again for each request. While its file can not be read,
// the last one is sent.
func TestTheTokenOfTheProfileServiceIsRotated(t *testing.T) {
	t.Parallel()
	var wanted atomic.Value
	wanted.Store("first")
	people := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+wanted.Load().(string) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"userId":"` + strings.TrimPrefix(r.URL.Path, "/users/") + `","username":"x"}`))
	}))
	t.Cleanup(people.Close)
	token, url := writeFile(t, "first\n"), redistest.URL(t)
	g := serve(t, "--redis", url, "--profiles-url", people.URL, "--profiles-token-file", token)
	session := create(t, url, "ann")
	read := func(user string) int {
		return do(t, "GET", g.public+"/api/users/"+user, "", bearer(session)...).status
	}
	require.Equal(t, 200, read("u1"))
	require.NoError(t, os.WriteFile(token, []byte("second\n"), 0o600))
	wanted.Store("second")
	require.Equal(t, 200, read("u2"))
	require.NoError(t, os.Remove(token))
	require.Equal(t, 200, read("u3"))

	for name, args := range map[string][]string{
		"exclude each other": {"--profiles-token-file", writeFile(t, "a"), "--profiles-token", "b"},
		"one line":           {"--profiles-token-file", writeFile(t, "hush\nhush")},
		"/nowhere/token":     {"--profiles-token-file", "/nowhere/token"},
	} {
		_, errs, code := command(t, append([]string{"serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis", url, "--profiles-url", people.URL}, args...)...)
		require.Equal(t, cli.ExitUsage, code, errs)
		require.Contains(t, errs, name)
		require.NotContains(t, errs, "hush")
	}
}

// docs/configuration.md says of each secret when it is read again.
func TestEverySecretIsInTheTable(t *testing.T) {
	t.Parallel()
	_, table, found := strings.Cut(textOf(t, "../../docs/configuration.md"), "\n## Secrets\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\nTo rotate")
	parser, err := kong.New(&cli.ServeFlags{})
	require.NoError(t, err)
	flags := map[string]bool{}
	isSecret := regexp.MustCompile(`secret|token|password|login|^(lock-)?redis$|^jwt-jwks$`)
	for _, f := range parser.Model.Flags {
		flags["--"+f.Name] = true
		if f.Name != "config" && (f.PlaceHolder == "FILE" || isSecret.MatchString(f.Name)) {
			require.Contains(t, table, "`--"+f.Name+"`", "the table has a row for it")
		}
	}
	for _, m := range regexp.MustCompile("`(--[\\w-]+)`").FindAllStringSubmatch(table, -1) {
		require.True(t, flags[m[1]], m[1])
	}
}
