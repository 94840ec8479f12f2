package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// settings are the values that come from outside the command line.
type settings struct {
	file, environment kong.Resolver
	tables            FileTables
}

// readSettings reads the environment, and the file that --config or GATEWAY_CONFIG names.
func readSettings(args []string, getenv func(string) string) (settings, error) {
	values := map[string]string{}
	var tables FileTables
	if path := findConfigFile(args, getenv); path != "" {
		var err error
		if values, tables, err = readFile(path); err != nil {
			return settings{}, fmt.Errorf("--config: %w", err)
		}
	}
	return settings{
		file:        resolveFrom(func(flag string) (string, string) { return flag + " in the file", values[flag] }),
		environment: resolveFrom(func(flag string) (string, string) { return environmentName(flag), getenv(environmentName(flag)) }),
		tables:      tables,
	}, nil
}

// environmentName returns the name of a flag in the environment.
func environmentName(flag string) string {
	return "GATEWAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// resolveFrom takes the values of flags from a function that returns the name of a setting and its
// value; "" is none.
func resolveFrom(setting func(flag string) (name, value string)) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		name, value := setting(flag.Name)
		switch {
		case value == "" || flag.Name == "help" || flag.Name == "version":
			return nil, nil
		case holdsControl(value):
			return nil, fmt.Errorf("%s holds a line break or another control character", name)
		}
		return value, nil
	})
}

// findConfigFile returns the path of the file, or "". It is needed before the flags are parsed.
func findConfigFile(args []string, getenv func(string) string) string {
	path := getenv(environmentName("config"))
	for i, a := range args {
		if a == "--config" && i+1 < len(args) {
			path = args[i+1]
		} else if v, ok := strings.CutPrefix(a, "--config="); ok {
			path = v
		}
	}
	return path
}

// readFile reads a YAML file whose keys are the names of the flags of serve, and the tables.
// Any other key is an error, and so is a list where one value belongs. Values are returned as the
// command line has them.
func readFile(path string) (values map[string]string, tables FileTables, err error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if errors.Is(err, fs.ErrNotExist) {
		return nil, tables, fmt.Errorf("%s does not exist", path)
	}
	if err != nil {
		return nil, tables, err
	}
	found, err := decodeOneDocument(raw)
	if err != nil {
		return nil, tables, fmt.Errorf("%s: %w", path, err)
	}
	var tree yaml.Node
	if err := errors.Join(yaml.Unmarshal(raw, &tree), checkNumbers(&tree)); err != nil {
		return nil, tables, fmt.Errorf("%s: %w", path, err)
	}
	if tables, err = readTables(found); err != nil {
		return nil, tables, fmt.Errorf("%s: %w", path, err)
	}
	flags, err := serveFlags()
	if err != nil {
		return nil, tables, err
	}
	values = map[string]string{}
	for key, value := range found {
		flag := flags[key]
		if flag == nil || key == "config" {
			return nil, tables, fmt.Errorf("%s: unknown key %q", path, key)
		}
		parts, list := value.([]any)
		if !list {
			parts = []any{value}
		} else if !flag.IsSlice() {
			return nil, tables, fmt.Errorf("%s: %s takes one value, not a list", path, key)
		}
		var texts []string
		for _, p := range parts {
			switch p.(type) {
			case nil: // the key stands alone
			case map[string]any, []any:
				return nil, tables, fmt.Errorf("%s: %s takes plain values", path, key)
			default:
				texts = append(texts, plainText(p))
			}
		}
		values[key] = strings.Join(texts, ",")
	}
	return values, tables, nil
}

// decodeOneDocument decodes YAML. A second document is an error: its settings would not count.
func decodeOneDocument(raw []byte) (found map[string]any, err error) {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&found); err != nil && !errors.Is(err, io.EOF) { // which an empty file is
		return nil, err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is a second document (---); all settings belong into one")
	}
	return found, nil
}

// plainText returns a value as the command line has it. A whole number may be written as 1e6.
func plainText(value any) string {
	if n, ok := value.(float64); ok && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
		return strconv.FormatInt(int64(n), 10)
	}
	return fmt.Sprint(value)
}

// serveFlags returns the flags of `gateway serve` by their names.
func serveFlags() (map[string]*kong.Flag, error) {
	parser, err := kong.New(&ServeFlags{})
	if err != nil {
		return nil, err
	}
	flags := map[string]*kong.Flag{}
	for _, f := range parser.Model.Flags {
		flags[f.Name] = f
	}
	return flags, nil
}
