package testclient

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// A server is the gateway as it ships.
type server struct {
	url    string
	redis  string
	binary string
	log    *guarded
	banner *guarded // what it says at start
}

// serve starts a gateway with guest logins.
func serve(t *testing.T) server {
	t.Helper()
	return serveWith(t, "--dev", "--log-level", "error")
}

// serveWith builds the gateway from the sources that are tested, and starts it on a free port. It
// stops with the test.
func serveWith(t *testing.T, args ...string) server {
	t.Helper()
	_, err := files.Open(strings.TrimPrefix(bundle, "/"))
	require.NoError(t, err, "the page's bundle is missing: run `make build`, or `npm ci` in web/testclient")
	s := server{redis: redistest.Server(t).URL(), binary: filepath.Join(t.TempDir(), "gateway")}
	out, err := exec.Command("go", "build", "-o", s.binary, "github.com/aeturnis/realtime/cmd/gateway").CombinedOutput()
	require.NoError(t, err, string(out))
	return s.start(t, args...)
}

// start starts a gateway on the same Redis.
func (s server) start(t *testing.T, args ...string) server {
	t.Helper()
	s.log, s.banner, s.url = &guarded{}, &guarded{}, ""
	args = append([]string{
		"serve", "--addr", "127.0.0.1:0", "--admin-addr", "", "--redis", s.redis, "--node", "demo-1", "--drain-for", "0s", "--limit", "connect=off", "--limit", "events=off", "--limit", "reads=off", "--limit", "rooms=off",
	}, args...)
	cmd := exec.CommandContext(t.Context(), s.binary, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = s.banner, s.log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Wait() // the test's end interrupted it
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", s.log)
		}
	})
	listening := regexp.MustCompile(`(?m)^listening on (http://\S+)$`)
	require.Eventually(t, func() bool {
		if m := listening.FindStringSubmatch(s.banner.String()); m != nil {
			s.url = m[1]
		}
		if s.url == "" {
			return false
		}
		answer, err := http.Get(s.url + "/health/ready")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond, "the gateway is not ready: %s", s.log)
	return s
}

// cli runs another command of the binary on the same Redis, and returns what it printed.
func (s server) cli(t *testing.T, topic, verb string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), s.binary, append([]string{topic, verb, "--redis", s.redis}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

// guarded is a buffer that a process may write while a test reads.
type guarded struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

func (g *guarded) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}

// chromium starts a browser for the test; every tab of it is a context made from the one returned.
func chromium(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless_shell", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	require.NotEmpty(t, path, "the browser test needs Chromium: apt-get install chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("headless", "new"), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...) // it outlives t.Context, for the picture of a failure
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "Chromium does not start")
	return ctx
}

// patience is how long a step may take on a machine that has much else to do.
const patience = 45 * time.Second

// A tab is one player's page. Errors in its console fail the test, and warnings of the page.
type tab struct {
	t     *testing.T
	ctx   context.Context
	scope string // a selector of what the page holds more than once; "" is the whole page
}

// player is the tab seen as its nth player alone, from 1.
func (p tab) player(n int) tab {
	p.scope = fmt.Sprintf("[data-testid=console]:nth-of-type(%d) ", n)
	return p
}

func (p tab) sel(id string) chromedp.CSS { return chromedp.CSS(p.scope + `[data-testid="` + id + `"]`) }

func open(t *testing.T, browser context.Context, url string, width, height int64) tab {
	t.Helper()
	p, console := openPage(t, browser, url, width, height)
	t.Cleanup(func() { require.Empty(t, console.String(), "the console is not clean") })
	return p
}

// openPage opens a page whose console may say what it likes.
func openPage(t *testing.T, browser context.Context, url string, width, height int64) (tab, *guarded) {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	console := &guarded{}
	require.NoError(t, chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
				for _, a := range e.Args {
					fmt.Fprintf(console, "console.%s: %s %s\n", e.Type, a.Value, a.Description)
				}
			}
		case *runtime.EventExceptionThrown:
			fmt.Fprintf(console, "exception: %s\n", e.ExceptionDetails.Text)
			if thrown := e.ExceptionDetails.Exception; thrown != nil {
				fmt.Fprintf(console, "%s\n", thrown.Description)
			}
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError {
				fmt.Fprintf(console, "%s: %s %s\n", e.Entry.Level, e.Entry.Text, e.Entry.URL)
			}
		}
	}))
	p := tab{t: t, ctx: ctx}
	t.Cleanup(p.leave)
	t.Cleanup(func() {
		if t.Failed() {
			p.shot(filepath.Join(os.TempDir(), strings.ReplaceAll(t.Name(), "/", "_")+".png"))
		}
	})
	watch := call(cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: watching})
	p.run(chromedp.EmulateViewport(width, height), watch, chromedp.Navigate(url))
	return p, console
}

