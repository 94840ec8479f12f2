package ops

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/version"
)

// Man is the command that prints the manual page.
type Man struct{}

// Run prints a page for man(1), made of the table of commands: gateway man | man -l -
func (Man) Run(k *kong.Context, s cli.Streams) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH GATEWAY 1 \"\" \"%s\"\n.SH NAME\ngateway \\- %s\n.SH SYNOPSIS\n.B gateway\n.I command\n[\\fIarguments\\fR] [\\fIflags\\fR]\n.SH DESCRIPTION\n",
		manText(version.String()), "a Socket.IO\\-compatible realtime gateway")
	for paragraph := range strings.SplitSeq(k.Model.Help, "\n\n") {
		fmt.Fprintf(&b, ".PP\n%s\n", manText(paragraph))
	}
	b.WriteString(".SH COMMANDS\n")
	writeManCommand(&b, k.Model.Node, nil)
	b.WriteString(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nthe answer is no: not found, the audit found breaks, a node did not answer\n" +
		".TP\n2\nwrong usage or configuration, or Redis refuses the login\n.TP\n3\nRedis cannot be reached\n")
	_, err := fmt.Fprint(s.Out, b.String())
	return err
}

// writeManCommand writes a command, its arguments and flags, and the commands in it.
func writeManCommand(b *strings.Builder, n *kong.Node, words []string) {
	if len(n.Children) == 0 {
		fmt.Fprintf(b, ".SS gateway %s", manText(strings.Join(words, " ")))
		for _, p := range n.Positional {
			fmt.Fprintf(b, " %s", manText(p.Summary()))
		}
		fmt.Fprintf(b, "\n%s\n", manText(n.Help))
		for _, p := range n.Positional {
			fmt.Fprintf(b, ".TP\n.I %s\n%s\n", manText(p.Name), manText(p.Help))
		}
		for at := n; at != nil; at = at.Parent {
			for _, f := range at.Flags {
				if f.Hidden || f.Name == "help" || f.Name == "version" {
					continue
				}
				fmt.Fprintf(b, ".TP\n.B %s\n%s\n", manText(f.String()), manText(f.Help))
			}
		}
	}
	for _, child := range n.Children {
		writeManCommand(b, child, append(words[:len(words):len(words)], child.Name))
	}
}

// manText returns a text as roff has it: hyphens are minus signs, and no line begins a request.
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ", "…", `\[u2026]`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
