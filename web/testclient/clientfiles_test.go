package testclient

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClientFilesAreServedAsNodeDoes(t *testing.T) {
	t.Parallel()
	served := ClientFiles()
	for _, name := range []string{"socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.js.map", "socket.io.min.js.map", "socket.io.esm.min.js.map"} {
		h := served[name]
		require.NotNil(t, h, "%s is missing: run `make build`, or `npm ci` in web/testclient", name)
		w := get(t, h, "GET", "/socket.io/"+name)
		require.Equal(t, 200, w.Code, name)
		want, begin := "text/javascript; charset=utf-8", "/*!\n * Socket.IO v4."
		if strings.HasSuffix(name, ".map") {
			want, begin = "application/json; charset=utf-8", `{"version":3,`
		}
		require.Equal(t, want, w.Header().Get("Content-Type"), name)
		require.Equal(t, "public, max-age=0", w.Header().Get("Cache-Control"), name)
		require.True(t, strings.HasPrefix(w.Body.String(), begin), "%s: %.40q", name, w.Body)
		plain := w.Body.String()

		w = get(t, h, "GET", "/socket.io/"+name, "If-None-Match", w.Header().Get("ETag"))
		require.Equal(t, http.StatusNotModified, w.Code, name)
		require.Empty(t, w.Body.String(), name)

		w = get(t, h, "GET", "/socket.io/"+name, "Accept-Encoding", "br, gzip;q=0.8")
		require.Equal(t, "gzip", w.Header().Get("Content-Encoding"), name)
		require.Less(t, w.Body.Len(), len(plain)/2, name)
		r, err := gzip.NewReader(w.Body)
		require.NoError(t, err, name)
		unpacked, err := io.ReadAll(r)
		require.NoError(t, err, name)
		require.Equal(t, plain, string(unpacked), name)

		require.Empty(t, get(t, h, "GET", "/socket.io/"+name, "Accept-Encoding", "gzip;q=0").Header().Get("Content-Encoding"), name)
		require.Equal(t, http.StatusMethodNotAllowed, get(t, h, "POST", "/socket.io/"+name).Code, name)
	}
	require.NotContains(t, served, "socket.io.msgpack.min.js", "its parser is not spoken here")
	require.NotContains(t, served, "README.md")
	require.Empty(t, newClientFiles(clone(t)), "a fresh clone, before npm ran")
}

func TestThePageServesNoOtherBundle(t *testing.T) {
	t.Parallel()
	h := Handler(false, "/socket.io/", false)
	require.Equal(t, 404, get(t, h, "GET", "/vendor/socket.io.js").Code)
	require.Equal(t, 404, get(t, h, "GET", "/vendor/socket.io.min.js").Code)
}
