package cli

import (
	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/server"
)

// Parse reads the command line into commands, a struct as kong takes it. What the command line
// does not say comes from the environment, and then from the file that --config names, whose
// tables are returned.
func Parse(commands any, args []string, getenv func(string) string, options ...kong.Option) (*kong.Context, FileTables, error) {
	parser, err := kong.New(commands, append(append(options, decimalNumbers...), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))...)
	if err != nil {
		return nil, FileTables{}, err
	}
	settings, err := readSettings(args, getenv)
	if err != nil {
		return nil, FileTables{}, usage.Wrap(withoutSecrets(err))
	}
	// Of several resolvers the last that knows a value wins.
	if err := kong.Resolvers(settings.file, settings.environment).Apply(parser); err != nil {
		return nil, FileTables{}, err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return nil, FileTables{}, usage.Wrap(withoutSecrets(err))
	}
	return k, settings.tables, nil
}

// ReadFile returns the configuration that a settings file makes, without the environment. Without a
// path all settings have their defaults.
func ReadFile(path string) (server.Config, error) {
	var flags ServeFlags
	var args []string
	if path != "" {
		args = []string{"--config", path}
	}
	_, tables, err := Parse(&flags, args, func(string) string { return "" })
	if err != nil {
		return server.Config{}, err
	}
	flags.SetTables(tables)
	return flags.Configure()
}
