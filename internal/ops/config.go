package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/usage"
)

// Config is the command about settings.
type Config struct {
	Show  configShow  `cmd:"" help:"Show the settings of the nodes that differ from the defaults, without secrets."`
	Diff  configDiff  `cmd:"" help:"Show what nodes have differently, and what each has changed since its start before."`
	Check configCheck `cmd:"" help:"Name everything that is wrong in a settings file; exits 2 then."`
}

// A ConfigView is how a node is configured.
type ConfigView struct {
	Node      string            `json:"node"`
	Hash      string            `json:"hash"`
	Version   string            `json:"version"`
	StartedAt int64             `json:"startedAt"` // Unix ms
	Settings  map[string]string `json:"settings"`  // that differ from the defaults
}

type configShow struct {
	cli.RedisFlags `embed:""`
	Node           string `arg:"" optional:"" help:"Only this node."`
	JSON           bool   `help:"Print JSON."`
}

// Run exits 1 when a node did not answer.
func (c configShow) Run(ctx context.Context, s cli.Streams) error {
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	answers, err := askNodes[nodecall.Status](ctx, rdb, s, nodecall.Request{What: nodecall.AskStatus, Node: c.Node})
	if err != nil {
		return err
	}
	views := configViews(answers)
	if c.JSON {
		err = printJSON(s.Out, map[string]any{"nodes": views, "silent": answers.silentList()})
	} else {
		for _, v := range views {
			writeTableRow(s.Out, fmt.Sprintf("%s  settings %s, started %s, %s", v.Node, v.Hash, formatTime(v.StartedAt), v.Version))
			for _, name := range slices.Sorted(maps.Keys(v.Settings)) {
				writeTableRow(s.Out, "  "+name+": "+v.Settings[name])
			}
		}
	}
	return errors.Join(err, answers.complain(s))
}

func configViews(answers nodeAnswers[nodecall.Status]) []ConfigView {
	views := []ConfigView{}
	for _, n := range answers.all {
		views = append(views, ConfigView{n.node, n.data.Hash, n.data.Version, n.data.StartedAt, n.data.Settings})
	}
	return views
}

// A ConfigChange is a setting that differs between two nodes, or two starts of one.
type ConfigChange struct {
	Setting string `json:"setting"`
	From    string `json:"from"` // "" is the default
	To      string `json:"to"`
}

// A ConfigDiff lists the settings that differ between Node and Other, or between the last two
// starts of Node.
type ConfigDiff struct {
	Node    string         `json:"node"`
	Other   string         `json:"other,omitzero"` // another node; "" for Node's previous start
	Before  int64          `json:"before,omitzero"`
	Changes []ConfigChange `json:"changes"`
}

type configDiff struct {
	cli.RedisFlags `embed:""`
	JSON           bool `help:"Print JSON."`
}

// Run compares all nodes with the first, and each with its start before. It exits 1 when a node did
// not answer.
func (c configDiff) Run(ctx context.Context, s cli.Streams) error {
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	answers, err := askNodes[nodecall.Status](ctx, rdb, s, nodecall.Request{What: nodecall.AskStatus})
	if err != nil {
		return err
	}
	views, diffs := configViews(answers), []ConfigDiff{}
	for i, v := range views {
		now := withVersion(v.Settings, v.Version)
		if i > 0 {
			first := withVersion(views[0].Settings, views[0].Version)
			if changes := compareSettings(first, now, true); len(changes) > 0 {
				diffs = append(diffs, ConfigDiff{Node: v.Node, Other: views[0].Node, Changes: changes})
			}
		}
		before, at, err := findStartBefore(ctx, rdb, v)
		if err != nil {
			return err
		}
		if changes := compareSettings(before, now, false); at > 0 && len(changes) > 0 {
			diffs = append(diffs, ConfigDiff{Node: v.Node, Before: at, Changes: changes})
		}
	}
	if c.JSON {
		err = printJSON(s.Out, map[string]any{"diffs": diffs, "silent": answers.silentList()})
	} else {
		err = printConfigDiffs(s.Out, diffs)
	}
	return errors.Join(err, answers.complain(s))
}

func withVersion(settings map[string]string, version string) map[string]string {
	all := maps.Clone(settings)
	if all == nil {
		all = map[string]string{}
	}
	all["(version)"] = version
	return all
}

// ownSettings are those that every node has for itself.
var ownSettings = map[string]bool{"addr": true, "admin-addr": true, "node": true}

// compareSettings returns what differs; of two nodes not what each has for itself.
func compareSettings(from, to map[string]string, areNodes bool) (changes []ConfigChange) {
	names := slices.Sorted(maps.Keys(to))
	for name := range from {
		if _, ok := to[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if from[name] != to[name] && !(areNodes && ownSettings[name]) {
			changes = append(changes, ConfigChange{name, from[name], to[name]})
		}
	}
	return changes
}

// findStartBefore returns the settings of a node at its start before the last one, and when that
// was; 0 when there was none, or it was forgotten.
func findStartBefore(ctx context.Context, rdb redis.UniversalClient, v ConfigView) (settings map[string]string, at int64, err error) {
	starts, err := auditlog.Read(ctx, rdb, auditlog.Query{Most: 2, Match: func(a *auditlog.Act) bool {
		return a.What == auditlog.Started && a.Target == v.Node
	}})
	if err != nil || len(starts) < 2 {
		return nil, 0, err
	}
	settings = map[string]string{}
	for line := range strings.Lines(starts[1].To) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		settings[name] = value
	}
	return withVersion(settings, starts[1].Why), starts[1].At.UnixMilli(), nil
}

func printConfigDiffs(w io.Writer, diffs []ConfigDiff) error {
	if len(diffs) == 0 {
		_, err := fmt.Fprintln(w, "all nodes are configured alike, and as at their starts before")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tCOMPARED WITH\tSETTING\tTHERE\tHERE")
	for _, d := range diffs {
		with := d.Other
		if with == "" {
			with = "its start of " + formatTime(d.Before)
		}
		for _, x := range d.Changes {
			writeTableRow(t, d.Node, with, x.Setting, cmp.Or(x.From, "default"), cmp.Or(x.To, "default"))
		}
	}
	return t.Flush()
}

type configCheck struct {
	File string `arg:"" help:"The YAML file, as for --config."`
	JSON bool   `help:"Print JSON."`
}

// Run prints every fault with its line, and exits 2 when there is one.
func (c configCheck) Run(s cli.Streams) error {
	faults, err := cli.CheckFile(c.File)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(s.Out, append([]cli.FileFault{}, faults...)); err != nil {
			return err
		}
	} else {
		for _, f := range faults {
			writeTableRow(s.Out, c.File+": "+f.String())
		}
	}
	if len(faults) > 0 {
		return usage.Errorf("%s: %d faults", c.File, len(faults))
	}
	return nil
}
