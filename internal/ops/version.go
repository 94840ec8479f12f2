package ops

import (
	"fmt"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/version"
)

// Version is the command that prints which build this is.
type Version struct{}

// Run prints the version, the commit, its date, and the Go that built it.
func (Version) Run(s cli.Streams) error {
	_, err := fmt.Fprintln(s.Out, version.Details())
	return err
}
