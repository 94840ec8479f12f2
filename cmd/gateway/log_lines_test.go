package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// documentedLines are the rows of docs/logs.md: the levels and the fields of each message.
var documentedLines = sync.OnceValues(func() (map[string][2]string, error) {
	text, err := os.ReadFile("../../docs/logs.md")
	if err != nil {
		return nil, err
	}
	rows := map[string][2]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (.+?) \| ([a-z, ]+) \| ?(.*?) ?\|$`).FindAllStringSubmatch(string(text), -1) {
		rows[strings.ReplaceAll(m[1], `\|`, "|")] = [2]string{m[2], m[3]}
	}
	return rows, nil
})

// undocumentedIn returns what docs/logs.md does not say about a line of the log; "" for nothing.
func undocumentedIn(t testing.TB, line map[string]any) string {
	t.Helper()
	rows, err := documentedLines()
	require.NoError(t, err)
	message, _ := line["msg"].(string)
	if strings.HasPrefix(message, "http: ") {
		return ""
	}
	row, ok := rows[message]
	level, _ := line["level"].(string)
	switch {
	case !ok:
		return "the message " + message
	case !strings.Contains(row[0], level):
		return "the level " + level + " of " + message
	}
	for field := range line {
		if !strings.Contains(row[1], "`"+field+"`") && !strings.Contains("level at msg node", field) {
			return "the field " + field + " of " + message
		}
	}
	return ""
}

// checkLines compares what a gateway has logged with docs/logs.md. (That each message of the source
// is there shows TestEveryLogMessageIsDocumented in server.)
func (g *gate) checkLines() {
	g.t.Helper()
	for text := range strings.Lines(g.err.String()) {
		var line map[string]any
		if json.Unmarshal([]byte(text), &line) != nil {
			continue // of a test that writes something else to it
		}
		if what := undocumentedIn(g.t, line); what != "" {
			g.t.Errorf("docs/logs.md does not say %s: %s", what, text)
		}
	}
}

func TestAnUndocumentedLineIsFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"level":"info","at":"x","msg":"connection opened","node":"n","conn":"c","user":"u","session":"s","addr":"a","transport":"t"}`: "",
		`{"level":"info","at":"x","msg":"connection opened","node":"n","conn":"c","password":"p"}`:                                      "the field password of connection opened",
		`{"level":"error","at":"x","msg":"connection opened","node":"n"}`:                                                               "the level error of connection opened",
		`{"level":"info","at":"x","msg":"something new","node":"n"}`:                                                                    "the message something new",
		`{"level":"warn","at":"x","msg":"http: Accept error: too many open files","node":"n"}`:                                          "",
	} {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		require.Equal(t, want, undocumentedIn(t, line))
	}
}
