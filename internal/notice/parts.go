package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A part is something of others that is in a program.
type part struct {
	name, version string
	license       string // the SPDX identifier
	texts         []string
}

// allowed are the licences under which a part may be in a program that is given away under MIT.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "FTL", "ISC", "MIT", "MPL-2.0", "OFL-1.1", "Unicode-3.0", "Unlicense", "Zlib"}

// looked are licences as somebody has read them, of parts whose texts are not recognised, or not as
// they are meant. With another version, read the text again.
var looked = map[string]string{
	// Three clauses of BSD, and a grant of patents.
	"golang.org/x/": "BSD-3-Clause", "std": "BSD-3-Clause", "google.golang.org/protobuf": "BSD-3-Clause",
	// The text is Creative Commons' Attribution 4.0: name the author.
	"github.com/ajstarks/svgo": "CC-BY-4.0",
	// Several texts, of which the detector names one.
	"codeberg.org/go-fonts/liberation": "BSD-3-Clause AND OFL-1.1", "github.com/klauspost/compress": "Apache-2.0 AND BSD-3-Clause AND MIT",
	// FTL or GPL, as the user chooses: it is used under the FTL.
	"github.com/golang/freetype": "FTL",
}

// findLooked returns the licence that somebody has read for a part.
func findLooked(name string) string {
	for prefix, license := range looked {
		if name == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(name, prefix) {
			return license
		}
	}
	return ""
}

// checkParts returns an error that names each part without a known licence or without a text.
func checkParts(parts []part) error {
	var errs []error
	for _, p := range parts {
		switch {
		case p.license == "":
			errs = append(errs, fmt.Errorf("%s %s: no licence was found: read it, and name it in internal/notice/parts.go, or do without it", p.name, p.version))
		case !isAllowed(p.license) && findLooked(p.name) != p.license:
			errs = append(errs, fmt.Errorf("%s %s: nobody has looked at the licence %s: see internal/notice/parts.go", p.name, p.version, p.license))
		case len(p.texts) == 0:
			errs = append(errs, fmt.Errorf("%s %s: it has no file with the text of its licence", p.name, p.version))
		}
	}
	return errors.Join(errs...)
}

// isAllowed reports whether a part may be under a licence, or under all of several.
func isAllowed(license string) bool {
	for id := range strings.SplitSeq(license, " AND ") {
		if !slices.Contains(allowed, id) {
			return false
		}
	}
	return true
}

// isLicense fits the names of files with a licence, or with what a licence says must be handed on.
var isLicense = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|ftl)([-._].*)?$`)

// readTexts returns the texts of the licences in a folder, the ones of one folder below included:
// licenses/, or code of a third party.
func readTexts(folder string) (texts []string, err error) {
	for _, pattern := range []string{"*", "*/*", "internal/*/*", "*/internal/*/*"} {
		files, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			name := filepath.Base(file)
			inNodeModules := strings.Contains(strings.TrimPrefix(file, folder), "node_modules")
			if info, err := os.Stat(file); inNodeModules || err != nil || info.IsDir() || !isLicense.MatchString(name) || isCode(name) {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			clean := strings.TrimSpace(strings.ReplaceAll(string(text), "\r", ""))
			if clean != "" && !slices.Contains(texts, clean) {
				texts = append(texts, clean)
			}
		}
	}
	return texts, nil
}

// isCode reports whether a file that is named like a licence is a program or a page.
func isCode(name string) bool {
	return slices.Contains([]string{".go", ".js", ".html", ".json", ".tmpl", ".yml", ".yaml"}, filepath.Ext(name))
}

const head = `The programs gateway and loadtest are under the licence in LICENSE. They are built of these parts of others: Go modules (what plays
Redis when none is installed among them), the Go library itself, npm packages whose JavaScript is embedded (the official Socket.IO
client and Admin UI), and fonts. Each part's licence follows.
`

// formatNotice returns the notice: the list of parts, and each text once with its parts.
func formatNotice(parts []part) string {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.name+" "+a.version, b.name+" "+b.version) })
	var b strings.Builder
	b.WriteString(head + "\n")
	owners, order := map[string][]string{}, []string{}
	for _, p := range parts {
		title := strings.TrimSpace(p.name + " " + p.version)
		fmt.Fprintf(&b, "%s: %s\n", title, p.license)
		for _, text := range p.texts {
			if owners[text] == nil {
				order = append(order, text)
			}
			owners[text] = append(owners[text], title)
		}
	}
	for _, text := range order {
		fmt.Fprintf(&b, "\n%s\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(owners[text], "\n"), strings.Repeat("-", 80), text)
	}
	return b.String()
}
