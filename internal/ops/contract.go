package ops

import (
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/server"
)

// Contract is the command that prints what clients may rely on. It needs no Redis.
type Contract struct {
	Config string `placeholder:"FILE" help:"Print what a gateway with this settings file has: with the events of its backends, and its limits."`
	Form   string `arg:"" enum:"asyncapi,typescript,markdown" help:"asyncapi (/asyncapi.json), typescript (/events.d.ts) or markdown (docs/EVENTS.md)."`
}

// Run prints the contract of a gateway with the settings of a file, or with their defaults.
func (c Contract) Run(s cli.Streams) error {
	cfg, err := cli.ReadFile(c.Config)
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
