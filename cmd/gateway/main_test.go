package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		main()
	}
	redistest.Main(m)
}

// beTheProgram makes this test binary the gateway: see program.
const beTheProgram = "REALTIME_TEST_IS_PROGRAM"

const (
	// patience is for what happens at once on a machine that is not busy.
	patience = 15 * time.Second
	tick     = 10 * time.Millisecond
)

// output is what a command wrote so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// A gate is a gateway that serves.
type gate struct {
	t             testing.TB
	public, admin string // http://host:port
	out, err      *output

	cancel context.CancelFunc
	done   chan error // run's result, once
	ended  bool
}

var (
	publicLine = regexp.MustCompile(`(?m)^listening on (http://\S+)$`)
	adminLine  = regexp.MustCompile(`(?m)^operators +(http://\S+)/metrics$`)
)

// environment is getenv of a map.
func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// patientLimits has Redis decide every limit, however loaded the machine is. A node that decides
// alone for one event may admit one more than the limit.
const patientLimits = "--limit-timeout=10s"

// serve runs `gateway serve` on free ports until the test ends, and waits until it
// listens. The drain takes no time unless args say otherwise.
func serve(t testing.TB, args ...string) *gate {
	t.Helper()
	return serveWith(t, nil, args...)
}

func serveWith(t testing.TB, vars map[string]string, args ...string) *gate {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g := &gate{t: t, out: &output{}, err: &output{}, cancel: cancel, done: make(chan error, 1)}
	args = append([]string{"serve", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--drain-for", "0s"}, args...)
	go func() { g.done <- runProgram(ctx, args, environment(vars), g.out, g.err) }()
	t.Cleanup(func() {
		if !g.ended {
			require.NoError(t, g.stop())
		}
		g.checkLines()
	})
	require.Eventually(t, func() bool {
		select {
		case err := <-g.done:
			g.ended = true
			t.Fatalf("gateway serve ended: %v\n%s", err, g.err)
		default:
		}
		return publicLine.MatchString(g.out.String()) && adminLine.MatchString(g.out.String())
	}, patience, tick)
	g.public = publicLine.FindStringSubmatch(g.out.String())[1]
	g.admin = adminLine.FindStringSubmatch(g.out.String())[1]
	return g
}

// stop ends it as a signal would, and returns what run returned.
func (g *gate) stop() error {
	g.t.Helper()
	g.cancel()
	return g.wait(patience)
}

func (g *gate) wait(d time.Duration) error {
	g.t.Helper()
	select {
	case err := <-g.done:
		g.ended = true
		return err
	case <-time.After(d):
		g.t.Fatalf("gateway serve did not end\n%s", g.err)
		return nil
	}
}

// command runs a command that ends by itself.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	err := runProgram(t.Context(), args, environment(nil), &out, &errs)
	if err != nil {
		errs.WriteString(err.Error())
	}
	return out.String(), errs.String(), cli.ExitCode(err)
}

// answer is an HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(a.body, &v), "%s", a.body)
	return v
}

// problem is the code of a problem+json answer.
func (a answer) problem(t testing.TB) string {
	t.Helper()
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), "%s", a.body)
	code, _ := a.json(t)["code"].(string)
	return code
}

var client = &http.Client{
	Timeout:       patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// do makes a request; headers come as name, value.
func do(t testing.TB, method, url, body string, headers ...string) answer {
	t.Helper()
	a, err := try(t, method, url, body, headers...)
	require.NoError(t, err)
	return a
}

func try(t testing.TB, method, url, body string, headers ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, all}, err
}

func bearer(id string) []string { return []string{"Authorization", "Bearer " + id} }

// guest logs in, which needs --dev, and returns the session id.
func (g *gate) guest(name string) string {
	g.t.Helper()
	a := do(g.t, "POST", g.public+"/auth/login", `{"username":"`+name+`"}`)
	require.Equal(g.t, http.StatusCreated, a.status, "%s", a.body)
	id, _ := a.json(g.t)["sessionId"].(string)
	require.NotEmpty(g.t, id)
	return id
}

// status waits until a GET is answered with that status.
func (g *gate) status(url string, want int, within time.Duration) {
	g.t.Helper()
	last := 0
	require.Eventually(g.t, func() bool {
		a, err := try(g.t, "GET", url, "")
		last = a.status
		return err == nil && a.status == want
	}, within, tick, "%s: wanted %d, last %d", url, want, last)
}

func contextFor(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx, cancel
}
