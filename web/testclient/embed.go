// Package testclient is the page that `gateway serve` shows at /: a small console to log in
// with, chat, fight, trade and watch every event. Plain HTML, CSS and modules without a
// build step; only the official Socket.IO client comes from npm, into vendor/.
package testclient

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed static vendor
var files embed.FS

// bundle is the official client, as npm's package has it. It is not committed: a fresh
// clone builds without it, and the page then says how to get it.
const bundle = "/vendor/socket.io.esm.min.js"

// policy lets the page load what we serve and nothing else: no inline script or style, no
// framing, no form that posts elsewhere.
const policy = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"

var types = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// A file is what one path answers.
type file struct {
	name string
	body []byte
	etag string
}

// Handler serves the page at /, and what it loads. dev offers the guest login. It answers
// 404 for every other path and 405 for methods that are not GET or HEAD. Browsers keep the
// files and ask each time whether they are still good: 304 when they are.
func Handler(dev bool) http.Handler { return handler(files, dev) }

func handler(source fs.FS, dev bool) http.Handler {
	served := collect(source)
	index := served["/index.html"]
	delete(served, "/index.html")
	if dev {
		index.body = bytes.Replace(index.body, []byte(`data-dev="false"`), []byte(`data-dev="true"`), 1)
	}
	if _, ok := served[bundle]; ok {
		index.body = bytes.Replace(index.body, []byte(`data-bundle="missing"`), []byte(`data-bundle="present"`), 1)
	}
	index.etag = etag(index.body)
	served["/"] = index

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		f, ok := served[r.URL.Path]
		if !ok {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Type", types[path.Ext(f.name)])
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", f.etag)
		http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.body))
	})
}

// collect reads every file of a known type: static/js/main.js answers /js/main.js, and
// vendor/x.js answers /vendor/x.js.
func collect(source fs.FS) map[string]file {
	served := map[string]file{}
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || types[path.Ext(name)] == "" {
			return err
		}
		body, err := fs.ReadFile(source, name)
		served["/"+strings.TrimPrefix(name, "static/")] = file{name, body, etag(body)}
		return err
	})
	if err != nil {
		panic("testclient: " + err.Error()) // what is embedded can be read
	}
	return served
}

func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}
