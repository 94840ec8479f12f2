package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// The official client's own case of connection state recovery passes.
func TestThePeersCaseOfRecovery(t *testing.T) {
	t.Parallel()
	bundle, err := filepath.Abs("../../web/testclient/vendor/socket.io.esm.min.js")
	require.NoError(t, err)
	node := goNode(t, redistest.Server(t).Addr())
	out, err := exec.CommandContext(t.Context(), "node", "--experimental-websocket", "recovery.mjs", bundle, node.url).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
