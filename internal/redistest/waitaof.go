package redistest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	for _, name := range []string{"redis-server", "valkey-server", filepath.Join(repositoryRoot(), localValkey)} {
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

// repositoryRoot returns the folder above the test's that has go.mod, or "". (The path of this file
// is not known to a test that was built with -trimpath.)
func repositoryRoot() string {
	folder, err := os.Getwd()
	for err == nil {
		if _, found := os.Stat(filepath.Join(folder, "go.mod")); found == nil {
			return folder
		}
		above := filepath.Dir(folder)
		if above == folder {
			break
		}
		folder = above
	}
	return ""
}
