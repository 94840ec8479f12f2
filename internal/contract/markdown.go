package contract

import (
	"fmt"
	"slices"
	"strings"
)

// Markdown is the contract for people: docs/EVENTS.md.
func (c *Contract) Markdown() []byte {
	var b strings.Builder
	b.WriteString(`# Events

Generated from the table of events, the types of their payloads and the comments beside them (` + "`make generate`" + `): do not
edit. A server serves the same as ` + "[`/asyncapi.json`](asyncapi.json)" + ` and, for socket.io-client, as ` + "[`/events.d.ts`](events.d.ts)" + `.
How to connect, and the rules that all events share, stand in [contract.md](contract.md).

| event | payload | data | limit |
|---|---|---|---|
`)
	for _, a := range c.asks {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", a.name, anchor(a.name), c.brief(a.in, "–"), c.brief(a.out, "`{}`"), ticked(a.limits))
	}
	b.WriteString("\nEvery one of them may be refused with " + ticked(shared) + ". What else, stands with each.\n")
	b.WriteString("\n| limit | events | window | for each |\n|---|---|---|---|\n")
	for _, p := range c.policies {
		fmt.Fprintf(&b, "| `%s` | %d | %g s | %s |\n", p.Name, p.Limit, float64(p.WindowMs)/1000, p.Scope)
	}

	before := ""
	for _, a := range c.asks {
		if f := feature(a.name); f != before {
			fmt.Fprintf(&b, "\n## %s\n", upper(f))
			before = f
		}
		c.event(&b, a)
	}

	b.WriteString("\n## From the server\n\n| event | payload | when |\n|---|---|---|\n")
	for _, s := range c.casts {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, c.brief(s.payload, "–"), s.doc)
	}
	b.WriteString("\n## Types\n")
	for _, name := range c.types.sorted() {
		s := c.types.named[name]
		fmt.Fprintf(&b, "\n### type %s\n", name)
		if s.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", s.Description)
		}
		c.fields(&b, s)
	}
	b.WriteString("\n## Codes\n\n| code | message |\n|---|---|\n")
	for _, code := range c.codes() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", code.name, code.message)
	}
	return []byte(b.String())
}

func (c *Contract) event(b *strings.Builder, a ask) {
	fmt.Fprintf(b, "\n### %s\n", a.name)
	if a.doc != "" {
		fmt.Fprintf(b, "\n%s\n", a.doc)
	}
	fmt.Fprintf(b, "\nPayload %s, data %s.", c.brief(a.in, "none"), c.brief(a.out, "`{}`"))
	if len(a.limits) > 0 {
		fmt.Fprintf(b, " Spends %s.", ticked(a.limits))
	}
	if len(a.roles) > 0 {
		fmt.Fprintf(b, " For %s only.", ticked(a.roles))
	}
	b.WriteByte('\n')
	if a.refusals != "" {
		fmt.Fprintf(b, "\nRefused with %s\n", a.refusals)
	}
}

// fields is the table of an object's properties, or a line for what is none.
func (c *Contract) fields(b *strings.Builder, s *schema) {
	if len(s.Properties) == 0 {
		fmt.Fprintf(b, "\n%s\n", c.brief(s, ""))
		return
	}
	b.WriteString("\n| field | type | |\n|---|---|---|\n")
	for _, p := range s.Properties {
		name := p.name
		if !slices.Contains(s.Required, name) {
			name += "?"
		}
		about := strings.TrimSpace(p.schema.Description + " " + bounds(p.schema))
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, c.brief(p.schema, ""), strings.ReplaceAll(about, "|", `\|`))
	}
}

// brief is a type in a few characters, with a link where it has a name.
func (c *Contract) brief(s *schema, none string) string {
	switch {
	case s == nil:
		return none
	case s.Ref == refBase+refusal:
		return "[refusal](#codes)"
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, refBase)
		return "[" + name + "](#type-" + strings.ToLower(name) + ")"
	case len(s.Enum) > 0:
		return ticked(s.Enum)
	case s.Type == "array":
		return "list of " + c.brief(s.Items, "")
	case s.Type == "object":
		if of, ok := s.Additional.(*schema); ok {
			return "map to " + c.brief(of, "")
		}
		names := make([]string, len(s.Properties))
		for i, p := range s.Properties {
			names[i] = p.name
		}
		return "`{" + strings.Join(names, ", ") + "}`"
	case s.Type == "":
		return "any"
	}
	return s.Type
}

// anchor is where GitHub puts a heading.
func anchor(heading string) string { return strings.ReplaceAll(heading, ":", "") }

func ticked(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, "` `") + "`"
}

// A code with its message.
type code struct{ name, message string }

// codes are all that players can be shown, sorted.
func (c *Contract) codes() []code {
	all := make([]code, 0, len(c.comments.Faults))
	for name, message := range c.comments.Faults {
		all = append(all, code{name, message})
	}
	slices.SortFunc(all, func(a, b code) int { return strings.Compare(a.name, b.name) })
	return all
}
