package testclient

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// AdminPath is where AdminPage is served.
const AdminPath = "/admin-ui/"

// adminSecurityPolicy is securityPolicy for the official Admin UI, which writes styles itself. It
// connects to its own host only.
const adminSecurityPolicy = securityPolicy + "; style-src 'self' 'unsafe-inline'; img-src 'self' data:"

var adminTypes = map[string]string{
	".css": contentTypes[".css"], ".html": contentTypes[".html"], ".js": contentTypes[".js"], ".svg": contentTypes[".svg"],
	".png": "image/png", ".woff2": "font/woff2",
}

// AdminPage serves Socket.IO's Admin UI at AdminPath: its built page from npm, which knows nothing
// of this gateway and logs in to the namespace /admin. A build without npm answers 404.
func AdminPage() http.Handler { return newAdminPage(files) }

func newAdminPage(source fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		name := strings.TrimPrefix(r.URL.Path, AdminPath)
		if name == "" {
			name = "index.html"
		}
		body, err := fs.ReadFile(source, "vendor/admin-ui/"+name+".gz")
		kind := adminTypes[path.Ext(name)]
		switch {
		case err != nil || kind == "":
			http.Error(w, "not found: the Admin UI comes from npm, by `make build`", http.StatusNotFound)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Security-Policy", adminSecurityPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-cache")
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
		} else if body, err = unzip(body); err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		h.Set("ETag", entityTagOf(body))
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	})
}

// unzip returns what one of our own files holds.
func unzip(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z) //nolint:gosec // it is embedded
}
