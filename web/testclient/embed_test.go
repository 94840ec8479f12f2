package testclient

import (
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func get(t *testing.T, h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, http.NoBody)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// clone is the embedded page as a fresh clone has it, before npm ran.
func clone(t *testing.T) fstest.MapFS {
	t.Helper()
	all := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(files, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		all[name] = &fstest.MapFile{Data: body}
		return err
	}))
	return all
}

func TestHandlerAnswers(t *testing.T) {
	t.Parallel()
	h := Handler(true, "/socket.io/", false)
	for name, c := range map[string]struct {
		method, path string
		status       int
		kind         string
	}{
		"the page":              {"GET", "/", 200, "text/html; charset=utf-8"},
		"a module":              {"GET", "/js/main.js", 200, "text/javascript; charset=utf-8"},
		"a style":               {"GET", "/css/base.css", 200, "text/css; charset=utf-8"},
		"the icon":              {"GET", "/favicon.svg", 200, "image/svg+xml"},
		"head":                  {"HEAD", "/", 200, "text/html; charset=utf-8"},
		"the page's other name": {"GET", "/index.html", 404, ""},
		"a folder":              {"GET", "/js/", 404, ""},
		"a file of no type":     {"GET", "/vendor/README.md", 404, ""},
		"our own source":        {"GET", "/embed.go", 404, ""},
		"out of the tree":       {"GET", "/js/../../embed.go", 404, ""},
		"post":                  {"POST", "/", 405, ""},
		"delete":                {"DELETE", "/js/main.js", 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := get(t, h, c.method, c.path)
			require.Equal(t, c.status, w.Code)
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			if c.status == http.StatusOK {
				require.Equal(t, c.kind, w.Header().Get("Content-Type"))
				require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'self'")
				require.NotContains(t, w.Header().Get("Content-Security-Policy"), "unsafe")
			}
		})
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	t.Parallel()
	dev, open := Handler(true, "/socket.io/", false), Handler(false, "/socket.io/", false)
	first := get(t, dev, "GET", "/")
	tag := first.Header().Get("ETag")
	require.NotEmpty(t, tag)
	require.Equal(t, "no-cache", first.Header().Get("Cache-Control"))

	again := get(t, dev, "GET", "/", "If-None-Match", tag)
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Empty(t, again.Body.String())

	changed := get(t, open, "GET", "/", "If-None-Match", tag)
	require.Equal(t, http.StatusOK, changed.Code, "without the guest login it is another page")
}

func TestPageSaysWhatTheServerOffers(t *testing.T) {
	t.Parallel()
	fresh := clone(t)
	require.Contains(t, get(t, newPageHandler(fresh, true, "/socket.io/", false), "GET", "/").Body.String(), `data-dev="true" data-bundle="missing"`)
	require.Equal(t, 404, get(t, newPageHandler(fresh, true, "/socket.io/", false), "GET", bundle).Code)

	fresh[strings.TrimPrefix(bundle, "/")] = &fstest.MapFile{Data: []byte("export {}")}
	h := newPageHandler(fresh, false, "/game/", false)
	require.Contains(t, get(t, h, "GET", "/").Body.String(), `data-dev="false" data-bundle="present" data-path="/game/"`)
	require.Equal(t, "export {}", get(t, h, "GET", bundle).Body.String())
}

// Whatever a page, style or module loads must be among the served files: the policy forbids
// everything else, and a missing one is an error in the console.
func TestEverythingThatIsLoadedIsServed(t *testing.T) {
	t.Parallel()
	served := collectServedFiles(clone(t))
	besides := []string{bundle, "/asyncapi.json", "/events.d.ts", AdminPath} // the gateway serves these
	loads := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from '([^']+)'|import\('([^']+)'\)|url\(([^)]+)\)`)
	for name, f := range served {
		for _, m := range loads.FindAllStringSubmatch(string(f.body), -1) {
			target := strings.Join(m[1:], "")
			if strings.HasPrefix(target, ".") {
				target = path.Join(path.Dir(name), target)
			}
			require.True(t, slices.Contains(besides, target) || slices.Contains(slices.Collect(maps.Keys(served)), target), "%s loads %s", name, target)
		}
	}
}

// The policy would refuse these; and markup from strings is how text becomes script.
func TestNothingInline(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]*regexp.Regexp{
		".html": regexp.MustCompile(`<script(?:>|[^>]*[^>c]>[^<])|<style|\sstyle=|\son[a-z]+=|javascript:`),
		".js":   regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('(?:style|on)`),
	} {
		for served, f := range collectServedFiles(clone(t)) {
			if path.Ext(served) == name {
				require.NotRegexp(t, bad, string(f.body), served)
			}
		}
	}
}
