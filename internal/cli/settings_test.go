package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file has one document, and a whole number may be written in any way that YAML knows.
func TestTheFileIsOneDocument(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, maxPayload, fault string
	}{
		"an exponent":       {"max-payload: 1e6\n", "1000000", ""},
		"a fraction of 0":   {"max-payload: 1000000.0\n", "1000000", ""},
		"a plain number":    {"max-payload: 1000000\n", "1000000", ""},
		"one document":      {"---\nmax-payload: 7\n", "7", ""},
		"nothing":           {"", "", ""},
		"only a comment":    {"# nothing\n", "", ""},
		"a second document": {"max-payload: 7\n---\nmax-payload: 8\n", "", "second document"},
		"a broken second":   {"max-payload: 7\n---\n}\n", "", "second document"},
	} {
		path := filepath.Join(t.TempDir(), "gateway.yaml")
		require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
		values, _, err := readFile(path)
		if c.fault != "" {
			require.ErrorContains(t, err, c.fault, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.maxPayload, values["max-payload"], name)
	}
}
