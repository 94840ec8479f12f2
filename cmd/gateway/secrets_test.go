package main

import (
	"strings"
	"testing"

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
