package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCommentsAreUpToDate(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("../comments.json")
	require.NoError(t, err)
	got, err := gather("../../..")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "contract/comments.json is stale: make generate")
}

const source = `package guild

import "example.org/realtime/event"

var errFull = fault.New("GUILD_FULL", "The guild is full.")

// Rank is how high.
type Rank string

const (
	Low  Rank = "low"
	High Rank = "high"
)

// Hall names
// a guild.
type Hall struct {
	// GuildID is its name.
	GuildID string ` + "`json:\"guildId\"`" + `
	Rank    Rank   ` + "`json:\"rank\"`" + ` // since yesterday
	inner   int
}

type unsent struct{ A int }

// Enter goes in. Errors: GUILD_FULL.
func (s *Service) Enter(ctx context.Context, p event.Player, in Hall) (Hall, error) { return in, errFull }

// Helper serves nobody.
func Helper(a, b int) (int, error) { return 0, nil }
`

func TestGather(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, text := range map[string]string{
		"guild/guild.go":      source,
		"guild/guild_test.go": `package guild; var x = fault.New("TEST", "Not this.")`,
		"plain/plain.go":      "package plain\n\n// T knows no players.\ntype T struct{ A int `json:\"a\"` }\n",
		"cmd/x/main.go":       source,
		".git/x.go":           source,
	} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	got, err := gather(root)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"types": {
			"guild.Rank": {"doc": "Rank is how high.", "values": ["low", "high"]},
			"guild.Hall": {"doc": "Hall names a guild.", "fields": {"GuildID": "GuildID is its name.", "Rank": "since yesterday"}}
		},
		"handlers": {"guild.(*Service).Enter": "Enter goes in. Errors: GUILD_FULL."},
		"faults": {"GUILD_FULL": "The guild is full."}
	}`, string(got))

	require.NoError(t, os.WriteFile(filepath.Join(root, "guild", "broken.go"), []byte("package"), 0o600))
	_, err = gather(root)
	require.ErrorContains(t, err, "broken.go")
}
