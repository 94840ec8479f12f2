package main

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scripts/drill asks all ten questions of three nodes, in less than a minute each, and each is
// answered.
func TestTheDrillScript(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not there")
	}
	d := startDrill(t, "--drain-for", "0s")
	d.trade("sword", 40)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "../../scripts/drill", "--redis", d.url, "--user", "ann", "--character", "bob", "--admin", d.nodes[0].admin, "--node", "game-3", "--drain")
	cmd.Env = append(os.Environ(), beTheProgram+"=1", "DRILL_GATEWAY="+self)
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Less(t, time.Since(begun), time.Minute)
	text := string(out)
	answers := regexp.MustCompile(`(?m)^\(([\d.]+) s, exit status (\d+)\)$`).FindAllStringSubmatch(text, -1)
	require.Len(t, answers, 12, "ten questions, two of which have two steps: %s", text)
	for _, a := range answers {
		require.Equal(t, "0", a[2], "%s", text)
	}
	for _, part := range []string{"ann", "WHOM MOST", "job:", "1 sword", `"status":"up"`, "game-2", "drained in", "40 gold", "WAITING", "7/10s", "started"} {
		require.Contains(t, text, part)
	}
}