// watching is in every page before its own scripts. It remembers what the page says for a while:
// told has all texts of a few regions, also those that are gone again. And it keeps clicks of the
// mouse from all but the element that is aimed at; hasHit is whether that got one.
const watching = `(() => {
	window.told = { announcer: [], toasts: [], state: [], problem: [] }; // by id
	document.addEventListener('readystatechange', () => {
		for (const [id, texts] of Object.entries(window.told)) {
			const region = document.getElementById(id);
			if (region) new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach((n) => texts.push(n.dataset?.key ?? n.textContent)))).observe(region, { childList: true });
		}
	}, { once: true });

	let aim = null;
	window.aimAt = (selector) => { aim = selector; window.hasHit = false; };
	for (const type of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click']) addEventListener(type, (e) => {
		if (!aim || !e.isTrusted) return;
		const wanted = document.querySelector(aim);
		if (!wanted?.contains(e.target) && (!wanted || e.target.closest?.('label')?.control !== wanted)) {
			e.preventDefault();
			e.stopImmediatePropagation();
		} else if (type === 'click') {
			window.hasHit = true;
			aim = null;
		}
	}, { capture: true });
})()`

// leave logs out the players of a page, so that no later test sees them go.
func (p tab) leave() {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void](`(() => {
		const connected = [...document.querySelectorAll('[data-testid=console]:has([data-state=connected])')];
		for (const n of connected) n.querySelector('[data-testid=logout]').click();
		return connected.length === 0;
	})()`, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(0)))
	if err != nil {
		p.t.Logf("a player stays: %v", err)
	}
}

// run fails when an action does not come about, such as an element that does not appear.
func (p tab) run(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, steps...))
}

// is waits until a JavaScript expression is true.
func (p tab) is(expression string) {
	p.t.Helper()
	p.isWithin(patience, expression)
}

func (p tab) isWithin(wait time.Duration, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, wait)
	defer cancel()
	err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(0)))
	require.NoError(p.t, err, "waited in vain for %s", expression)
}

func (p tab) eval(expression string) any {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[any](expression))
	require.NoError(p.t, err, expression)
	return value
}

func (p tab) click(id string) {
	p.t.Helper()
	p.clickAt(p.sel(id))
}

// clickAt clicks with the mouse at an element. What moves while the mouse is on its way, as when a
// banner above it goes, is missed: then it clicks again.
func (p tab) clickAt(element chromedp.CSS) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		p.eval(fmt.Sprintf(`aimAt(%q); 0`, string(element)))
		p.run(chromedp.Click(element, chromedp.NodeVisible))
		if p.eval(`hasHit`) == true {
			return
		}
		require.True(p.t, time.Now().Before(deadline), "no click hits %s", element)
	}
}

func (p tab) write(id, text string) {
	p.t.Helper()
	p.run(chromedp.WaitVisible(p.sel(id)))
	p.set(id, "")
	p.run(chromedp.SendKeys(p.sel(id), text))
}

// set gives a control its value at once.
func (p tab) set(id, value string) {
	p.t.Helper()
	p.eval(fmt.Sprintf(`document.querySelector(%q).value = %q`, string(p.sel(id)), value))
}

// has waits until an expression about an element n, the first of that name, is true.
func (p tab) has(id, expression string) {
	p.t.Helper()
	p.is(fmt.Sprintf(`((n) => n && (%s))(document.querySelector(%q))`, expression, string(p.sel(id))))
}

// says waits until an element's text contains another.
func (p tab) says(id, text string) {
	p.t.Helper()
	p.has(id, fmt.Sprintf(`n.textContent.includes(%q)`, text))
}

// told waits until the page has said a text since it was loaded, in a region such as "announcer".
// What is gone again counts as well.
func (p tab) told(region, text string) {
	p.t.Helper()
	p.is(fmt.Sprintf(`told[%q].some((said) => said.includes(%q))`, region, text))
}

// login ends when the page has settled: connected, in its channel, inventory read.
func (p tab) login(name string) {
	p.t.Helper()
	p.write("username", name+"\r")
	p.settled(name)
}

