package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/server"
	"github.com/aeturnis/realtime/throttle"
)

// A FileFault is one thing that is wrong in a settings file.
type FileFault struct {
	Line    int    `json:"line"` // 0 where it is about the whole file
	Key     string `json:"key"`
	Fault   string `json:"fault"`
	Allowed string `json:"allowed,omitzero"` // what the key may be
}

// String returns the fault for people.
func (f FileFault) String() string {
	text := f.Fault
	if f.Key != "" {
		text = f.Key + ": " + text
	}
	if f.Line > 0 {
		text = fmt.Sprintf("line %d: %s", f.Line, text)
	}
	if f.Allowed != "" {
		text += " (allowed: " + f.Allowed + ")"
	}
	return text
}

// maxFile is how many bytes a settings file may have.
const maxFile = 1 << 20

// CheckFile returns everything that is wrong in a settings file, by line. A file that the server
// would start with has none. It does not connect to anything.
func CheckFile(path string) ([]FileFault, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, usage.Errorf("%w", err)
	case info.Size() > maxFile:
		return nil, usage.Errorf("%s has more than %d bytes", path, maxFile)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, usage.Errorf("%w", err)
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return []FileFault{yamlFault(err)}, nil
	}
	if tree.Kind == 0 { // an empty file: all settings have their defaults
		tree.Content = []*yaml.Node{{Kind: yaml.MappingNode}}
	}
	root := tree.Content[0]
	if root.Kind != yaml.MappingNode {
		return []FileFault{{Line: root.Line, Fault: "the file must be keys and values", Allowed: "key: value"}}, nil
	}
	return checkTree(raw, root)
}

// yamlFault returns a fault of the file's form.
func yamlFault(err error) FileFault {
	f := FileFault{Fault: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := lineOfError.FindStringSubmatch(f.Fault); m != nil {
		_, _ = fmt.Sscan(m[1], &f.Line) // digits
		f.Fault = strings.TrimPrefix(f.Fault, m[0])
	}
	return f
}

var lineOfError = regexp.MustCompile(`^(?:unmarshal errors:\n +)?line (\d+): `)

func checkTree(raw []byte, root *yaml.Node) (faults []FileFault, err error) {
	flags, err := serveFlags()
	if err != nil {
		return nil, err
	}
	if _, err := decodeOneDocument(raw); err != nil && !strings.Contains(err.Error(), "already defined") {
		faults = append(faults, yamlFault(err))
	}
	lines, values := map[string]int{}, map[string]string{}
	tables := FileTables{Policies: FilePolicies{}}
	backendLines := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		fault := FileFault{Line: key.Line, Key: key.Value}
		flag := flags[key.Value]
		switch {
		case lines[key.Value] > 0:
			fault.Fault = fmt.Sprintf("is in line %d already", lines[key.Value])
		case key.Value == "policies":
			lines[key.Value] = key.Line
			faults = append(faults, checkPolicies(value, tables.Policies)...)
			continue
		case key.Value == "backends":
			lines[key.Value] = key.Line
			var wrong []FileFault
			tables.Backends, wrong = checkBackends(value, backendLines)
			faults = append(faults, wrong...)
			continue
		case flag == nil || key.Value == "config":
			fault.Fault, fault.Allowed = "there is no such setting", nearestSetting(key.Value, flags)
		default:
			lines[key.Value] = key.Line
			text, why := nodeText(flag, value)
			if why == "" {
				why = checkValue(key.Value, text)
			}
			if why == "" {
				values[key.Value] = text
				continue
			}
			fault.Fault, fault.Allowed = why, allowedValues(flag)
		}
		faults = append(faults, fault)
	}
	faults = append(faults, checkTogether(values, lines, tables, backendLines)...)
	slices.SortStableFunc(faults, func(a, b FileFault) int { return cmp.Compare(a.Line, b.Line) })
	return faults, nil
}

// nodeText returns the value of a key as the command line has it, or why it can not be one.
func nodeText(flag *kong.Flag, node *yaml.Node) (text, why string) {
	if err := checkNumbers(node); err != nil {
		return "", lineOfError.ReplaceAllString(err.Error(), "")
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return "", yamlFault(err).Fault
	}
	parts, isList := value.([]any)
	if !isList {
		parts = []any{value}
	} else if !flag.IsSlice() {
		return "", "takes one value, not a list"
	}
	var texts []string
	for _, p := range parts {
		switch p.(type) {
		case nil:
		case map[string]any, []any:
			return "", "takes plain values"
		default:
			texts = append(texts, plainText(p))
		}
	}
	text = strings.Join(texts, ",")
	if holdsControl(text) {
		return "", "holds a line break or another control character"
	}
	return text, ""
}

// checkValue tells why a setting can not have a value, or "".
func checkValue(name, text string) string {
	if text == "" {
		return ""
	}
	parser, err := kong.New(&ServeFlags{}, decimalNumbers...)
	if err != nil {
		return err.Error()
	}
	if _, err := parser.Parse([]string{"--" + name + "=" + text}); err != nil {
		return strings.TrimPrefix(withoutSecrets(err).Error(), "--"+name+": ")
	}
	return ""
}

