package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lastStage returns the instructions of the stage that becomes the image, each in one line.
func lastStage(t *testing.T) []string {
	t.Helper()
	text := strings.ReplaceAll(readFile(t, "Containerfile"), "\\\n", " ")
	text = text[strings.LastIndex(text, "\nFROM ")+1:]
	var instructions []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			instructions = append(instructions, line)
		}
	}
	return instructions
}

// The image has a health check and labels, no root, and nothing but the players' port on all
// addresses.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	stage := strings.Join(lastStage(t), "\n")
	require.Contains(t, stage, `CMD ["/gateway", "health"]`)
	require.Contains(t, stage, "HEALTHCHECK ")
	require.Contains(t, stage, "USER 65534:65534")
	for _, label := range []string{"title", "description", "source", "licenses", "version", "revision", "created"} {
		require.Contains(t, stage, "org.opencontainers.image."+label+"=")
	}
	require.Equal(t, 1, strings.Count(stage, "0.0.0.0"), "--addr alone")
	require.NotContains(t, stage, "--admin-addr")
	require.NotContains(t, stage, "8081", "the operators' address stays on loopback")
}

// isIgnored reports whether .dockerignore keeps a file out: its last pattern that fits decides.
func isIgnored(patterns []string, name string) (ignored bool) {
	for _, pattern := range patterns {
		pattern, isException := strings.CutPrefix(pattern, "!")
		anywhere, isAnywhere := strings.CutPrefix(pattern, "**/")
		for at := name; at != "."; at = path.Dir(at) { // the file, or a folder that it is in
			fits, _ := path.Match(pattern, at)
			if pattern == "**" {
				fits = true
			} else if isAnywhere {
				fits, _ = path.Match(anywhere, path.Base(at))
			}
			if fits {
				ignored = !isException
				break
			}
		}
	}
	return ignored
}

// An image is built of what the programs need, and of nothing that could hold a secret.
func TestDockerignore(t *testing.T) {
	t.Parallel()
	var patterns []string
	for line := range strings.Lines(readFile(t, "../.dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	out, err := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`,
		"../cmd/gateway", "../cmd/loadtest").Output()
	require.NoError(t, err)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	needed := strings.Fields(string(out))
	require.Greater(t, len(needed), 300)
	for _, name := range append(needed, root+"/go.mod", root+"/go.sum", root+"/scripts/ldflags", root+"/scripts/notice", root+"/internal/notice/bundled/vue.txt", root+"/web/testclient/vendor.mjs", root+"/web/testclient/package-lock.json") {
		name = strings.TrimPrefix(name, root+"/")
		if !strings.HasPrefix(name, "web/testclient/vendor/") { // the stage before makes it
			require.False(t, isIgnored(patterns, name), "%s is needed", name)
		}
	}
	for _, name := range []string{".git/config", "gateway.env", ".env", "deploy/gateway.service", "bin/gateway", "secret.pem", "test/client/package.json", "server/lifecycle_test.go", "web/testclient/node_modules/x/y.js", "web/testclient/vendor/x.js"} {
		require.True(t, isIgnored(patterns, name), "%s is not needed", name)
	}
}

// buildah builds the last stage of the Containerfile, with the binaries of `make build`; the stages
// before need images of a registry. The image has its health check, labels, user and programs.
func TestTheImageIsBuilt(t *testing.T) {
	t.Parallel()
	buildah, err := exec.LookPath("buildah")
	if err != nil {
		t.Skip("there is no buildah here: apt-get install buildah")
	}
	folder := t.TempDir()
	program, err := os.ReadFile("../bin/gateway")
	if err != nil {
		t.Skip("there is no bin/gateway: make build")
	}
	stage := lastStage(t)
	for i, line := range stage {
		stage[i] = strings.Replace(line, "COPY --from=build /", "COPY ", 1)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "etc/ssl/certs"), 0o755))
	for name, content := range map[string][]byte{"gateway": program, "loadtest": {}, "LICENSE": {}, "NOTICE": {}, "etc/ssl/certs/ca-certificates.crt": {}, "Containerfile": []byte(strings.Join(stage, "\n"))} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), content, 0o755))
	}
	run := func(args ...string) string {
		args = append([]string{"--storage-driver", "vfs", "--root", filepath.Join(folder, "root"), "--runroot", filepath.Join(folder, "run")}, args...)
		out, err := exec.Command(buildah, args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	run("build", "--isolation", "chroot", "--format", "docker", "--build-arg", "VERSION=v1.2.3", "--build-arg", "COMMIT=abc", "-t", "gateway", folder)
	var image struct {
		Docker struct {
			Config struct {
				Labels      map[string]string
				User        string
				Cmd         []string
				Entrypoint  []string
				Healthcheck struct{ Test []string }
			} `json:"config"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(run("inspect", "--type", "image", "gateway")), &image))
	config := image.Docker.Config
	require.Equal(t, []string{"CMD", "/gateway", "health"}, config.Healthcheck.Test)
	require.Equal(t, "v1.2.3", config.Labels["org.opencontainers.image.version"])
	require.Equal(t, "abc", config.Labels["org.opencontainers.image.revision"])
	require.Equal(t, "65534:65534", config.User)
	require.Equal(t, []string{"/gateway"}, config.Entrypoint)
	require.Equal(t, []string{"serve", "--addr", "0.0.0.0:8080"}, config.Cmd)

	container := strings.TrimSpace(run("from", "--quiet", "gateway"))
	require.Contains(t, run("run", "--isolation", "chroot", container, "--", "/gateway", "version"), ", go1.", "it needs nothing else in the image")
}
