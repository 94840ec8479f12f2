package ops

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/cli"
)

// Completion is the command that prints what makes a shell complete the commands and their flags.
type Completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash: source <(gateway completion bash). zsh: the same, after compinit. fish: gateway completion fish | source (${enum})."`
}

// Run prints the script. It is made of the table of commands.
func (c Completion) Run(k *kong.Context, s cli.Streams) error {
	table := completionsOf(k.Model.Node, nil)
	text := bashCompletion(table)
	switch c.Shell {
	case "zsh":
		// As a file _gateway in $fpath it is called when the first word is completed.
		text = "#compdef gateway\nautoload -U +X bashcompinit && bashcompinit\n" + text +
			"if [ \"${funcstack[1]}\" = _gateway ]; then _bash_complete -o default -F _gateway; fi\n"
	case "fish":
		text = fishCompletion(table)
	}
	_, err := fmt.Fprint(s.Out, text)
	return err
}

// A completion lists the words that can follow a command.
type completion struct {
	words  []string          // the command, without the program's name
	next   []string          // its subcommands, or the known values of its first argument
	flags  []string          // its flags, with --
	values map[string]string // by flag: its known values, separated by spaces
	takes  []string          // the flags that take a value
	help   map[string]string // by subcommand or flag: its description
}

// completionsOf returns the completions of a command and of all in it.
func completionsOf(n *kong.Node, words []string) []completion {
	c := completion{words: words, values: map[string]string{}, help: map[string]string{}}
	for _, child := range n.Children {
		c.next = append(c.next, child.Name)
		c.help[child.Name] = child.Help
	}
	for i, p := range n.Positional {
		if i == 0 {
			c.next = append(c.next, enumOf(p)...)
		}
	}
	for at := n; at != nil; at = at.Parent {
		for _, f := range at.Flags {
			if f.Hidden {
				continue
			}
			flag := "--" + f.Name
			c.flags = append(c.flags, flag)
			c.help[flag] = f.Help
			if !f.IsBool() {
				c.takes = append(c.takes, flag)
				c.values[flag] = strings.Join(enumOf(f.Value), " ")
			}
		}
	}
	slices.Sort(c.flags)
	slices.Sort(c.takes)
	all := []completion{c}
	for _, child := range n.Children {
		all = append(all, completionsOf(child, append(slices.Clone(words), child.Name))...)
	}
	return all
}

// enumOf returns the values that a flag or an argument may have, nil where it may have any.
func enumOf(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return slices.DeleteFunc(strings.Split(v.Enum, ","), func(value string) bool { return value == "" })
}

// bashCompletion returns a function that finds the command before the cursor, and offers what may
// follow it. A flag whose value is not known completes the names of files. Its variables must not
// be named words, current or prefix, which are zsh's own while it completes.
func bashCompletion(table []completion) string {
	var b strings.Builder
	b.WriteString("_gateway() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' skip='' word offered=''\n" +
		"\tfor word in \"${COMP_WORDS[@]:1:$((COMP_CWORD-1))}\"; do\n\t\tcase \"$command $word\" in\n")
	for _, c := range table {
		if len(c.words) > 0 {
			fmt.Fprintf(&b, "\t\t' %s') command=' %s' ;;\n", strings.Join(c.words, " "), strings.Join(c.words, " "))
		}
	}
	b.WriteString("\t\tesac\n\tdone\n\tcase \"$command\" in\n")
	for _, c := range table {
		name := ""
		if len(c.words) > 0 {
			name = " " + strings.Join(c.words, " ")
		}
		fmt.Fprintf(&b, "\t'%s')\n\t\tcase \"$prev\" in\n", name)
		for _, flag := range c.takes {
			fmt.Fprintf(&b, "\t\t%s) offered='%s' skip=1 ;;\n", flag, c.values[flag])
		}
		fmt.Fprintf(&b, "\t\tesac\n\t\t[ -n \"$skip\" ] || offered='%s'\n\t\t;;\n", strings.Join(slices.Concat(c.next, c.flags), " "))
	}
	b.WriteString("\tesac\n\tCOMPREPLY=($(compgen -W \"$offered\" -- \"$cur\"))\n}\ncomplete -o default -F _gateway gateway\n")
	return b.String()
}

// fishCompletion returns a line for each word that may follow a command.
func fishCompletion(table []completion) string {
	var b strings.Builder
	b.WriteString("complete -c gateway -f\n")
	for _, c := range table {
		condition := "__fish_use_subcommand"
		if len(c.words) > 0 {
			seen := make([]string, len(c.words))
			for i, word := range c.words {
				seen[i] = "__fish_seen_subcommand_from " + word
			}
			condition = strings.Join(seen, "; and ")
			if len(c.next) > 0 {
				condition += "; and not __fish_seen_subcommand_from " + strings.Join(c.next, " ")
			}
		}
		for _, word := range c.next {
			fmt.Fprintf(&b, "complete -c gateway -n '%s' -a %s -d '%s'\n", condition, word, fishText(c.help[word]))
		}
		for _, flag := range c.flags {
			more := ""
			if slices.Contains(c.takes, flag) {
				more = " -r"
				if values := c.values[flag]; values != "" {
					more = " -x -a '" + values + "'"
				}
			}
			fmt.Fprintf(&b, "complete -c gateway -n '%s' -l %s%s -d '%s'\n", condition, strings.TrimPrefix(flag, "--"), more, fishText(c.help[flag]))
		}
	}
	return b.String()
}

// fishText returns the first sentence of a help text as it may stand between single quotes.
func fishText(help string) string {
	first, _, _ := strings.Cut(help, ". ")
	return strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", " ").Replace(strings.TrimSuffix(first, "."))
}
