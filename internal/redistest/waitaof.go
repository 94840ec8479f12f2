package redistest

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
)

// localValkey is where scripts/install puts a Valkey when the system's packages have none.
const localValkey = "bin/valkey/usr/bin/valkey-server"

var versionText = regexp.MustCompile(`v=(\d+)\.(\d+)`)

// ServerWithWaitAOF is like Server, but with a Redis of 7.2 or later or a Valkey, which have the
// command WAITAOF. The test is skipped when neither is installed.
func ServerWithWaitAOF(t testing.TB, args ...string) *Instance {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	for _, name := range []string{"redis-server", "valkey-server", filepath.Join(filepath.Dir(here), "..", localValkey)} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		said, err := exec.Command(path, "--version").Output() //nolint:gosec // path is one of the three above
		m := versionText.FindSubmatch(said)
		if err != nil || m == nil {
			continue
		}
		major, _ := strconv.Atoi(string(m[1]))
		minor, _ := strconv.Atoi(string(m[2]))
		if major < 7 || major == 7 && minor < 2 {
			continue
		}
		n, err := startNodeProcess(&node{program: path, args: args})
		if err != nil {
			t.Fatalf("redistest: %s: %v", path, err)
		}
		t.Cleanup(n.killAndRemove)
		return &Instance{t: t, node: n}
	}
	t.Skip("no Redis 7.2 or Valkey: nothing here has WAITAOF")
	return nil
}
