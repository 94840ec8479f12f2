package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
)

// Every command that takes an id judges it as the door and the events do, before it asks Redis.
func TestCommandsJudgeIDs(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"subject, checked": "limits check chat ID",
		"subject, reset":   "limits reset chat ID",
		"subject, blocked": "limits block chat ID",
		"role":             "limits check chat ann --role ID",
		"user, created":    "session create --username x --user ID",
		"user, listed":     "session list ID",
		"user, revoked":    "session revoke-user ID",
		"id, shown":        "session show ID",
		"id, revoked":      "session revoke ID",
		"id of a trade":    "trade show ID",
		"character":        "trade mint --gold 1 --character ID",
	} {
		for _, id := range []string{"", " ann", "ann ", "a\nb", "a\u200bb", strings.Repeat("x", 129)} {
			if id == "" && strings.Contains(line, "--role") {
				continue // no role at all
			}
			args := strings.Fields(line)
			for i, a := range args {
				if a == "ID" {
					args[i] = id
				}
			}
			_, stderr, code := command(t, append(args, "--redis", "redis://127.0.0.1:1")...)
			require.Equal(t, cli.ExitUsage, code, "%s %q: %s", name, id, stderr)
			named, _, _ := strings.Cut(name, " ")
			named = strings.Trim(named, ",")
			require.Contains(t, stderr, named, "%s %q", name, id)
		}
	}
}
