package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/usage"
)

// foreignVariables are names that other programs set for a service called gateway: Kubernetes for
// each service of a namespace, and deploy/haproxy.cfg for the nodes behind it.
var foreignVariables = regexp.MustCompile(`^GATEWAY_(\d+|SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// CheckEnvironment refuses variables that begin with GATEWAY_ and set no flag of the commands,
// which a misspelt one does. An empty one sets nothing, and is accepted. environ is as os.Environ
// returns it.
func CheckEnvironment(commands any, environ []string) error {
	parser, err := kong.New(commands)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	addVariables(known, parser.Model.Node)
	var faults []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" || !strings.HasPrefix(name, "GATEWAY_") || known[name] || foreignVariables.MatchString(name) {
			continue
		}
		fault := "there is no setting " + printableName(name)
		if nearest := nearestName(name, known); nearest != "" {
			fault += "; did you mean " + nearest + "?"
		}
		faults = append(faults, fault)
	}
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	return usage.Errorf("environment: %s", strings.Join(faults, "\nenvironment: "))
}

func addVariables(known map[string]bool, n *kong.Node) {
	for _, f := range n.Flags {
		known[environmentName(f.Name)] = true
	}
	for _, child := range n.Children {
		addVariables(known, child)
	}
}

// printableName returns the name of a variable, cut.
func printableName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	return name[:min(len(name), 100)]
}

// nearestName returns the known name that differs from a misspelt one by the fewest letters, or ""
// when none is near.
func nearestName(name string, known map[string]bool) string {
	names := make([]string, 0, len(known))
	for k := range known {
		names = append(names, k)
	}
	slices.Sort(names)
	nearest, fewest := "", max(2, len(name)/4)+1
	for _, k := range names {
		if d := editDistance(name[:min(len(name), 100)], k); d < fewest {
			nearest, fewest = k, d
		}
	}
	return nearest
}

// editDistance returns how many letters must be changed, added, removed or swapped with their
// neighbour to make b of a.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