func (p tab) settled(name string) {
	p.t.Helper()
	p.has("state", `n.dataset.state === 'connected'`)
	p.says("who", name)
	p.says("members", "member")
	p.says("gold", "gold")
}

// matching waits until the page counts the events in and out that a filter lets through, such as
// "combat:action ok", and returns how many there are.
func (p tab) matching(filter string) int {
	p.t.Helper()
	p.eval(fmt.Sprintf(`((n) => { n.value = %q; n.dispatchEvent(new Event('input', {bubbles: true})); })(document.querySelector(%q)); 0`, filter, string(p.sel("filter"))))
	p.says("event-count", "match")
	count, _, _ := strings.Cut(fmt.Sprint(p.eval(fmt.Sprintf(`document.querySelector(%q).textContent`, string(p.sel("event-count"))))), " ")
	n, err := strconv.Atoi(count)
	require.NoError(p.t, err)
	p.eval(fmt.Sprintf(`((n) => { n.value = ''; n.dispatchEvent(new Event('input', {bubbles: true})); })(document.querySelector(%q)); 0`, string(p.sel("filter"))))
	p.has("event-count", `n.textContent.includes('event')`)
	return n
}

// matches waits until so many events are counted.
func (p tab) matches(filter string, n int) {
	p.t.Helper()
	p.counts(filter, func(count int) bool { return count == n })
}

// counts waits until so many events are counted as is wanted.
func (p tab) counts(filter string, isWanted func(int) bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for n := p.matching(filter); !isWanted(n); n = p.matching(filter) {
		require.True(p.t, time.Now().Before(deadline), "there are %d of %s", n, filter)
		<-time.After(50 * time.Millisecond)
	}
}

func (p tab) chat(text string) {
	p.t.Helper()
	p.write("chat-text", text+"\r")
}

// dark shows the page as to somebody who wants dark pages, or as it was.
func (p tab) dark(on bool) {
	p.t.Helper()
	scheme := ""
	if on {
		scheme = "dark"
	}
	p.media("prefers-color-scheme", scheme)
	p.is(`[...document.querySelectorAll('button')].every((b) => b.getAnimations().length === 0)`) // colours move
}

// media shows the page as to somebody whose browser says so of itself.
func (p tab) media(feature, value string) {
	p.t.Helper()
	p.run(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: feature, Value: value}}}))
}

// call is a command of the browser as a step.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func (p tab) shot(path string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Logf("no screenshot: %v", err)
		return
	}
	require.NoError(p.t, os.WriteFile(path, png, 0o644))
	p.t.Logf("screenshot: %s", path)
}

// picture takes a picture for the documents, when UPDATE_SCREENSHOT is set. To be small it has only
// its 256 most frequent colours; the others become the nearest of these.
func (p tab) picture(name string) {
	p.t.Helper()
	if os.Getenv("UPDATE_SCREENSHOT") == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	taken, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(p.t, err)
	full, err := png.Decode(bytes.NewReader(taken))
	require.NoError(p.t, err)
	uses := map[color.Color]int{}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			uses[full.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(uses), func(a, b color.Color) int { return uses[b] - uses[a] })
	small := image.NewPaletted(full.Bounds(), colours[:min(256, len(colours))])
	nearest := map[color.Color]uint8{}
	for _, c := range colours {
		nearest[c] = uint8(small.Palette.Index(c))
	}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			small.SetColorIndex(x, y, nearest[full.At(x, y)])
		}
	}
	var file bytes.Buffer
	require.NoError(p.t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&file, small))
	require.NoError(p.t, os.WriteFile(filepath.Join("../../docs", name+".png"), file.Bytes(), 0o644))
}

// page serves the page alone, without a gateway behind it.
func page(t *testing.T, h http.Handler) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/asyncapi.json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"channels": {"asks": {"messages": {}}, "casts": {"messages": {}}}, "operations": {}}`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// hasOnly waits until the list of people has nobody else, such as players of earlier tests who
// leave: a list that moves is clicked beside. Whoever polled when their tab was closed leaves 45 s
// later.
func (p tab) hasOnly(users ...string) {
	p.t.Helper()
	p.isWithin(2*patience, fmt.Sprintf(`![...document.querySelectorAll('[data-user]')].some((n) => !%q.split(' ').includes(n.dataset.user))`, strings.Join(users, " ")))
}
