package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// settings are the values that come from outside the command line.
type settings struct{ file, environment kong.Resolver }

// readSettings reads the file that --config or GATEWAY_CONFIG names. Its keys are the
// names of flags; a key that no command has is an error.
func readSettings(args []string, getenv func(string) string, model *kong.Application) (settings, error) {
	known := map[string]bool{}
	collect(model.Node, known)
	s := settings{
		file: none,
		environment: kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			name := "GATEWAY_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			if v := getenv(name); v != "" {
				return v, nil
			}
			return nil, nil
		}),
	}
	path := getenv("GATEWAY_CONFIG")
	for i, a := range args {
		if a == "--config" && i+1 < len(args) {
			path = args[i+1]
		} else if v, ok := strings.CutPrefix(a, "--config="); ok {
			path = v
		}
	}
	if path == "" {
		return s, nil
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("--config: %s does not exist", path)
	}
	if err != nil {
		return s, fmt.Errorf("--config: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return s, fmt.Errorf("--config: %s: %w", path, err)
	}
	for key := range values {
		if !known[key] || key == "config" || key == "help" {
			return s, fmt.Errorf("--config: %s: unknown key %q", path, key)
		}
	}
	s.file = kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		switch v := values[flag.Name].(type) {
		case nil:
			return nil, nil
		case []any:
			var parts []string
			for _, p := range v {
				parts = append(parts, fmt.Sprint(p))
			}
			return strings.Join(parts, ","), nil
		case map[string]any:
			return nil, fmt.Errorf("%s: %s takes a value or a list", path, flag.Name)
		default:
			return fmt.Sprint(v), nil
		}
	})
	return s, nil
}

var none = kong.ResolverFunc(func(*kong.Context, *kong.Path, *kong.Flag) (any, error) { return nil, nil })

func collect(n *kong.Node, known map[string]bool) {
	for _, f := range n.Flags {
		known[f.Name] = true
	}
	for _, c := range n.Children {
		collect(c, known)
	}
}
