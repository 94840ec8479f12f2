package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestTheContractIsUpToDate(t *testing.T) {
	t.Parallel()
	for form, file := range map[string]string{"asyncapi": "asyncapi.json", "typescript": "events.d.ts", "markdown": "EVENTS.md"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile("../../docs/" + file)
			require.NoError(t, err)
			var out, logged bytes.Buffer
			require.NoError(t, runProgram(t.Context(), []string{"contract", form}, func(string) string { return "" }, &out, &logged))
			require.Equal(t, string(want), out.String(), "docs/%s is stale: make generate", file)
			require.Empty(t, logged.String())
		})
	}
	err := runProgram(t.Context(), []string{"contract", "xml"}, func(string) string { return "" }, &bytes.Buffer{}, &bytes.Buffer{})
	require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
}

func TestTheContractIsServed(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--page", "--limit", "chat=77/13s", "--limit", "trade=off")
	a := do(t, "GET", g.public+"/asyncapi.json", "")
	require.Equal(t, 200, a.status)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	body := a.json(t)
	require.Equal(t, "3.0.0", body["asyncapi"])
	require.Contains(t, body["x-policies"], map[string]any{"name": "chat", "limit": 77.0, "windowMs": 13000.0, "scope": "user"}, "as this node has them")

	a = do(t, "GET", g.public+"/events.d.ts", "")
	require.Equal(t, 200, a.status)
	require.Equal(t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))
	want, err := os.ReadFile("../../docs/events.d.ts")
	require.NoError(t, err)
	require.Equal(t, string(want), string(a.body))
}
