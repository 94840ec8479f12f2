package main

import (
	"cmp"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/google/licensecheck"
)

// bundled has the licences of the packages that npm's @socket.io/admin-ui has in its bundle, and
// does not bring a licence of; / is + in the names. All are under MIT.
//
//go:embed bundled/*.txt
var bundled embed.FS

// readModules returns the Go modules that SBOMs name, with the licences in their folders.
func readModules(sboms []string) ([]part, error) {
	found := map[string]part{}
	for _, file := range sboms {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var bom struct {
			Components []struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"components"`
		}
		if err := json.Unmarshal(text, &bom); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(bom.Components) == 0 {
			return nil, fmt.Errorf("%s names no modules", file)
		}
		for _, c := range bom.Components {
			found[c.Name+"@"+c.Version] = part{name: c.Name, version: c.Version}
		}
	}
	folders, err := listModuleFolders(found)
	if err != nil {
		return nil, err
	}
	var parts []part
	for at, p := range found {
		folder := folders[at]
		if folder == "" {
			return nil, fmt.Errorf("%s is linked, and is no module of go.mod", at)
		}
		if p.texts, err = readTexts(folder); err != nil {
			return nil, err
		}
		p.license = cmp.Or(findLooked(p.name), recogniseLicense(p.texts))
		parts = append(parts, p)
	}
	return parts, nil
}

// recogniseLicense returns the SPDX identifiers of the licences whose texts these are, or "".
func recogniseLicense(texts []string) string {
	var ids []string
	for _, text := range texts {
		found := licensecheck.Scan([]byte(text))
		if found.Percent < 75 { // such as a list of authors
			continue
		}
		for _, m := range found.Match {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND ")
}

// listModuleFolders returns the folder of each of these modules, as go.mod has them, and of the Go
// library.
func listModuleFolders(modules map[string]part) (map[string]string, error) {
	args := []string{"list", "-m", "-f", "{{.Path}}@{{.Version}}\t{{.Dir}}"}
	folders := map[string]string{}
	for at, p := range modules {
		if p.name != "std" {
			args = append(args, p.name)
			continue
		}
		root, err := runGo("env", "GOROOT")
		if err != nil {
			return nil, err
		}
		folders[at] = strings.TrimSpace(root)
	}
	if len(folders) == len(modules) {
		return folders, nil
	}
	out, err := runGo(args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if at, folder, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			folders[at] = folder
		}
	}
	return folders, nil
}

// runGo returns what the go command prints.
func runGo(args ...string) (string, error) {
	cmd := exec.Command(cmp.Or(os.Getenv("GO"), "go"), args...) //nolint:gosec,forbidigo // the program that the Makefile names
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return string(out), nil
}

// embedded are the npm packages whose files are embedded; what the bundle of the Admin UI is made
// of comes besides.
var embedded = []string{"@mdi/font", "@socket.io/admin-ui", "@socket.io/component-emitter", "debug", "engine.io-client", "engine.io-parser", "ms", "socket.io-client", "socket.io-parser"}

// readPackages returns the npm packages of which the programs embed files.
func readPackages(npm string) ([]part, error) {
	var parts []part
	for _, name := range embedded {
		folder := filepath.Join(npm, "node_modules", name)
		text, err := os.ReadFile(filepath.Join(folder, "package.json"))
		if err != nil {
			return nil, err
		}
		var about struct {
			Version string `json:"version"`
			License string `json:"license"`
		}
		if err := json.Unmarshal(text, &about); err != nil {
			return nil, fmt.Errorf("%s: %w", folder, err)
		}
		p := part{name: name, version: about.Version, license: about.License}
		if p.texts, err = readTexts(folder); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	names, err := listBundled(filepath.Join(npm, "node_modules/@socket.io/admin-ui/ui/dist/js"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if slices.Contains(embedded, name) {
			continue
		}
		text, err := bundled.ReadFile("bundled/" + strings.ReplaceAll(name, "/", "+") + ".txt")
		if err != nil {
			return nil, fmt.Errorf("the Admin UI's bundle has %s, whose licence is not in internal/notice/bundled", name)
		}
		parts = append(parts, part{name: name, version: "(in the bundle of @socket.io/admin-ui)", license: "MIT", texts: []string{strings.TrimSpace(string(text))}})
	}
	return parts, nil
}

var nodeModule = regexp.MustCompile(`.*node_modules/((?:@[^/]+/)?[^/]+)/`)

// listBundled returns the packages of which bundles are made, as their source maps tell. Vuetify's
// files are in them by the names that they had in its own repository.
func listBundled(folder string) (names []string, err error) {
	maps, err := filepath.Glob(filepath.Join(folder, "*.js.map"))
	if err != nil || len(maps) == 0 {
		return nil, fmt.Errorf("%s has no source maps: what the bundle is made of is not known", folder)
	}
	for _, file := range maps {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var m struct {
			Sources []string `json:"sources"`
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, source := range m.Sources {
			if match := nodeModule.FindStringSubmatch(source); match != nil {
				names = append(names, match[1])
			} else if strings.HasPrefix(source, "webpack:///../../../src/") {
				names = append(names, "vuetify")
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
