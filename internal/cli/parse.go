package cli

import (
	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/usage"
)

// Parse reads the command line into commands, a struct as kong takes it. What the command line
// does not say comes from the environment, and then from the file that --config names, whose
// policies are returned.
func Parse(commands any, args []string, getenv func(string) string, options ...kong.Option) (*kong.Context, FilePolicies, error) {
	parser, err := kong.New(commands, append(append(options, decimalNumbers...), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))...)
	if err != nil {
		return nil, nil, err
	}
	settings, err := readSettings(args, getenv)
	if err != nil {
		return nil, nil, usage.Wrap(withoutSecrets(err))
	}
	// Of several resolvers the last that knows a value wins.
	if err := kong.Resolvers(settings.file, settings.environment).Apply(parser); err != nil {
		return nil, nil, err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return nil, nil, usage.Wrap(withoutSecrets(err))
	}
	return k, settings.policies, nil
}
