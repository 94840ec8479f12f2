package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/aeturnis/realtime/server"
)

// FileTables are what a settings file has beside the flags of serve.
type FileTables struct {
	Policies FilePolicies
	Backends FileBackends
}

// tableNames are the keys of the tables in the file.
var tableNames = []string{"policies", "backends"}

// SetTables takes what the file has beside flags.
func (f *ServeFlags) SetTables(t FileTables) {
	f.FilePolicies, f.FileBackends = t.Policies, t.Backends
}

// readTables takes the tables of a file apart, and removes them from found.
func readTables(found map[string]any) (t FileTables, err error) {
	if t.Policies, err = readTable[FilePolicies](found["policies"]); err != nil {
		return t, fmt.Errorf("policies: %w", err)
	}
	if t.Backends, err = readTable[FileBackends](found["backends"]); err != nil {
		return t, fmt.Errorf("backends: %w", err)
	}
	for _, name := range tableNames {
		delete(found, name)
	}
	return t, nil
}

// FileBackends are the `backends` of the file, by name.
type FileBackends map[string]fileBackend

// A fileBackend is one entry of `backends` in the file. server.Backend tells what each field does.
type fileBackend struct {
	URL         string        `yaml:"url"`
	Events      []string      `yaml:"events"`
	Schema      string        `yaml:"schema"`
	SecretFile  string        `yaml:"secret-file"`
	CA          string        `yaml:"ca"`
	Limits      []string      `yaml:"limits"`
	Roles       []string      `yaml:"roles"`
	Timeout     time.Duration `yaml:"timeout"`
	Once        bool          `yaml:"once"`
	Waiting     int           `yaml:"waiting"`
	Connections int           `yaml:"connections"`
	Connect     string        `yaml:"connect"`
}

// backendKeys are the keys of an entry of `backends`.
const backendKeys = "url, events, schema, secret-file, ca, limits, roles, timeout, once, waiting, connections, connect (refuse, admit)"

// list returns the backends as the server takes them, by name.
func (f FileBackends) list() (all []server.Backend) {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		b := f[name]
		all = append(all, server.Backend{
			Name: name, URL: b.URL, Events: b.Events, SchemaFile: b.Schema, SecretFile: b.SecretFile, CAFile: b.CA, Limits: b.Limits, Roles: b.Roles,
			Timeout: b.Timeout, Once: b.Once, MaxWaiting: b.Waiting, MaxConnections: b.Connections, Connect: b.Connect,
		})
	}
	return all
}

// checkBackends returns what is wrong with the file's `backends` by itself, and those that can be
// read; lines gets the line of each of their keys, as "<backend>: <key>".
func checkBackends(node *yaml.Node, lines map[string]int) (backends FileBackends, faults []FileFault) {
	if node.Kind != yaml.MappingNode {
		if node.Tag == "!!null" {
			return nil, nil
		}
		return nil, []FileFault{{Line: node.Line, Key: "backends", Fault: "must be names with their settings", Allowed: "quests: {url: https://quests.example/, events: [quest:*], …}"}}
	}
	backends = FileBackends{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, settings := node.Content[i], node.Content[i+1]
		key := "backends: " + name.Value
		if lines[name.Value] > 0 {
			faults = append(faults, FileFault{Line: name.Line, Key: key, Fault: "stands in the file twice"})
			continue
		}
		lines[name.Value] = name.Line
		if settings.Kind == yaml.MappingNode {
			for j := 0; j+1 < len(settings.Content); j += 2 {
				lines[name.Value+": "+settings.Content[j].Value] = settings.Content[j].Line
			}
		}
		raw, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{name, settings}})
		if err == nil {
			var found any
			var one FileBackends
			if err = yaml.Unmarshal(raw, &found); err == nil {
				if one, err = readTable[FileBackends](found); err == nil {
					maps.Copy(backends, one)
					continue
				}
			}
		}
		fault := lineOfError.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "")
		faults = append(faults, FileFault{Line: name.Line, Key: key, Fault: fault, Allowed: backendKeys})
	}
	return backends, faults
}

// backendFault returns a fault of a backend with its line.
func backendFault(wrong *server.BackendFault, lines map[string]int) FileFault {
	f := FileFault{Key: "backends: " + wrong.Backend, Line: lines[wrong.Backend], Fault: wrong.Err.Error()}
	if wrong.Key == "" {
		return f
	}
	f.Key += ": " + wrong.Key
	if line := lines[wrong.Backend+": "+wrong.Key]; line > 0 {
		f.Line = line
	}
	return f
}

// checkNames returns the faults of backends that only a whole gateway can tell: events of its own,
// and limits that there are not.
func checkNames(f *ServeFlags, lines map[string]int) (faults []FileFault) {
	policies, err := f.configuredPolicies(f.Dev)
	if err != nil {
		return nil // it was told
	}
	_, _, _, err = server.Tables(f.config("", policies))
	var collect func(err error)
	collect = func(err error) {
		switch x := err.(type) { //nolint:errorlint // each of several is wanted
		case *server.BackendFault:
			faults = append(faults, backendFault(x, lines))
		case interface{ Unwrap() []error }:
			for _, one := range x.Unwrap() {
				collect(one)
			}
		case interface{ Unwrap() error }:
			collect(x.Unwrap())
		}
	}
	collect(err)
	return faults
}
