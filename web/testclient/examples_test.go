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
	bob.is(`told.state.some((s) => /^DRAINING: back in \d+ s$/.test(s)) && told.state.at(-1) === 'away, trying again'`)
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
	bob.eval(fmt.Sprintf(`sessionStorage.setItem('sessionId', %q); 0`, s.cli(t, "session", "create", "--user", "bob", "--username", "bob", "--ttl", "15s")))
	bob.run(chromedp.Reload())
	bob.is(`told.problem.some((said) => /^You will be logged out in \d+ s\./.test(said))`) // it is said in the last tenth
	bob.is(`document.querySelector('#state').textContent === 'logged out'`)
}

// A player with the page of examples/express, which is a page of another origin than the gateway.
func TestTheExampleOfASite(t *testing.T) {
	t.Parallel()
	folder := copyExample(t, "express", "site.mjs", "push.mjs")
	secret, keys := filepath.Join(folder, "secret"), filepath.Join(folder, "keys")
	require.NoError(t, os.WriteFile(secret, []byte("a secret of the site, 0123456789\n"), 0o600))
	require.NoError(t, os.WriteFile(keys, nil, 0o600))
	s, browser := serveWith(t, "--dev", "--log-level", "error", "--session-source", "express", "--session-secret-file", secret, "--api-addr", "127.0.0.1:0", "--api-keys-file", keys), chromium(t)
	out, err := exec.CommandContext(t.Context(), s.binary, "api-key", "create", "--name", "site", "--scope", "cast").Output()
	require.NoError(t, err)
	key, line, _ := strings.Cut(string(out), "\n")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "key"), []byte(key), 0o600))
	require.NoError(t, os.WriteFile(keys, []byte(line), 0o600)) // the gateway reads it again, the site repeats nothing
	api := regexp.MustCompile(`(?m)^server api +(http://[^/]+)`).FindStringSubmatch(s.banner.String())
	require.NotNil(t, api, s.banner)
	require.Eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api[1]+"/server/v1/cast", strings.NewReader(`{"all":true,"event":"mail:test"}`))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+key)
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, patience, 50*time.Millisecond, "the key does not hold")
	url := startProgram(t, folder, []string{"PORT=0", "REDIS_URL=" + s.redis, "GATEWAY_URL=" + s.url, "API_URL=" + api[1]}, "node", "site.mjs")

	p := open(t, browser, url, 800, 600)
	p.run(chromedp.SendKeys(chromedp.CSS("[name=name]"), "ann"), chromedp.SendKeys(chromedp.CSS("[name=password]"), "correct horse\r"), chromedp.WaitVisible(chromedp.CSS("#state")))
	p.is(`document.querySelector('#state')?.textContent === 'connected as Ann'`)
	p.eval(`fetch('/mail', {method: 'POST', body: new URLSearchParams({to: 'ann', text: '<b>Hello</b>'})}); 0`)
	p.is(`document.querySelector('#mail').textContent === 'Ann: <b>Hello</b>'`)

	// The other tab of this browser hears of the logout.
	other := open(t, browser, url, 800, 600)
	other.is(`document.querySelector('#state')?.textContent === 'connected as Ann'`)
	p.run(chromedp.Click(chromedp.CSS("button")), chromedp.WaitVisible(chromedp.CSS("[name=password]")))
	other.is(`document.querySelector('#state').textContent === 'You logged out.'`)
}

// startPage builds and serves examples/page in a copy, for this gateway, and returns its address.
func (s server) startPage(t *testing.T) string {
	t.Helper()
	folder := copyExample(t, "page", "tsconfig.json", "src/page.ts", "site/index.html")
	page := filepath.Join(folder, "site/index.html")
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	const standard = `content="http://127.0.0.1:8080"`
	require.Contains(t, string(text), standard)
	require.NoError(t, os.WriteFile(page, []byte(strings.ReplaceAll(string(text), standard, `content="`+s.url+`"`)), 0o644))

	answer, err := http.Get(s.url + "/events.d.ts")
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	types, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	docs := filepath.Join(folder, "../../docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(docs, "events.d.ts"), types, 0o644))
	return startProgram(t, folder, nil, "npm", "start", "--", "--serve=127.0.0.1:0")
}

// copyExample copies files of a folder of examples, and its packages, which it installs where they
// are missing.
func copyExample(t *testing.T, name string, files ...string) string {
	t.Helper()
	source, err := filepath.Abs("../../examples/" + name)
	require.NoError(t, err)
	folder := filepath.Join(t.TempDir(), "examples", name)
	for _, file := range append(files, "package.json", "package-lock.json") {
		text, err := os.ReadFile(filepath.Join(source, file))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), text, 0o644))
	}
	readme, err := os.ReadFile(filepath.Join(source, "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), "\nnpm ci\nnpm start\n")
	packages := filepath.Join(source, "node_modules")
	if _, err := os.Stat(packages); err == nil { // make has installed them
		require.NoError(t, os.Symlink(packages, filepath.Join(folder, "node_modules")))
		return folder
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	install.Dir = folder
	said, err := install.CombinedOutput()
	require.NoError(t, err, string(said))
	return folder
}

// startProgram starts a program that serves pages until the test ends, and returns its address.
func startProgram(t *testing.T, folder string, env []string, program ...string) string {
	t.Helper()
	var out guarded
	start := exec.CommandContext(t.Context(), program[0], program[1:]...)
	start.Dir, start.Env, start.Stdout, start.Stderr = folder, append(os.Environ(), env...), &out, &out
	start.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // npm starts a shell, which starts esbuild
	start.Cancel = func() error { return syscall.Kill(-start.Process.Pid, syscall.SIGKILL) }
	start.WaitDelay = 5 * time.Second
	_, err := start.StdinPipe() // esbuild ends with its input
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
	}, patience, 20*time.Millisecond, "%s: %s", program, &out)
	url := address.FindString(out.String())
	require.NotEmpty(t, url, "%s: %s", program, &out)
	return url
}
