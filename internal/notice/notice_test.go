package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The real packages of npm, without which the page is not built either.
const realNPM = "../../web/testclient"

// writeSBOM writes an SBOM of one module.
func writeSBOM(t *testing.T, name, version string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sbom.json")
	text := fmt.Sprintf(`{"components":[{"name":%q,"version":%q}]}`, name, version)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// versionOf returns the version of a module in go.mod.
func versionOf(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\t"+name+" ")
	require.True(t, found)
	return strings.Fields(rest)[0]
}

// The notice has the texts of a Go module, of the Go library, of the JavaScript and of the font.
func TestTheNoticeHasAllTexts(t *testing.T) {
	t.Parallel()
	kong := versionOf(t, "github.com/alecthomas/kong")
	out := filepath.Join(t.TempDir(), "NOTICE")
	require.NoError(t, run(realNPM, out, []string{writeSBOM(t, "github.com/alecthomas/kong", kong), writeSBOM(t, "std", "go1.26.8")}))
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	notice := string(text)
	for _, line := range []string{
		"github.com/alecthomas/kong " + kong + ": MIT\n", "Copyright (C) 2018 Alec Thomas",
		"std go1.26.8: BSD-3-Clause\n", "Copyright 2009 The Go Authors.",
		"\nsocket.io-client ", "\nengine.io-client ", "\n@socket.io/admin-ui ", "\n@mdi/font ", "Pictogrammers Free License",
		"\nvuetify (in the bundle of @socket.io/admin-ui): MIT\n", "\nvuetify (in the bundle of @socket.io/admin-ui)\n", "\nchart.js (", "\nvue (",
	} {
		require.True(t, strings.Contains(notice, line), "it has %q", line) // not Contains: it would print all
	}
	require.Greater(t, strings.Count(notice, strings.Repeat("=", 80)), 20)
}

// A part without a licence that is known, allowed and at hand ends the release.
func TestAnUnknownLicenceIsRefused(t *testing.T) {
	t.Parallel()
	for license, want := range map[string]string{
		"":                 "no licence was found",
		"AGPL-3.0":         "nobody has looked at the licence AGPL-3.0",
		"CC-BY-4.0":        "nobody has looked at the licence CC-BY-4.0",
		"AGPL-3.0 AND MIT": "nobody has looked at the licence AGPL-3.0 AND MIT",
	} {
		require.ErrorContains(t, checkParts([]part{{name: "a", license: license, texts: []string{"text"}}}), want)
	}
	require.ErrorContains(t, run(realNPM, "", []string{writeSBOM(t, "github.com/alecthomas/kong", "v0.0.1")}), "is linked, and is no module of go.mod")
	mit, err := os.ReadFile("../../LICENSE")
	require.NoError(t, err)
	require.Equal(t, "MIT", recogniseLicense([]string{"The authors are ann and bob.", string(mit)}))
	require.Empty(t, recogniseLicense([]string{"Copyright ann. All rights reserved. You may not copy this."}))
	require.ErrorContains(t, checkParts([]part{{name: "a", license: "MIT"}}), "it has no file with the text")
	require.NoError(t, checkParts([]part{{name: "a", license: "MIT", texts: []string{"MIT"}}}))
	require.ErrorContains(t, run(realNPM, "", nil), "usage")
}

// A package that a new Admin UI has in its bundle is found, and asks for its licence.
func TestANewPackageInTheBundleIsFound(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, err := listBundled(folder)
	require.ErrorContains(t, err, "no source maps")
	sources := `{"sources":["webpack:///./node_modules/vue/dist/vue.js","webpack:///./node_modules/a/node_modules/@b/c/x.js","webpack:///../../../src/mixins/x.ts","webpack:///./src/App.vue"]}`
	require.NoError(t, os.WriteFile(filepath.Join(folder, "x.js.map"), []byte(sources), 0o600))
	names, err := listBundled(folder)
	require.NoError(t, err)
	require.Equal(t, []string{"@b/c", "vue", "vuetify"}, names)
	_, err = bundled.ReadFile("bundled/@b+c.txt")
	require.Error(t, err)
}
