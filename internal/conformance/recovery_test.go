package main

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redistest"
)

// The official client's own case of connection state recovery passes.
func TestThePeersCaseOfRecovery(t *testing.T) {
	t.Parallel()
	bundle, err := filepath.Abs("../../web/testclient/vendor/socket.io.esm.min.js")
	require.NoError(t, err)
	mux := http.NewServeMux()
	stop := serveSocketMode(mux, redistest.Server(t).Addr(), &socketio.LogConfig{})
	web := httptest.NewServer(mux)
	t.Cleanup(func() { stop(); web.Close() })
	out, err := exec.CommandContext(t.Context(), "node", "--experimental-websocket", "recovery.mjs", bundle, web.URL).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
