package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The feature of docs/adding-a-feature.md is a folder of under 60 lines and one line in package
// server. It is built from the document's own text, over the sources that are tested.
func TestAFeatureFromTheDocuments(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/adding-a-feature.md")
	require.NoError(t, err)
	block := func(before string) string {
		m := regexp.MustCompile("(?s)" + regexp.QuoteMeta(before) + ".*?```go\n(.*?)```").FindSubmatch(document)
		require.NotNil(t, m, before)
		return string(m[1])
	}
	feature := block("`guild/guild.go`:")
	require.Less(t, strings.Count(feature, "\n"), 60, "it is advertised as short")

	wire, err := os.ReadFile("../../server/features.go")
	require.NoError(t, err)
	wired := regexp.MustCompile(`(?m)^\tall = \[\]Feature\{.*\}\n`).ReplaceAllLiteralString(string(wire), block("it joins its neighbours in one line"))
	wired = strings.Replace(wired, "\nimport (\n", "\nimport (\n\t\"github.com/aeturnis/realtime/guild\"\n", 1)
	require.NotEqual(t, string(wire), wired)

	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range map[string]string{
		"guild/guild.go": feature, "guild/guild_test.go": block("`guild/guild_test.go`:"), "guild/rollcall.go": block("`guild/rollcall.go`:"),
		"guild/banner.go": block("`guild/banner.go`:"), "server/features.go": wired,
	} {
		real, err := filepath.Abs(filepath.Join("../..", name))
		require.NoError(t, err)
		fake := filepath.Join(dir, filepath.Base(name))
		require.NoError(t, os.WriteFile(fake, []byte(text), 0o600))
		overlay.Replace[real] = fake
	}
	file := filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600))
	do := func(program string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %s: %s", program, strings.Join(args, " "), out)
		return string(out)
	}
	tests := filepath.Join(dir, "guild.test")
	do("go", "test", "-c", "-vet=off", "-overlay", file, "-o", tests, "./guild") // there is no folder to run it in
	require.Contains(t, do(tests, "-test.v"), "PASS: TestOnlyMembersInsideCheer")
	types := do("go", "run", "-overlay", file, "./cmd/gateway", "contract", "typescript")
	require.Contains(t, types, "'guild:enter': (payload: GuildHall, ack: (answer: Answer<GuildHall, SharedCode>) => void) => void;")
	require.Contains(t, types, "'guild:cheered': (payload: GuildCheered, offset?: string) => void;")
}
