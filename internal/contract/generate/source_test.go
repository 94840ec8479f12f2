package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/contract"
)

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

func TestReadSource(t *testing.T) {
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
	got, err := readSource(root, []string{"guild"})
	require.NoError(t, err)
	require.Equal(t, &contract.Comments{
		Types: map[string]*contract.TypeComment{
			"GuildRank": {Doc: "Rank is how high.", Fields: map[string]string{}, Values: []string{"low", "high"}},
			"GuildHall": {
				Doc: "Hall names a guild.", Fields: map[string]string{"GuildID": "GuildID is its name.", "Rank": "since yesterday"},
			},
		},
		Handlers: map[string]string{"guild.(*Service).Enter": "Enter goes in. Errors: GUILD_FULL."},
		Faults:   map[string]string{"GUILD_FULL": "The guild is full."},
	}, got)

	require.NoError(t, os.WriteFile(filepath.Join(root, "guild", "broken.go"), []byte("package"), 0o600))
	_, err = readSource(root, []string{"guild"})
	require.ErrorContains(t, err, "broken.go")
}
