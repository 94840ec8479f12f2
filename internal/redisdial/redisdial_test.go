package redisdial_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redisdial"
	"github.com/aeturnis/realtime/redisconn"
)

// The servers of --lock-redis with TLS use the files that --redis uses; those without TLS do not.
func TestLockServersUseTheFilesForTLS(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(broken, []byte("no certificate"), 0o600))
	target := redisdial.Target{URL: "rediss://127.0.0.1:1", CAFile: broken}
	_, err := target.LockServers([]string{"rediss://127.0.0.1:2"}, redisconn.Config{})
	require.ErrorContains(t, err, "--redis-ca")

	servers, err := target.LockServers([]string{"redis://127.0.0.1:2", "redis://127.0.0.1:3"}, redisconn.Config{})
	require.NoError(t, err)
	redisdial.CloseAll(servers)

	servers, err = redisdial.Target{}.LockServers([]string{"rediss://127.0.0.1:2"}, redisconn.Config{})
	require.NoError(t, err)
	redisdial.CloseAll(servers)

	_, err = redisdial.Target{}.LockServers([]string{"redis://127.0.0.1:2", "http://x"}, redisconn.Config{})
	require.ErrorContains(t, err, "--lock-redis: ")
	_, err = redisdial.Target{}.LockServers([]string{"redis://127.0.0.1:2", "redis://127.0.0.1:2/0"}, redisconn.Config{})
	require.ErrorContains(t, err, "twice")
}
