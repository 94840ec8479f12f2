package ops

import (
	"fmt"
	"runtime"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/version"
)

// Version is the command that prints which build this is.
type Version struct {
	JSON bool `help:"Print JSON."`
}

// A VersionView is a build.
type VersionView struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Run prints the version, the commit, its date, and the Go that built it.
func (c Version) Run(s cli.Streams) error {
	if c.JSON {
		return printJSON(s.Out, VersionView{version.String(), version.Commit(), runtime.Version()})
	}
	_, err := fmt.Fprintln(s.Out, version.Details())
	return err
}
