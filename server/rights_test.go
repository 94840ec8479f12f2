package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryCommandOfAScriptIsNeeded reads the repository's Lua: a command that neededCommands does
// not list would be missed by nobody until a player needs it.
func TestEveryCommandOfAScriptIsNeeded(t *testing.T) {
	t.Parallel()
	needed, neededForLocks := commandNames(neededCommands), commandNames(lockRights.Commands)
	call := regexp.MustCompile(`\bp?call\('([A-Za-z]+)'`)
	scripts := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".lua" || strings.Contains(path, "internal/bench") {
			return nil
		}
		scripts++
		text, err := os.ReadFile(path)
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			if !needed[strings.ToUpper(m[1])] {
				t.Errorf("%s: neededCommands does not have %s", path, m[1])
			}
			if filepath.Dir(path) == "../lock" && !neededForLocks[strings.ToUpper(m[1])] {
				t.Errorf("%s: lockRights do not have %s", path, m[1])
			}
		}
		return err
	}))
	require.Greater(t, scripts, 30)
}

func commandNames(examples []string) map[string]bool {
	names := map[string]bool{}
	for _, c := range examples {
		names[strings.Fields(c)[0]] = true
	}
	return names
}

// TestEveryKeyIsNeeded compares neededKeys with the keys that the test of package keys spells.
func TestEveryKeyIsNeeded(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../keys/keys_test.go")
	require.NoError(t, err)
	all := regexp.MustCompile(`(?m)^\s+"([^" ]+)":\s+keys\.[A-Z]`).FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(all), 50)
	for _, m := range all {
		if !slices.ContainsFunc(neededKeys, func(pattern string) bool { return strings.HasPrefix(m[1], strings.TrimSuffix(pattern, "*")) }) {
			t.Errorf("neededKeys has no pattern for %s", m[1])
		}
	}
}
