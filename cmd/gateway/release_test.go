package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeGo is a `go` that builds nothing: it writes the files that it was asked for, and its
// arguments into $LOG. What it installs does the same; as govulncheck it ends with $STATUS. Each
// binary was linked from one module, $SBOM is what is written as the list of them, and $NOTICE as
// their licences.
const fakeGo = `#!/usr/bin/env bash
echo "$(basename "$0") ${GOOS:-} ${GOARCH:-} $*" >>"$LOG"
case "${1:-}" in
install)
	[ -z "${NO_PROGRAM:-}" ] || exit 1
	name=${2%@*}
	cp "$0" "$GOBIN/$(basename "$name")"
	exit 0
	;;
version)
	printf '%s: go1.26.8\n\tdep\texample.org/a\tv1.2.3\th1:x=\n' "$3"
	exit 0
	;;
env)
	echo none
	exit 0
	;;
esac
[ "$(basename "$0")" != govulncheck ] || exit "${STATUS:-0}"
while [ $# -gt 0 ]; do
	case "$1" in
	-o)
		echo "made for ${GOOS:-} ${GOARCH:-}" >"$2"
		[ "$(basename "$2")" != NOTICE ] || echo "${NOTICE-example.org/a v1.2.3: MIT}" >"$2"
		;;
	-output) echo "$SBOM" >"$2" ;;
	--target) [ -n "${NO_PACKAGE:-}" ] || echo "package $DEB_VERSION of $DEB_ARCH" >"$2" ;;
	man) echo .TH ;;
	esac
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
	cmd.Env = append(append(os.Environ(), "GO="+fake, "LOG="+log, "IMAGE=none"), env...)
	raw, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		require.NoError(t, err, "%s", raw)
	}
	return string(raw), strings.Split(strings.TrimSpace(textOf(t, log)), "\n"), status
}

// sbomOf returns an SBOM that lists these packages.
func sbomOf(format string, purls ...string) string {
	parts := make([]string, len(purls))
	for i, purl := range purls {
		name, version, _ := strings.Cut(strings.TrimPrefix(purl, "pkg:golang/"), "@")
		parts[i] = fmt.Sprintf(`{"name":%q,"version":%q,"purl":%q}`, name, version, purl)
	}
	return fmt.Sprintf(`{"bomFormat":%q,"components":[%s]}`, format, strings.Join(parts, ","))
}

var goodSBOM = sbomOf("CycloneDX", "pkg:golang/std@go1.26.8", "pkg:golang/example.org/a@v1.2.3")

// make release builds each program for four systems, without this machine's paths, and lists the
// checksums of these files and of the SBOMs.
func TestAReleaseHasBinariesChecksumsAndSBOMs(t *testing.T) {
	t.Parallel()
	dist := filepath.Join(t.TempDir(), "dist")
	out, calls, status := runScript(t, []string{"SBOM=" + goodSBOM, "VERSION=v1.2.3-rc1"}, "release", dist)
	require.Zero(t, status, out)
	want := []string{"LICENSE", "NOTICE", "gateway.1", "realtime-gateway_1.2.3~rc1_amd64.deb", "realtime-gateway_1.2.3~rc1_arm64.deb"}
	for _, system := range []string{"linux amd64", "linux arm64", "darwin amd64", "darwin arm64"} {
		name := strings.ReplaceAll(system, " ", "-")
		want = append(want, "gateway-"+name, "loadtest-"+name, "gateway-"+name+".cdx.json", "loadtest-"+name+".cdx.json")
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

// A version of git becomes one that dpkg orders as git does: a commit without a tag before all
// releases, a candidate before its release, a commit after a release behind it.
func TestAPackagesVersionIsOrderedLikeGits(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1.2.3": "1.2.3", "v1.2.3-rc1": "1.2.3~rc1", "v1.2.3-4-gabcdef0": "1.2.3+git4.abcdef0", "v1.2.3-4-gabcdef0-dirty": "1.2.3+git4.abcdef0+dirty",
		"abcdef0": "0.0.0~gitabcdef0", "abcdef0-dirty": "0.0.0~gitabcdef0+dirty",
	} {
		dist := filepath.Join(t.TempDir(), "dist")
		out, _, status := runScript(t, []string{"SBOM=" + goodSBOM, "TARGETS=linux/amd64", "VERSION=" + version}, "release", dist)
		require.Zero(t, status, out)
		require.Equal(t, "package "+want+" of amd64\n", textOf(t, filepath.Join(dist, "realtime-gateway_"+want+"_amd64.deb")))
	}
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("there is no dpkg here, which tells the order")
	}
	order := []string{"0.0.0~gitabcdef0", "1.2.3~rc1", "1.2.3", "1.2.3+git4.abcdef0", "1.2.4~rc1"}
	for i := range order[1:] {
		require.NoError(t, exec.CommandContext(t.Context(), dpkg, "--compare-versions", order[i], "lt", order[i+1]).Run(), order[i+1])
	}
}

// A release without the licence of a module, or without a package, fails.
func TestAReleaseIsWhole(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"NOTICE=example.org/a v1.2.4: MIT": "NOTICE does not name example.org/a@v1.2.3",
		"NOTICE=":                          "NOTICE does not name example.org/a@v1.2.3",
		"NO_PACKAGE=1":                     "there is no package of gateway-linux-amd64",
	} {
		out, _, status := runScript(t, []string{"SBOM=" + goodSBOM, "TARGETS=linux/amd64", setting}, "release", filepath.Join(t.TempDir(), "dist"))
		require.NotZero(t, status, setting)
		require.Contains(t, out, want)
	}
}

// A release whose SBOM does not say what was linked, or is none, fails.
func TestAReleaseIsCheckedAgainstItsSBOM(t *testing.T) {
	t.Parallel()
	for sbom, want := range map[string]string{
		goodSBOM: "",
		sbomOf("CycloneDX", "pkg:golang/std@go1.26.8"):                                                                       "names other modules",
		sbomOf("CycloneDX", "pkg:golang/std@go1.26.8", "pkg:golang/example.org/a@v1.2.4"):                                    "names other modules",
		sbomOf("CycloneDX", "pkg:golang/std@go1.26.8", "pkg:golang/example.org/a@v1.2.3", "pkg:golang/example.org/b@v0.0.1"): "names other modules",
		sbomOf("CycloneDX", "pkg:golang/example.org/a@v1.2.3"):                                                               "no version of Go",
		sbomOf("SPDX", "pkg:golang/std@go1.26.8", "pkg:golang/example.org/a@v1.2.3"):                                         "is no SBOM",
		"made for linux": "is no SBOM",
		"":               "is no SBOM",
	} {
		out, _, status := runScript(t, []string{"SBOM=" + sbom, "TARGETS=linux/amd64"}, "release", filepath.Join(t.TempDir(), "dist"))
		require.Equal(t, want == "", status == 0, "%s: %s", sbom, out)
		require.Contains(t, out, want)
	}
}

// The release of one system, built for real, is what check-release looks for. It is the whole of
// `make release` in CHAOS=1 only, because that takes minutes.
func TestARealRelease(t *testing.T) {
	t.Parallel()
	if os.Getenv("CHAOS") == "" {
		t.Skip("CHAOS=1 builds a release")
	}
	dist := filepath.Join(t.TempDir(), "dist")
	cmd := exec.CommandContext(t.Context(), "../../scripts/release", dist)
	cmd.Env = append(os.Environ(), "TARGETS="+runtime.GOOS+"/"+runtime.GOARCH)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var bom struct {
		Components []struct{ Name, PURL string }
	}
	require.NoError(t, json.Unmarshal([]byte(textOf(t, filepath.Join(dist, "gateway-"+runtime.GOOS+"-"+runtime.GOARCH+".cdx.json"))), &bom))
	names := map[string]bool{}
	for _, c := range bom.Components {
		names[c.Name] = true
	}
	for _, name := range []string{"std", "github.com/redis/go-redis/v9", "go.uber.org/zap", "github.com/zishang520/socket.io/v2"} {
		require.True(t, names[name], name)
	}
	require.False(t, names["github.com/stretchr/testify"], "what only tests need is not linked")
	notice := textOf(t, filepath.Join(dist, "NOTICE"))
	for _, name := range []string{"github.com/alicebob/miniredis/v2 ", "std go1.", "socket.io-client ", "engine.io-client ", "@mdi/font ", "vuetify "} {
		require.Contains(t, notice, "\n"+name)
	}
	if dpkg, err := exec.LookPath("dpkg"); err == nil && dpkg != "" && os.Geteuid() == 0 {
		require.Contains(t, string(out), "was installed, started, upgraded, removed and purged")
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
	for _, file := range []string{"scripts/release", "scripts/notice", "scripts/vuln", "scripts/install", "Makefile"} {
		require.NotContains(t, textOf(t, "../../"+file), "@latest", file)
	}
}
