// Package site has no Go code. Its test looks at the site that `make site` has built, in a browser.
package site_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const patience = 45 * time.Second

// findChromium returns the browser's program.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless_shell", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.Fail(t, "the browser test needs Chromium: apt-get install chromium")
	return ""
}

// A visitor is a browser's tab. What its console says of errors is kept.
type visitor struct {
	t    *testing.T
	ctx  context.Context
	base string
	mu   sync.Mutex
	said []string // guarded by mu
}

// openSite serves what was built, and opens a tab of this width.
func openSite(t *testing.T, width int64) *visitor {
	t.Helper()
	if os.Getenv("SITE") == "" {
		t.Skip("make site builds it, and then looks at it")
	}
	require.FileExists(t, "dist/index.html", "make site builds it")
	server := httptest.NewServer(http.FileServer(http.Dir("dist")))
	t.Cleanup(server.Close)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(findChromium(t)), chromedp.NoSandbox, chromedp.Flag("headless", "new"), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	v := &visitor{t: t, ctx: ctx, base: server.URL}
	require.NoError(t, chromedp.Do(ctx), "Chromium does not start")
	require.NoError(t, chromedp.Listen(ctx, func(e any) {
		v.mu.Lock()
		defer v.mu.Unlock()
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			v.said = append(v.said, e.ExceptionDetails.Text)
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError {
				v.said = append(v.said, e.Entry.Text+" "+e.Entry.URL)
			}
		}
	}))
	v.run(chromedp.EmulateViewport(width, 900))
	return v
}

func (v *visitor) run(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	require.NoError(v.t, chromedp.Do(ctx, steps...))
}

// waitFor waits until a JavaScript expression is true, also over a change of pages.
func (v *visitor) waitFor(expression string) {
	v.t.Helper()
	isTrue := func() bool {
		ctx, cancel := context.WithTimeout(v.ctx, patience)
		defer cancel()
		value, err := chromedp.Run(ctx, chromedp.Evaluate[any](expression))
		return err == nil && value == true
	}
	require.Eventually(v.t, isTrue, patience, 50*time.Millisecond, "waited in vain for %s", expression)
}

func (v *visitor) eval(expression string) any {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[any](expression))
	require.NoError(v.t, err, expression)
	return value
}

// open shows a page, in the light or the dark.
func (v *visitor) open(page, scheme string) {
	v.t.Helper()
	v.run(chromedp.Navigate(v.base + "/" + page))
	v.eval(fmt.Sprintf("localStorage.setItem('vitepress-theme-appearance', %q)", scheme))
	v.run(chromedp.Navigate("about:blank"), chromedp.Navigate(v.base+"/"+page))
	v.waitFor("document.querySelector('#app')?.__vue_app__ !== undefined && document.querySelector('.VPDoc h1') !== null")
}

// keepPicture writes what is seen into the folder $SHOTS, where somebody wants to look.
func (v *visitor) keepPicture(name string) {
	v.t.Helper()
	folder := os.Getenv("SHOTS")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(v.t, err)
	require.NoError(v.t, os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600))
}

// requireQuiet fails when the console had an error.
func (v *visitor) requireQuiet() {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	require.Empty(v.t, v.said)
}

// Each document has its place in the navigation.
func TestEveryDocumentIsInTheNavigation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("pages.mjs")
	require.NoError(t, err)
	documents, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	require.Greater(t, len(documents), 20)
	for _, file := range documents {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		require.Regexp(t, `['/]`+regexp.QuoteMeta(name)+`['.]`, string(text), "name docs/%s.md in a section of site/pages.mjs", name)
	}
}

// The search finds a flag, and leads to what it says; also an event, a metric, a call and a line of
// the log.
func TestTheSearchFindsTheReference(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ask, page, heading string }{
		{"--drain-for", "reference/flags", "--drain-for"},
		{"combat:action", "docs/EVENTS", "combat:action"},
		{"gateway_events_total", "reference/metrics", "gateway_events_total"},
		{"/server/v1/bans/lift", "reference/http-api", "POST /server/v1/bans/lift"},
		{"backend does not answer: its events are refused", "docs/logs", "Log messages"},
	} {
		t.Run(c.ask, func(t *testing.T) {
			t.Parallel()
			v := openSite(t, 1300)
			v.open("index.html", "light")
			v.run(chromedp.Click(chromedp.CSS(".VPNavBarSearch button"), chromedp.NodeVisible), chromedp.WaitVisible(chromedp.CSS("#localsearch-input")), chromedp.SendKeys(chromedp.CSS("#localsearch-input"), c.ask))
			here := fmt.Sprintf("[...document.querySelectorAll('.VPLocalSearchBox .result')].slice(0, 3).find((a) => a.getAttribute('href').startsWith('/%s.html'))", c.page)
			v.waitFor(here + " !== undefined")
			v.keepPicture("search")
			v.eval(here + ".click()")
			v.waitFor(fmt.Sprintf("location.pathname === '/%s.html' && document.querySelector('.VPLocalSearchBox') === null", c.page))
			v.waitFor(fmt.Sprintf("[...document.querySelectorAll('.VPDoc :is(h1, h2, h3)')].some((h) => h.textContent.includes(%q) && h.getBoundingClientRect().top < innerHeight)", c.heading))
			v.requireQuiet()
		})
	}
}

// Pages fit a desktop and a phone, in the light and in the dark; wide tables and code scroll by
// themselves. A phone has the navigation behind a button.
func TestPagesFitDesktopAndPhone(t *testing.T) {
	t.Parallel()
	for name, width := range map[string]int64{"desktop": 1300, "phone": 390} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := openSite(t, width)
			for scheme, isRight := range map[string]string{"light": "> 200", "dark": "< 60"} {
				for _, page := range []string{"index", "docs/operations", "docs/EVENTS", "docs/logs", "reference/flags", "reference/http-api", "reference/metrics"} {
					v.open(page+".html", scheme)
					require.LessOrEqual(t, v.eval("document.documentElement.scrollWidth"), float64(width), "%s has what does not fit", page)
					require.Equal(t, true, v.eval("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) "+isRight), "%s is not %s", page, scheme)
					v.keepPicture(strings.Join([]string{name, scheme, strings.ReplaceAll(page, "/", "-")}, "-"))
				}
			}
			sidebar := "document.querySelector('.VPSidebar').getBoundingClientRect()"
			if name == "phone" {
				require.Equal(t, true, v.eval(sidebar+".right <= 0"), "it covers the text")
				v.run(chromedp.Click(chromedp.CSS(".VPLocalNav .menu"), chromedp.NodeVisible))
				v.waitFor(sidebar + ".left === 0")
				v.keepPicture("phone-menu")
			}
			require.Equal(t, true, v.eval(sidebar+".left === 0"))
			require.Equal(t, true, v.eval("document.querySelectorAll('.VPSidebar a[href]').length >= 40"))
			v.requireQuiet()
		})
	}
}
