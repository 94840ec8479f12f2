package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// detailed is /health/detailed.
func (g *gate) detailed() map[string]any {
	g.t.Helper()
	return do(g.t, "GET", g.admin+"/health/detailed", "").json(g.t)
}

func TestAFlagBeatsTheEnvironmentBeatsTheFileBeatsTheDefault(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "node: from-file\n")
	env := map[string]string{"GATEWAY_NODE": "from-env"}
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"flag":                                {env, []string{"--config", file, "--node", "from-flag"}, "^from-flag$"},
		"environment":                         {env, []string{"--config", file}, "^from-env$"},
		"file":                                {nil, []string{"--config=" + file}, "^from-file$"},
		"default":                             {nil, nil, `:\d+$`},
		"the file that the environment names": {map[string]string{"GATEWAY_CONFIG": file}, nil, "^from-file$"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serveWith(t, c.env, append(c.args, "--redis", redistest.URL(t))...)
			require.Regexp(t, c.want, g.detailed()["node"])
		})
	}
}

func TestAFileHoldsEveryKindOfValue(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "redis: "+redistest.URL(t)+`
dev: true
session-ttl: 90s
max-payload: 5000
handshakes-per-second: 0.5
session-cookie: house
limit:
  - combat=3/7s
  - chat=off
`)
	g := serve(t, "--config", file)
	a := do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`)
	require.Equal(t, 201, a.status, "dev")
	require.Contains(t, a.header.Get("Set-Cookie"), "house=")
	p := g.handshake(a.json(t)["sessionId"].(string))
	require.Contains(t, string(p.take("0", func(frame) bool { return true }).body), `"maxPayload":5000`)
	require.InDelta(t, 90_000, p.event("session")["ttlMs"], 5000)
	limits := map[string]any{}
	for _, l := range p.event("limits")["policies"].([]any) {
		limits[l.(map[string]any)["name"].(string)] = l
	}
	require.Equal(t, map[string]any{"name": "combat", "limit": 3.0, "windowMs": 7000.0, "scope": "user"}, limits["combat"])
	require.NotContains(t, limits, "chat")
	_, res, err := dial(t, g)
	require.Error(t, err, "one handshake in two seconds")
	require.Equal(t, 503, res.StatusCode)
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		yaml string
		want []string // parts of the error
	}{
		"no command":                    {args: []string{}, want: []string{"serve"}},
		"unknown command":               {args: []string{"fly"}, want: []string{"fly"}},
		"unknown flag":                  {args: []string{"serve", "--sesion-ttl", "1m"}, want: []string{"--sesion-ttl"}},
		"unknown key":                   {yaml: "sesion-ttl: 1m\n", want: []string{"sesion-ttl", "gateway.yaml"}},
		"another command's key":         {yaml: "username: ann\n", want: []string{"username", "gateway.yaml"}},
		"a file in a file":              {yaml: "config: other.yaml\n", want: []string{"config"}},
		"not YAML":                      {yaml: "a: [\n", want: []string{"gateway.yaml"}},
		"not a map":                     {yaml: "- serve\n", want: []string{"gateway.yaml"}},
		"a map for a value":             {yaml: "addr: {host: x}\n", want: []string{"addr"}},
		"a list for a value":            {yaml: "node: [a, b]\n", want: []string{"node", "gateway.yaml"}},
		"no such file":                  {args: []string{"serve", "--config", "/nowhere/gateway.yaml"}, want: []string{"/nowhere/gateway.yaml"}},
		"bad duration":                  {args: []string{"serve", "--session-ttl", "soon"}, want: []string{"--session-ttl", "soon"}},
		"bad duration in the file":      {yaml: "session-ttl: 30\n", want: []string{"--session-ttl", "30"}},
		"bad duration in the env":       {env: map[string]string{"GATEWAY_DRAIN_FOR": "x"}, want: []string{"--drain-for"}},
		"zero duration":                 {args: []string{"serve", "--session-ttl", "0s"}, want: []string{"--session-ttl"}},
		"a duration of less than 1 ms":  {args: []string{"serve", "--session-ttl", "1us"}, want: []string{"--session-ttl"}},
		"negative duration":             {args: []string{"serve", "--ping-interval", "-1s"}, want: []string{"--ping-interval"}},
		"negative drain":                {args: []string{"serve", "--drain-for", "-1s"}, want: []string{"--drain-for"}},
		"bad enum":                      {args: []string{"serve", "--env", "prod"}, want: []string{"--env", "prod"}},
		"bad enum in the env":           {env: map[string]string{"GATEWAY_LOG_LEVEL": "loud"}, want: []string{"--log-level", "loud"}},
		"bad bool":                      {env: map[string]string{"GATEWAY_DEV": "perhaps"}, want: []string{"--dev", "perhaps"}},
		"bad number":                    {args: []string{"serve", "--max-payload", "1e6"}, want: []string{"--max-payload", "1e6"}},
		"negative number":               {args: []string{"serve", "--max-packets=-1"}, want: []string{"--max-packets"}},
		"negative bound":                {args: []string{"serve", "--max-connections=-1"}, want: []string{"--max-connections"}},
		"no rate":                       {args: []string{"serve", "--handshakes-per-second=NaN"}, want: []string{"--handshakes-per-second"}},
		"no cookie name":                {args: []string{"serve", "--session-cookie", "a b"}, want: []string{"--session-cookie", "a b"}},
		"bad cluster prefix":            {args: []string{"serve", "--cluster-prefix", "a#b"}, want: []string{"--cluster-prefix"}},
		"bad limit":                     {args: []string{"serve", "--limit", "chat=10"}, want: []string{"--limit", "chat=10"}},
		"unknown limit":                 {args: []string{"serve", "--limit", "chatt=10/10s"}, want: []string{"--limit", "chatt", "combat"}},
		"negative limit":                {args: []string{"serve", "--limit", "chat=-1/10s"}, want: []string{"--limit", "chat=-1/10s"}},
		"bad limit in the file":         {yaml: "limit: [chat=1/1h, combat=x]\n", want: []string{"--limit", "combat=x"}},
		"bad origin":                    {args: []string{"serve", "--allowed-origins", "play.example"}, want: []string{"--allowed-origins", "play.example"}},
		"any origin":                    {args: []string{"serve", "--allowed-origins", "*"}, want: []string{"--allowed-origins"}},
		"an origin with a path":         {args: []string{"serve", "--allowed-origins", "https://play.example/"}, want: []string{"--allowed-origins"}},
		"an origin with a query":        {args: []string{"serve", "--allowed-origins", "https://play.example?x"}, want: []string{"--allowed-origins"}},
		"port in use":                   {args: []string{"serve", "--dev", "--addr", taken.Addr().String(), "--admin-addr="}, want: []string{"--addr", taken.Addr().String()}},
		"admin port in use":             {args: []string{"serve", "--dev", "--addr", "127.0.0.1:0", "--admin-addr", taken.Addr().String()}, want: []string{"--admin-addr", taken.Addr().String()}},
		"bad address":                   {args: []string{"serve", "--dev", "--addr", "nowhere"}, want: []string{"--addr", "nowhere"}},
		"bad Redis URL":                 {args: []string{"serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis", "http://x"}, want: []string{"--redis", "scheme"}},
		"no --redis":                    {args: []string{"serve"}, want: []string{"--redis", "--dev"}},
		"production without --redis":    {args: []string{"serve", "--env", "production"}, want: []string{"--redis", "--dev"}},
		"a command without --redis":     {args: []string{"session", "list", "ann"}, want: []string{"--redis"}},
		"a command without its flag":    {args: []string{"session", "create", "--redis", "redis://127.0.0.1:1"}, want: []string{"--user"}},
		"a command without its subject": {args: []string{"session", "show", "--redis", "redis://127.0.0.1:1"}, want: []string{"id"}},
		"a mint of nothing":             {args: []string{"trade", "mint", "--character", "c", "--redis", "redis://127.0.0.1:1"}, want: []string{"--item", "--gold"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := c.args
			if args == nil {
				args = []string{"serve", "--addr", "127.0.0.1:0", "--admin-addr="}
			}
			if c.yaml != "" {
				args = append(args, "--config", writeFile(t, c.yaml))
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience) // should it serve, it must end
			defer cancel()
			var out, errs bytes.Buffer
			err := runProgram(ctx, args, environment(c.env), &out, &errs)
			require.Error(t, err)
			require.Equal(t, cli.ExitUsage, cli.ExitCode(err), "%v", err)
			for _, part := range c.want {
				require.Contains(t, err.Error(), part)
			}
			require.NotContains(t, out.String(), "listening")
		})
	}
}

func TestEveryPolicyMayBeSet(t *testing.T) {
	t.Parallel()
	args := []string{"--redis", redistest.URL(t)}
	names := []string{"combat", "chat", "login", "api", "connect", "trade", "errors", "events", "reads", "rooms", "moderation", "bearers"}
	for _, name := range names {
		args = append(args, "--limit", name+"=7/3s")
	}
	g := serve(t, args...)
	seen := map[string]bool{}
	for _, l := range g.detailed()["limits"].(map[string]any)["policies"].([]any) {
		l := l.(map[string]any)
		require.EqualValues(t, 7, l["limit"], l["name"])
		require.EqualValues(t, 3000, l["windowMs"], l["name"])
		seen[l["name"].(string)] = true
	}
	for _, name := range names {
		require.True(t, seen[name], name)
	}
}

// model is the command line as kong knows it.
func model(t *testing.T) *kong.Application {
	t.Helper()
	var cli commands
	k, err := kong.New(&cli, kong.Name("gateway"))
	require.NoError(t, err)
	return k.Model
}

func TestHelpTellsEverything(t *testing.T) {
	t.Parallel()
	var visit func(n *kong.Node, words []string)
	visit = func(n *kong.Node, words []string) {
		t.Run(strings.Join(append([]string{"gateway"}, words...), " "), func(t *testing.T) {
			t.Parallel()
			out, _, code := command(t, append(words, "--help")...)
			require.Zero(t, code)
			out = regexp.MustCompile(`\s+`).ReplaceAllString(out, " ")
			for _, f := range n.Flags {
				require.NotEmpty(t, f.Help, f.Name)
				require.Regexp(t, `--(\[no-\])?`+f.Name+`\b`, out)
				require.Contains(t, out, f.Help, f.Name)
				if f.Default != "" {
					require.Contains(t, out, f.Default, "the default of %s", f.Name)
				}
			}
			for _, p := range n.Positional {
				require.Contains(t, out, p.Help, p.Name)
			}
			for _, c := range n.Children {
				require.Contains(t, out, c.Name)
				require.NotEmpty(t, c.Help, c.Name)
			}
		})
		for _, c := range n.Children {
			visit(c, append(words[:len(words):len(words)], c.Name))
		}
	}
	visit(model(t).Node, nil)
}

func TestVersion(t *testing.T) {
	t.Parallel()
	out, _, code := command(t, "version")
	require.Zero(t, code)
	require.Regexp(t, `^\S.*\n$`, out)
}
