package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeGo is a `go` that builds nothing: it writes the files that it was asked for, and its
// arguments into $LOG. What it installs does the same; as govulncheck it ends with $STATUS.
const fakeGo = `#!/usr/bin/env bash
echo "$(basename "$0") ${GOOS:-} ${GOARCH:-} $*" >>"$LOG"
case "${1:-}" in
install)
	[ -z "${NO_PROGRAM:-}" ] || exit 1
	name=${2%@*}
	cp "$0" "$GOBIN/$(basename "$name")"
	exit 0
	;;
esac
[ "$(basename "$0")" != govulncheck ] || exit "${STATUS:-0}"
while [ $# -gt 0 ]; do
	case "$1" in -o | -output) echo "made for ${GOOS:-} ${GOARCH:-}" >"$2" ;; esac
	shift
done
`

// runScript runs a script of the repository with fakeGo as its go, and returns what it printed, the
// calls of fakeGo, and its exit status.
func runScript(t *testing.T, env []string, name string, args ...string) (out string, calls []string, status int) {
	t.Helper()
	dir := t.TempDir()
	fake, log := filepath.Join(dir, "go"), filepath.Join(dir, "log")
	require.NoError(t, os.WriteFile(fake, []byte(fakeGo), 0o700)) //nolint:gosec // a program
	script, err := filepath.Abs(filepath.Join("../../scripts", name))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), script, args...)
	cmd.Env = append(append(os.Environ(), "GO="+fake, "LOG="+log), env...)
	raw, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		require.NoError(t, err, "%s", raw)
	}
	return string(raw), strings.Split(strings.TrimSpace(textOf(t, log)), "\n"), status
}

// make release builds each program for four systems, without this machine's paths, and lists the
// checksums of these files and of the SBOMs.
func TestAReleaseHasBinariesChecksumsAndSBOMs(t *testing.T) {
	t.Parallel()
	dist := filepath.Join(t.TempDir(), "dist")
	out, calls, status := runScript(t, nil, "release", dist)
	require.Zero(t, status, out)
	var want []string
	for _, system := range []string{"linux amd64", "linux arm64", "darwin amd64", "darwin arm64"} {
		name := strings.ReplaceAll(system, " ", "-")
		want = append(want, "gateway-"+name, "loadtest-"+name, "gateway-"+name+".cdx.json")
		for _, program := range []string{"gateway", "loadtest"} {
			require.Contains(t, strings.Join(calls, "\n"), fmt.Sprintf("go %s build -trimpath -ldflags -s -w ", system), program)
		}
	}
	sums := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(textOf(t, filepath.Join(dist, "SHA256SUMS"))), "\n") {
		sum, name, _ := strings.Cut(line, "  ")
		sums[name] = sum
	}
	require.Len(t, sums, len(want))
	for _, name := range want {
		sum := sha256.Sum256([]byte(textOf(t, filepath.Join(dist, name))))
		require.Equal(t, fmt.Sprintf("%x", sum), sums[name], name)
	}
	require.Contains(t, strings.Join(calls, "\n"), "install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0", "it is pinned")
	for _, call := range calls {
		if strings.Contains(call, " install ") {
			require.True(t, strings.HasPrefix(call, "go   install"), "it is built for this machine: %s", call)
		}
	}
}

// make vuln never takes data that it could not have for a good answer.
func TestVulnSaysWhenNothingWasChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env     []string
		status  int
		checked bool
	}{
		"nothing found":    {[]string{"STATUS=0"}, 0, true},
		"a vulnerability":  {[]string{"STATUS=3"}, 3, true},
		"no data":          {[]string{"STATUS=1"}, 4, false},
		"no program":       {[]string{"NO_PROGRAM=1"}, 4, false},
		"it was killed":    {[]string{"STATUS=137"}, 4, false},
		"data from a file": {[]string{"STATUS=1", "VULNDB=file:///nowhere"}, 4, false},
	} {
		out, calls, status := runScript(t, c.env, "vuln")
		require.Equal(t, c.status, status, name)
		require.Equal(t, c.checked, !strings.Contains(out, "NOTHING WAS CHECKED"), "%s: %s", name, out)
		require.Contains(t, calls[0], "golang.org/x/vuln/cmd/govulncheck@v1.9.0", "it is pinned")
	}
}

// What we ship names its images and programs by exact versions.
func TestVersionsArePinned(t *testing.T) {
	t.Parallel()
	image := regexp.MustCompile(`(?m)(?:^FROM|image:) +(docker\.io/\S+)`)
	exact := regexp.MustCompile(`:\d+\.\d+\.\d+$|@sha256:[0-9a-f]{64}$`)
	images := 0
	for _, file := range []string{"deploy/Containerfile", "deploy/compose.yaml"} {
		for _, m := range image.FindAllStringSubmatch(textOf(t, "../../"+file), -1) {
			images++
			require.Regexp(t, exact, m[1], file)
		}
	}
	require.Equal(t, 4, images)
	for _, file := range []string{"scripts/release", "scripts/vuln", "scripts/install", "Makefile"} {
		require.NotContains(t, textOf(t, "../../"+file), "@latest", file)
	}
}
