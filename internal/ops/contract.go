package ops

import (
	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/server"
)

// Contract is the command that prints what clients may rely on. It needs no Redis.
type Contract struct {
	Form string `arg:"" enum:"asyncapi,typescript,markdown" help:"asyncapi (/asyncapi.json), typescript (/events.d.ts) or markdown (docs/EVENTS.md)."`
}

// Run prints the contract of a gateway whose settings have their defaults.
func (c Contract) Run(s cli.Streams) error {
	var flags cli.ServeFlags
	parser, err := kong.New(&flags)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(nil); err != nil { // for the settings' defaults
		return err
	}
	cfg, err := flags.Configure()
	if err != nil {
		return err
	}
	text, err := server.Contract(cfg, c.Form)
	if err != nil {
		return err
	}
	_, err = s.Out.Write(text)
	return err
}
