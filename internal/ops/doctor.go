package ops

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/server"
)

// Doctor is the command that looks for what would not work. It takes the settings of serve.
type Doctor struct {
	cli.ServeFlags `embed:""`
	JSON           bool `help:"Print JSON."`
}

var errUnhealthy = errors.New("something fails")

// Run exits 1 when something fails. What is only worth a look is told, and exits 0.
func (c *Doctor) Run(ctx context.Context, s cli.Streams) error {
	cfg, err := c.Settings()
	if err != nil {
		return err
	}
	list := server.Diagnose(ctx, cfg)
	if c.JSON {
		if err := printJSON(s.Out, list); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
		for _, d := range list {
			text := d.Text
			if d.Fix != "" {
				text += " -> " + d.Fix
			}
			writeTableRow(t, d.Verdict, d.Name, text)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, d := range list {
		if d.Verdict == server.DiagnosisFail {
			return errUnhealthy
		}
	}
	return nil
}

// Help is the command that prints the help of another one.
type Help struct {
	Command []string `arg:"" optional:"" help:"The command, such as user show."`
}

// Run is never called: main turns the command into --help.
func (Help) Run() error { return fmt.Errorf("gateway --help lists the commands") }