// allowedValues says what a setting may be.
func allowedValues(flag *kong.Flag) string {
	switch {
	case flag.Enum != "":
		return strings.Join(strings.Split(strings.Trim(flag.Enum, ","), ","), ", ")
	case flag.Target.Type() == reflect.TypeFor[time.Duration](), flag.Target.Type() == reflect.TypeFor[*time.Duration]():
		return "a duration such as 30s, 5m or 24h"
	}
	switch flag.Target.Kind() {
	case reflect.Bool:
		return "true, false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a value, or a list of them"
	}
	return "a text"
}

// nearestSetting says which setting a misspelt key may mean.
func nearestSetting(key string, flags map[string]*kong.Flag) string {
	names := map[string]bool{}
	for _, table := range tableNames {
		names[table] = true
	}
	for name := range flags {
		names[name] = name != "help" && name != "config"
	}
	if nearest := nearestName(key, names); nearest != "" {
		return "did you mean " + nearest + "?"
	}
	return "the flags of gateway serve"
}

// checkPolicies returns what is wrong with the file's `policies`, and adds the others to right.
func checkPolicies(node *yaml.Node, right FilePolicies) (faults []FileFault) {
	if node.Kind != yaml.MappingNode {
		if node.Tag == "!!null" {
			return nil
		}
		return []FileFault{{Line: node.Line, Key: "policies", Fault: "must be names with their rules", Allowed: "chat: {limit: 20, window: 10s}"}}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, rule := node.Content[i], node.Content[i+1]
		fault := FileFault{Line: name.Line, Key: "policies: " + name.Value}
		raw, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{name, rule}})
		var one FilePolicies
		if err == nil {
			var found any
			if err = yaml.Unmarshal(raw, &found); err == nil {
				if one, err = readTable[FilePolicies](found); err == nil {
					err = checkPolicyRules(one)
				}
			}
		}
		if err == nil {
			maps.Copy(right, one)
			continue
		}
		fault.Fault = lineOfError.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "")
		fault.Allowed = "limit, window, scope (user, session, ip, connection, global), cost, message, roles, events"
		faults = append(faults, fault)
	}
	return faults
}

func checkPolicyRules(file FilePolicies) error {
	all, err := applyFile(throttle.Defaults(false), file)
	if err != nil {
		return err
	}
	l, err := throttle.New(nil, all, throttle.Config{})
	if err != nil {
		return err
	}
	l.Close()
	return nil
}

// checkTogether returns what is wrong with settings that each may have their value: a bound that is
// exceeded, and what does not fit together.
func checkTogether(values map[string]string, lines map[string]int, tables FileTables, backendLines map[string]int) (faults []FileFault) {
	var args []string
	for name, text := range values {
		if text != "" {
			args = append(args, "--"+name+"="+text)
		}
	}
	slices.Sort(args)
	var flags ServeFlags
	parser, err := kong.New(&flags, decimalNumbers...)
	if err == nil {
		_, err = parser.Parse(args)
	}
	if err != nil {
		return []FileFault{{Fault: withoutSecrets(err).Error()}}
	}
	flags.SetTables(tables)
	for _, err := range flags.faults() {
		f := FileFault{Fault: err.Error()}
		if wrong := (*server.BackendFault)(nil); errors.As(err, &wrong) {
			faults = append(faults, backendFault(wrong, backendLines))
			continue
		}
		if m := flagInError.FindStringSubmatch(f.Fault); m != nil {
			f.Key, f.Line = m[1], lines[m[1]]
			f.Fault = strings.TrimLeft(strings.TrimPrefix(f.Fault, m[0]), ": ")
		}
		if f.Key == "redis" && f.Line == 0 { // it may come from the environment, or the command line
			continue
		}
		faults = append(faults, f)
	}
	if len(faults) == 0 && len(tables.Backends) > 0 { // then it is asked whose events and limits there are
		faults = append(faults, checkNames(&flags, backendLines)...)
	}
	return faults
}

var flagInError = regexp.MustCompile(`^--([a-z0-9-]+)`)

// faults returns everything that is wrong with the flags.
func (f *ServeFlags) faults() (all []error) {
	all = append(all, f.flagFaults()...)
	policies, err := f.configuredPolicies(f.Dev)
	if err != nil {
		all = append(all, err)
	}
	cfg := f.config(f.RedisFlags.Redis, policies)
	return append(all, cfg.WithDefaults().Faults()...)
}

// Settings returns what the flags say, as Configure does, also where it can not be served.
func (f *ServeFlags) Settings() (server.Config, error) {
	redisFlags := f.RedisFlags
	if err := redisFlags.ReadURLFile(); err != nil {
		return server.Config{}, err
	}
	policies, err := f.configuredPolicies(f.Dev)
	return f.config(redisFlags.Redis, policies), err
}

// joinFaults returns all faults as one error of usage, nil for none.
func joinFaults(faults []error) error { return usage.Wrap(errors.Join(faults...)) }
