package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// TestTheExamplesOfBackends plays each backend of examples/backends through a gateway with the
// settings of that folder.
func TestTheExamplesOfBackends(t *testing.T) {
	t.Parallel()
	for name, program := range map[string][]string{
		"node":   {"node", "../../examples/backends/node/quests.mjs"},
		"python": {"python3", "../../examples/backends/python/quests.py"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(program[0]); err != nil {
				t.Skip(err)
			}
			folder := t.TempDir()
			secret := filepath.Join(folder, "secret")
			require.NoError(t, os.WriteFile(secret, []byte("# of the quests\na secret of the examples\n"), 0o600))
			address := startExample(t, append(program, "--port", "0", "--secret-file", secret)...)
			settings, err := os.ReadFile("../../examples/backends/gateway.yaml")
			require.NoError(t, err)
			text := strings.NewReplacer("127.0.0.1:9000", address, "quests.schema.json", "../../examples/backends/quests.schema.json", "secret-file: secret", "secret-file: "+secret).Replace(string(settings))
			g := serve(t, "--redis", redistest.URL(t), "--dev", "--config", writeFile(t, text))

			refused := g.handshake(g.guest("banned")).take("44", func(frame) bool { return true })
			require.JSONEq(t, `{"message":"The world is closed to you.","data":{"code":"WORLD_CLOSED"}}`, string(refused.body))
			ann := g.handshake(g.guest("ann"))
			welcome := ann.event("session")
			require.Equal(t, map[string]any{"motd": "Welcome!"}, welcome["data"])
			require.Equal(t, []any{"game:world"}, welcome["rooms"])

			first := ann.ok("quest:accept", `{"questId":"q1","idempotencyKey":"once"}`)
			require.Equal(t, []any{"q1", "open"}, []any{first["questId"], first["state"]})
			require.Equal(t, first, ann.event("quest:accepted"))
			require.Equal(t, first, ann.ok("quest:accept", `{"questId":"q1","idempotencyKey":"once"}`))
			require.Equal(t, "INVALID", ann.refused("quest:accept", `{}`)["code"])
			ann.ok("quest:accept", `{"questId":"q2"}`)
			ann.ok("quest:accept", `{"questId":"q3"}`)
			require.Equal(t, map[string]any{"code": "QUEST_FULL", "message": "You have too many quests.", "most": 3.0}, ann.refused("quest:accept", `{"questId":"q4"}`))
			require.Len(t, ann.ok("quest:list", `{}`)["quests"], 3)

			forged := do(t, "POST", "http://"+address+"/events", `{"event":"quest:list"}`, "Gateway-Signature", "t=1700000000,v1=00")
			require.Equal(t, 401, forged.status)
		})
	}
}

// startExample starts a program that prints the port on which it listens, and returns its address.
func startExample(t *testing.T, args ...string) (address string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // an example of ours
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var port int
	_, err = fmt.Sscanf(line, "listening on %d", &port)
	require.NoError(t, err, line)
	return fmt.Sprintf("127.0.0.1:%d", port)
}
