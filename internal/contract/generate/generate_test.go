package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/contract"
)

// The documents in docs are what the source says today, and what they publish is enough for a
// server to write the same documents without its source.
func TestTheDocumentsAreUpToDate(t *testing.T) {
	t.Parallel()
	const root = "../../.."
	documents, err := generateDocuments(root)
	require.NoError(t, err)
	for name, want := range documents {
		kept, err := os.ReadFile(root + "/docs/" + name)
		require.NoError(t, err)
		require.Equal(t, string(want), string(kept), "docs/%s is stale: make generate", name)
	}

	cfg, err := defaultTables()
	require.NoError(t, err)
	cfg.Comments, err = contract.ReadPublished(documents["asyncapi.json"], documents["events.d.ts"])
	require.NoError(t, err)
	c := contract.New(cfg)
	require.Equal(t, string(documents["asyncapi.json"]), string(c.AsyncAPI()))
	require.Equal(t, string(documents["events.d.ts"]), string(c.TypeScript()))
	require.Equal(t, string(documents["EVENTS.md"]), string(c.Markdown()))
}

func TestAFeatureThatIsNotListedIsAnError(t *testing.T) {
	t.Parallel()
	cfg, err := defaultTables()
	require.NoError(t, err)
	require.NoError(t, checkFeatureList(cfg, []string{"chat", "combat", "leaderboard", "presence", "trade"}))
	require.ErrorContains(t, checkFeatureList(cfg, []string{"chat", "combat", "leaderboard", "trade"}), "folder presence")
}
