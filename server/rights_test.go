package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// TestEveryCommandOfAScriptIsNeeded reads the repository's Lua: a command that neededCommands does
// not list would be missed by nobody until a player needs it.
func TestEveryCommandOfAScriptIsNeeded(t *testing.T) {
	t.Parallel()
	needed, neededForLocks := commandNames(append(slices.Clone(neededCommands), webhookCommands...)), commandNames(lockRights.Commands)
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

// aclRows returns the rules of each row of a table of docs/redis-acl.md: those of the first table
// under a heading.
func aclRows(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/redis-acl.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	_, table, _ := strings.Cut(section, "|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
		rows = append(rows, strings.Fields(strings.Split(line, "`")[1]))
	}
	return rows
}

// The tables of docs/redis-acl.md are what a gateway asks for, on its Redis and on the servers of
// locks: all rows are enough, and the rules of a row that is taken away are named as missing.
func TestTheTableOfRightsIsWhatTheGatewayAsksFor(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	n := &node{cfg: Config{ClusterJoinWindow: time.Hour, Recovery: time.Minute}}
	n.redis = &redisServices{client: s.Client(), moves: redisconn.NewMoveMonitor(redisconn.MoveConfig{})}
	for heading, rights := range map[string]redisconn.Rights{"The gateway": n.neededRights(), "The servers of --lock-redis": lockRights} {
		rows := aclRows(t, heading)
		for without := -1; without < len(rows); without++ {
			if without >= 0 && rows[without][0] == "+@connection" {
				continue
			}
			args := []any{"acl", "setuser", "probe", "reset", "on", ">secret"}
			var missing []string
			for i, row := range rows {
				if i == without {
					missing = row
					continue
				}
				for _, rule := range row {
					args = append(args, rule)
				}
			}
			require.NoError(t, s.Client().Do(t.Context(), args...).Err(), "%v", args)
			user := redis.NewClient(&redis.Options{Addr: s.Addr(), Username: "probe", Password: "secret"})
			found, err := rights.FindMissing(t.Context(), user)
			require.NoError(t, err)
			require.NoError(t, user.Close())
			require.Empty(t, found.Unknown)
			if missing != nil && missing[0] == "&socket.io*" { // it covers the pattern's channel too, so that both are named
				require.Contains(t, found.Rules, "&socket.io*")
				continue
			}
			if missing != nil && slices.Contains([]string{"+eval", "+get", "+publish"}, missing[0]) {
				// Without these, the names that need them are named too, or all is asked in another way.
				require.NotEmpty(t, found.Rules, "%s without %v", heading, missing)
				if heading == "The gateway" { // which has MULTI, by which all is asked then
					require.Subset(t, found.Rules, missing, "%s without %v", heading, missing)
				}
				continue
			}
			require.ElementsMatch(t, missing, found.Rules, "%s without %v", heading, missing)
		}
	}
}
