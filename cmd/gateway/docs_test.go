package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	punctuation = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

	link     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fence    = regexp.MustCompile("(?ms)^```.*?^```$")
	testName = regexp.MustCompile("`((?:Test|Example|Benchmark|Fuzz)[A-Z]\\w*)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Example|Benchmark|Fuzz)\w+)\(`)
)

// What the documents point at is there: files, folders, headings, and the tests that they
// name as proof.
func TestDocumentsPointAtWhatIsThere(t *testing.T) {
	t.Parallel()
	documents, tests := []string{}, map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == ".build" || path == filepath.Join("../..", "site/pages")):
			return filepath.SkipDir // also what make site copies
		case strings.HasSuffix(path, ".md"):
			documents = append(documents, path)
		case strings.HasSuffix(path, "_test.go"):
			for _, m := range testFunc.FindAllStringSubmatch(textOf(t, path), -1) {
				tests[m[1]] = true
			}
		}
		return nil
	}))
	require.Greater(t, len(documents), 10)
	known := map[string]map[string]bool{}
	has := func(document, anchor string) bool {
		if known[document] == nil {
			known[document] = anchors(textOf(t, document))
		}
		return known[document][anchor]
	}
	for _, document := range documents {
		text := fence.ReplaceAllString(textOf(t, document), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", document, m[1])
			} else if anchor != "" && !has(target, anchor) {
				t.Errorf("%s links to %s: no heading of that name", document, m[1])
			}
		}
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s names %s, which is not there", document, m[1])
			}
		}
	}
}

func textOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// anchors are the names of a document's headings in links: lower case, words joined by -.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := punctuation.ReplaceAllString(strings.ToLower(m[1]), "")
		names[strings.ReplaceAll(name, " ", "-")] = true
	}
	return names
}
