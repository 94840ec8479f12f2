// Package version tells which build of the program runs.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// These are set by the linker (see the Makefile): go build -ldflags "-X
// …/internal/version.release=v1.2.3".
var (
	release string // a tag of git, or what `git describe` says
	commit  string // the commit's hash
	date    string // the commit's date, RFC 3339, so that a build can be repeated byte by byte
)

// String returns the version: the release that the linker set, else the module's version, else
// "devel" and the commit that was built.
func String() string {
	if release != "" {
		return release
	}
	built := commit
	info, ok := debug.ReadBuildInfo()
	if ok {
		if v := info.Main.Version; v != "" && v != "(devel)" && built == "" {
			return v
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && built == "" {
				built = s.Value
			}
		}
	}
	return strings.TrimSpace("devel " + built[:min(12, len(built))])
}

// Commit returns the hash of the commit that was built, or "" where the build does not know it.
func Commit() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}

// Details returns one line with the version, the commit and its date, and the Go that built it.
// What the build does not know is left out.
func Details() string {
	parts := []string{String()}
	if commit != "" {
		parts = append(parts, "commit "+commit)
	}
	if date != "" {
		parts = append(parts, "of "+date)
	}
	parts = append(parts, fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH))
	return strings.Join(parts, ", ")
}
