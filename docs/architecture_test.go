package docs_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/aeturnis/realtime/"

// importsOf returns what each package of the module imports, tests aside; packages of the module
// are without its path.
func importsOf(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	require.NoError(t, err)
	imports := map[string][]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return imports
		} else {
			require.NoError(t, err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		imports[name] = []string{}
		for _, i := range p.Imports {
			imports[name] = append(imports[name], strings.TrimPrefix(i, module))
		}
	}
}

// An importRow is an arrow of the table: each of to is imported by some of from.
type importRow struct{ from, to []string }

// readImportTable reads the table of ARCHITECTURE.md. What follows two spaces explains.
func readImportTable(t *testing.T) (rows []importRow) {
	t.Helper()
	b, err := os.ReadFile("../ARCHITECTURE.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(b), "## Who imports whom\n\n```text\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "```")
	for line := range strings.Lines(table) {
		arrows, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		parts := strings.Split(arrows, " ─▶ ")
		for i := range len(parts) - 1 {
			rows = append(rows, importRow{strings.Split(parts[i], ", "), strings.Split(parts[i+1], ", ")})
		}
	}
	require.Greater(t, len(rows), 30)
	return rows
}

// The table of imports in ARCHITECTURE.md is what the code does: each arrow is an import, and each
// import between packages of ours follows from arrows. A row that names modules names all of them.
func TestTheTableOfImportsIsTrue(t *testing.T) {
	t.Parallel()
	imports, arrows := importsOf(t), map[string][]string{}
	isOurs := func(name string) bool { _, ok := imports[name]; return ok }
	isOutside := regexp.MustCompile(`^[^/]*\.`).MatchString
	rows := readImportTable(t)
	for n, row := range rows {
		if slices.Equal(row.to, []string{"every package below"}) {
			for _, below := range rows[n+1:] {
				arrows[row.from[0]] = append(arrows[row.from[0]], below.from...)
				arrows[row.from[0]] = append(arrows[row.from[0]], below.to...)
			}
			continue
		}
		modules := 0
		for _, to := range row.to {
			uses := func(from string) bool {
				if to == "standard library" {
					return !slices.ContainsFunc(imports[from], func(i string) bool { return isOurs(i) || isOutside(i) })
				}
				return slices.ContainsFunc(imports[from], func(i string) bool { return i == to || !isOurs(to) && isOutside(i) && strings.Contains(i, to) })
			}
			assert.True(t, slices.ContainsFunc(row.from, uses), "%v imports %s", row.from, to)
			if !isOurs(to) {
				modules++
			}
		}
		for _, from := range row.from {
			require.True(t, isOurs(from), "there is a package %s", from)
			arrows[from] = append(arrows[from], row.to...)
			for _, i := range imports[from] {
				isNamed := slices.ContainsFunc(row.to, func(to string) bool { return strings.Contains(i, to) })
				assert.True(t, modules == 0 || !isOutside(i) || isNamed, "%s imports %s, which its row does not name", from, i)
			}
		}
	}
	for from := range arrows {
		reached := map[string]bool{}
		for follow := []string{from}; len(follow) > 0; follow = follow[1:] {
			for _, to := range arrows[follow[0]] {
				if !reached[to] {
					reached[to] = true
					follow = append(follow, to)
				}
			}
		}
		for _, i := range imports[from] {
			assert.True(t, !isOurs(i) || reached[i], "%s imports %s, to which no arrow leads", from, i)
		}
	}
}
