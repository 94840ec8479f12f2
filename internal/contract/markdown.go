package contract

import (
	"fmt"
	"slices"
	"strings"
)

// Markdown returns the contract for people: docs/EVENTS.md.
func (c *Contract) Markdown() []byte {
	var b strings.Builder
	b.WriteString(`# Events

Generated from the table of events, the types of their payloads and the comments beside them: do not edit, run
` + "`make generate`" + `. With ` + "`--dev` or `--page`" + ` a server serves the same as ` + "[`/asyncapi.json`](asyncapi.json)" + ` and, for socket.io-client, as
` + "[`/events.d.ts`](events.d.ts)" + `. How to connect, and the rules that all events share, are in [contract.md](contract.md).

| event | payload | data | limit |
|---|---|---|---|
`)
	for _, q := range c.requests {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", q.name, headingAnchor(q.name), shortType(q.in, "–"), shortType(q.out, "`{}`"), inBackticks(q.limits))
	}
	b.WriteString("\nEvery one of them may be refused with " + inBackticks(sharedCodes) + ". Other codes stand with each event.\n")
	b.WriteString("\n| limit | events | window | for each |\n|---|---|---|---|\n")
	for _, p := range c.policies {
		fmt.Fprintf(&b, "| `%s` | %d | %g s | %s |\n", p.Name, p.Limit, float64(p.WindowMs)/1000, p.Scope)
	}

	c.writeNamespaces(&b)
	before := ""
	for _, q := range c.requests {
		if f := featureOf(q.name); f != before {
			fmt.Fprintf(&b, "\n## %s\n", capitalizeFirst(f))
			before = f
		}
		writeEvent(&b, q)
	}

	b.WriteString("\n## From the server\n\nThose marked with * have the offset as a second argument, a text, for clients that come back ([contract](contract.md#coming-back-connection-state-recovery)).\n\n| event | payload | when |\n|---|---|---|\n")
	for _, s := range c.casts {
		mark := ""
		if s.hasOffset {
			mark = " *"
		}
		about := s.sentences()
		if s.namespace != "" {
			about += " In `" + s.namespace + "`."
		}
		if s.reply != nil {
			about += " The client answers, by the acknowledgement, with " + shortType(s.reply, "`{}`") + "."
		}
		fmt.Fprintf(&b, "| `%s`%s | %s | %s |\n", s.name, mark, shortType(s.payload, "–"), about)
	}
	b.WriteString("\n## Types\n")
	for _, name := range c.types.sortedNames() {
		s := c.types.schemas[name]
		fmt.Fprintf(&b, "\n### type %s\n", name)
		if s.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", s.Description)
		}
		writeFields(&b, s)
	}
	b.WriteString("\n## Codes\n\n| code | message |\n|---|---|\n")
	for _, c := range c.sortedCodes() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c.code, c.message)
	}
	return []byte(b.String())
}

// writeNamespaces writes which events are in which namespace, where there are several.
func (c *Contract) writeNamespaces(b *strings.Builder) {
	all := c.listNamespaces()
	if len(all) == 1 {
		return
	}
	b.WriteString("\n| namespace | clients send | the server sends |\n|---|---|---|\n| `/` | all others | all others |\n")
	for _, n := range all[1:] {
		var sent, cast []string
		for _, q := range n.requests {
			if q.namespace != "" {
				sent = append(sent, q.name)
			}
		}
		for _, s := range n.casts {
			if s.namespace != "" {
				cast = append(cast, s.name)
			}
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", n.name, inBackticks(sent), inBackticks(cast))
	}
	b.WriteString("\nEach namespace has " + inBackticks(slices.Sorted(slices.Values(c.everywhere))) + " too.\n")
}

func writeEvent(b *strings.Builder, q request) {
	fmt.Fprintf(b, "\n### %s\n", q.name)
	if q.doc != "" {
		fmt.Fprintf(b, "\n%s\n", q.doc)
	}
	fmt.Fprintf(b, "\nPayload %s, data %s.", shortType(q.in, "none"), shortType(q.out, "`{}`"))
	if len(q.limits) > 0 {
		fmt.Fprintf(b, " Spends %s.", inBackticks(q.limits))
	}
	if len(q.roles) > 0 {
		fmt.Fprintf(b, " For %s only.", inBackticks(q.roles))
	}
	if q.namespace != "" {
		fmt.Fprintf(b, " In the namespace `%s`.", q.namespace)
	}
	b.WriteByte('\n')
	if q.refusals != "" {
		fmt.Fprintf(b, "\nRefused with %s\n", q.refusals)
	}
}

// writeFields writes the table of an object's properties, or one line for any other type.
func writeFields(b *strings.Builder, s *schema) {
	if len(s.Properties) == 0 {
		fmt.Fprintf(b, "\n%s\n", shortType(s, ""))
		return
	}
	b.WriteString("\n| field | type | |\n|---|---|---|\n")
	for _, p := range s.Properties {
		name := p.name
		if !slices.Contains(s.Required, name) {
			name += "?"
		}
		about := strings.TrimSpace(p.schema.Description + " " + describeBounds(p.schema))
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, shortType(p.schema, ""), strings.ReplaceAll(about, "|", `\|`))
	}
}

// shortType returns a type in a few characters, with a link where it has a name.
func shortType(s *schema, none string) string {
	switch {
	case s == nil:
		return none
	case s.Ref == refBase+refusalName:
		return "[refusal](#codes)"
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, refBase)
		return "[" + name + "](#type-" + strings.ToLower(name) + ")"
	case len(s.OneOf) > 0:
		alternatives := make([]string, len(s.OneOf))
		for i, one := range s.OneOf {
			alternatives[i] = shortType(one, none)
		}
		return strings.Join(alternatives, " or ")
	case len(s.Enum) > 0:
		return inBackticks(s.Enum)
	case s.Type == "array":
		return "list of " + shortType(s.Items, "")
	case s.Type == "object":
		if of, ok := s.Additional.(*schema); ok {
			return "map to " + shortType(of, "")
		}
		names := make([]string, len(s.Properties))
		for i, p := range s.Properties {
			names[i] = p.name
		}
		return "`{" + strings.Join(names, ", ") + "}`"
	case s.Format == formatBinary:
		return "binary"
	case s.Type == "":
		return "any"
	}
	return s.Type
}

// headingAnchor returns the anchor that GitHub gives to a heading.
func headingAnchor(heading string) string { return strings.ReplaceAll(heading, ":", "") }

func inBackticks(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, "` `") + "`"
}

type codeMessage struct{ code, message string }

// sortedCodes returns every code that a player can be shown.
func (c *Contract) sortedCodes() []codeMessage {
	all := make([]codeMessage, 0, len(c.comments.Faults))
	for code, message := range c.comments.Faults {
		all = append(all, codeMessage{code, message})
	}
	slices.SortFunc(all, func(a, b codeMessage) int { return strings.Compare(a.code, b.code) })
	return all
}
