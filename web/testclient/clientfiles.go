package testclient

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// clientFileTypes are the official client's bundles that pages of other hosts load from below the
// Socket.IO path, as Node's server has them there, with their types. The bundle that speaks msgpack
// is not among them, because this gateway does not speak it.
var clientFileTypes = map[string]string{
	"socket.io.js":             contentTypes[".js"],
	"socket.io.min.js":         contentTypes[".js"],
	"socket.io.esm.min.js":     contentTypes[".js"],
	"socket.io.js.map":         "application/json; charset=utf-8",
	"socket.io.min.js.map":     "application/json; charset=utf-8",
	"socket.io.esm.min.js.map": "application/json; charset=utf-8",
}

// ClientFiles returns the handlers of the official client's bundles by the name of the file. A name
// is missing when a fresh clone was built without npm.
func ClientFiles() map[string]http.Handler { return newClientFiles(files) }

func newClientFiles(source fs.FS) map[string]http.Handler {
	handlers := map[string]http.Handler{}
	for name, kind := range clientFileTypes {
		body, err := fs.ReadFile(source, "vendor/"+name)
		if err != nil {
			continue
		}
		handlers[name] = newClientFile(source, name, kind, entityTagOf(body))
	}
	return handlers
}

// newClientFile returns the handler of one bundle. Most processes never serve one, so nothing of it
// is held before the first request; from then on its compressed form is.
func newClientFile(source fs.FS, name, kind, etag string) http.Handler {
	compressed := sync.OnceValue(func() []byte {
		body, err := fs.ReadFile(source, "vendor/"+name)
		if err != nil {
			return nil
		}
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body) // a Buffer takes everything
		_ = w.Close()
		return b.Bytes()
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "public, max-age=0")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			h.Set("ETag", strings.TrimSuffix(etag, `"`)+`-gzip"`)
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(compressed()))
			return
		}
		h.Set("ETag", etag)
		body, err := fs.ReadFile(source, "vendor/"+name)
		if err != nil {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	})
}

// acceptsGzip reports whether a request takes gzip, RFC 9110 section 12.5.3.
func acceptsGzip(r *http.Request) bool {
	for _, list := range r.Header["Accept-Encoding"] {
		for coding := range strings.SplitSeq(list, ",") {
			name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				weight = strings.ReplaceAll(weight, " ", "")
				return !strings.HasPrefix(weight, "q=0") || strings.Trim(weight, "q=0.") != ""
			}
		}
	}
	return false
}

// isPageFile reports whether the page serves an embedded file: the bundles in vendor, but for the
// one that the page loads, are for other pages.
func isPageFile(name string) bool {
	return path.Dir(name) != "vendor" || "/"+name == bundle
}
