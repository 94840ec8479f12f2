// Package testclient is the page that `gateway serve` shows at /: a small console with which to log
// in, chat, fight, trade and watch every event. It is plain HTML, CSS and modules without a build
// step; only the official Socket.IO client comes from npm, into vendor/. ClientFiles serves that
// client to other pages.
package testclient

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed static vendor
var files embed.FS

// bundle is the file of the official client that the page loads, from its npm package. It is not
// committed: a fresh clone builds without it, and the page then says how to get it.
const bundle = "/vendor/socket.io.esm.min.js"

// securityPolicy lets the page load only what this package serves: no inline script or style, no
// framing, no form that posts elsewhere.
const securityPolicy = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"

var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// A file is the answer to requests of one path.
type file struct {
	name string
	body []byte
	etag string
}

// Handler serves the page at /, and the files that it loads. With dev, the page offers the guest
// login; with adminUI, a link to AdminPath. The page connects to socketPath, such as /socket.io/.
// Every other path is answered with
// 404, and methods other than GET and HEAD with 405. Browsers cache the files and ask each time
// whether they have changed: 304 when they have not.
func Handler(dev bool, socketPath string, adminUI bool) http.Handler {
	return newPageHandler(files, dev, socketPath, adminUI)
}

func newPageHandler(source fs.FS, dev bool, socketPath string, adminUI bool) http.Handler {
	served := collectServedFiles(source)
	index := served["/index.html"]
	delete(served, "/index.html")
	if dev {
		index.body = bytes.Replace(index.body, []byte(`data-dev="false"`), []byte(`data-dev="true"`), 1)
	}
	index.body = bytes.Replace(index.body, []byte(`data-path="/socket.io/"`), []byte(`data-path="`+html.EscapeString(socketPath)+`"`), 1)
	if adminUI {
		index.body = bytes.Replace(index.body, []byte(`data-admin-ui="off"`), []byte(`data-admin-ui="on"`), 1)
	}
	if _, ok := served[bundle]; ok {
		index.body = bytes.Replace(index.body, []byte(`data-bundle="missing"`), []byte(`data-bundle="present"`), 1)
	}
	index.etag = entityTagOf(index.body)
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
		h.Set("Content-Security-Policy", securityPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Type", contentTypes[path.Ext(f.name)])
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", f.etag)
		http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.body))
	})
}

// collectServedFiles returns every file of a known type by its path: static/js/main.js is served as
// /js/main.js, and vendor/x.js as /vendor/x.js.
func collectServedFiles(source fs.FS) map[string]file {
	served := map[string]file{}
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || contentTypes[path.Ext(name)] == "" || !isPageFile(name) {
			return err
		}
		body, err := fs.ReadFile(source, name)
		served["/"+strings.TrimPrefix(name, "static/")] = file{name, body, entityTagOf(body)}
		return err
	})
	if err != nil {
		panic("testclient: " + err.Error()) // embedded files can always be read
	}
	return served
}

func entityTagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}
