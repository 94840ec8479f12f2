package cli

import (
	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/usage"
)

const description = "A Socket.IO-compatible realtime gateway.\n\nEvery flag is also an environment variable, GATEWAY_ and its name (GATEWAY_DRAIN_FOR), and a key of the YAML file that --config names (drain-for). A flag beats the environment, which beats the file."

// Parse reads the command line into commands, a struct as kong takes it. What the command line
// does not say comes from the environment, and then from the file that --config names. serve is
// the part of commands that is given the policies of the file.
func Parse(commands any, serve *ServeFlags, args []string, getenv func(string) string, options ...kong.Option) (*kong.Context, error) {
	parser, err := kong.New(commands, append(options,
		kong.Name("gateway"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)...)
	if err != nil {
		return nil, err
	}
	settings, err := readSettings(args, getenv, parser.Model)
	if err != nil {
		return nil, usage.Wrap(withoutSecrets(err))
	}
	serve.filePolicies = settings.policies
	// Of several resolvers the last that knows a value wins.
	if err := kong.Resolvers(settings.file, settings.environment).Apply(parser); err != nil {
		return nil, err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return nil, usage.Wrap(withoutSecrets(err))
	}
	return k, nil
}
