package testclient

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// Two players with the page of examples/page, which is built and served as its README says, from
// the events.d.ts that this gateway serves.
func TestTheExampleOfAPage(t *testing.T) {
	t.Parallel()
	s, browser := serveWith(t, "--dev", "--log-level", "error", "--limit", "chat=3/10m"), chromium(t)
	url := s.startPage(t)

	enter := func(name string) tab {
		p, console := openPage(t, browser, url, 800, 600)
		t.Cleanup(func() { require.NotContains(t, console.String(), "exception: ") }) // what is offline is told there too
		p.eval(`window.states = []; new MutationObserver(() => window.states.push(document.querySelector('#state').textContent)).observe(document.querySelector('#state'), {childList: true}); 0`)
		p.run(chromedp.SendKeys(chromedp.CSS("#name"), name+"\r"))
		p.is(fmt.Sprintf(`document.querySelector('#who').textContent === %q && document.querySelector('#state').textContent === 'connected'`, name))
		return p
	}
	say := func(p tab, text string) {
		p.run(chromedp.SendKeys(chromedp.CSS("#text"), text+"\r"))
	}
	heard := func(p tab, messages ...string) {
		t.Helper()
		p.is(fmt.Sprintf(`JSON.stringify([...document.querySelectorAll('#messages li')].map((n) => n.textContent)) === %q`, `["`+strings.Join(messages, `","`)+`"]`))
	}

	ann, bob := enter("ann"), enter("bob")
	say(ann, "Ahoy!")
	heard(ann, "ann: Ahoy!")
	heard(bob, "ann: Ahoy!")
	say(bob, "<b>Hello</b>")
	heard(ann, "ann: Ahoy!", "bob: <b>Hello</b>")
	heard(bob, "ann: Ahoy!", "bob: <b>Hello</b>")

	// The session outlives a reload, and the history has what was said.
	ann.run(chromedp.Reload())
	ann.is(`document.querySelector('#state').textContent === 'connected'`)
	heard(ann, "ann: Ahoy!", "bob: <b>Hello</b>")

	// The node drains, and is taken back: the connection goes on.
	s.cli(t, "node", "drain", "demo-1")
	bob.is(`window.states.some((s) => /^DRAINING: back in \d+ s$/.test(s)) && window.states.at(-1) === 'away, trying again'`)
	s.cli(t, "node", "undrain", "demo-1")
	for _, p := range []tab{ann, bob} {
		p.is(`document.querySelector('#state').textContent === 'connected, nothing was missed'`)
	}
	say(bob, "Back")
	heard(ann, "ann: Ahoy!", "bob: <b>Hello</b>", "bob: Back")

	say(bob, "Fast")
	heard(ann, "ann: Ahoy!", "bob: <b>Hello</b>", "bob: Back", "bob: Fast")
	say(bob, "Too fast")
	bob.is(`/\(\d+ s\)$/.test(document.querySelector('#problem').textContent)`)

	s.cli(t, "session", "revoke-user", "ann")
	ann.is(`document.querySelector('#state').textContent === 'logged out' && !document.querySelector('#login').hidden && document.querySelector('#chat').hidden`)

	// A session that is none, and the player's own logout.
	bob.eval(`sessionStorage.setItem('sessionId', 'nobody-knows-it'); 0`)
	bob.run(chromedp.Reload())
	bob.is(`document.querySelector('#problem').textContent === 'Please log in again.' && !document.querySelector('#login').hidden`)
	bob.run(chromedp.SendKeys(chromedp.CSS("#name"), "bob\r"))
	bob.is(`document.querySelector('#state').textContent === 'connected'`)
	bob.run(chromedp.Click(chromedp.CSS("#logout")))
	bob.is(`document.querySelector('#state').textContent === 'logged out' && sessionStorage.length === 0`)

	// A session that runs out soon.
	bob.eval(fmt.Sprintf(`sessionStorage.setItem('sessionId', %q); 0`, s.cli(t, "session", "create", "--user", "bob", "--username", "bob", "--ttl", "4s")))
	bob.run(chromedp.Reload())
	bob.is(`/^You will be logged out in \d+ s\./.test(document.querySelector('#problem').textContent)`)
	bob.is(`document.querySelector('#state').textContent === 'logged out'`)
}

// startPage builds and serves examples/page in a copy, for this gateway, and returns its address.
func (s server) startPage(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../../examples/page")
	require.NoError(t, err)
	root := t.TempDir()
	folder := filepath.Join(root, "examples/page")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "docs"), 0o755))
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "src/page.ts", "site/index.html"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		require.NoError(t, err)
		if name == "site/index.html" {
			const standard = `content="http://127.0.0.1:8080"`
			require.Contains(t, string(text), standard)
			text = []byte(strings.ReplaceAll(string(text), standard, `content="`+s.url+`"`))
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), text, 0o644))
	}
	answer, err := http.Get(s.url + "/events.d.ts")
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	types, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "docs/events.d.ts"), types, 0o644))

	readme, err := os.ReadFile(filepath.Join(source, "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), "\nnpm ci\nnpm start\n")
	if packages := filepath.Join(source, "node_modules"); exists(packages) { // make has installed them
		require.NoError(t, os.Symlink(packages, filepath.Join(folder, "node_modules")))
	} else {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
		install.Dir = folder
		said, err := install.CombinedOutput()
		require.NoError(t, err, string(said))
	}
	var out guarded
	start := exec.CommandContext(t.Context(), "npm", "start", "--", "--serve=127.0.0.1:0")
	start.Dir, start.Stdout, start.Stderr = folder, &out, &out
	start.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // npm starts a shell, which starts esbuild
	start.Cancel = func() error { return syscall.Kill(-start.Process.Pid, syscall.SIGKILL) }
	start.WaitDelay = 5 * time.Second
	_, err = start.StdinPipe() // esbuild ends with its input
	require.NoError(t, err)
	require.NoError(t, start.Start())
	ended := make(chan struct{})
	go func() {
		_ = start.Wait() // the test's end kills it
		close(ended)
	}()
	t.Cleanup(func() { <-ended })
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	require.Eventually(t, func() bool {
		select {
		case <-ended:
			return true
		default:
			return address.MatchString(out.String())
		}
	}, patience, 20*time.Millisecond, "npm start: %s", &out)
	url := address.FindString(out.String())
	require.NotEmpty(t, url, "npm start: %s", &out)
	return url
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
