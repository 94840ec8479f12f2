package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const preamble = `// The gateway's events, as types for socket.io-client. Generated from the server's own table: do not edit.
//
//   import { io, type Socket } from 'socket.io-client';
//   import type { ClientToServerEvents, ServerToClientEvents } from './events';
//
//   const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(url, { auth: { sessionId } });
//   const answer = await socket.emitWithAck('chat:join', { channel: 'global' });
//   if (answer.ok) answer.data.members; else answer.error.code;

/** What every event is answered with. */
export type Answer<Data, Code extends string> = { ok: true; data: Data } | { ok: false; error: Refusal<Code> };

/** What an event without data is answered with. */
export type Nothing = Record<string, never>;

/** What stands beside code and message, for the codes that every feature shares. */
export interface RefusalDetails {
  INVALID: { field: string; reason: string };
  RATE_LIMITED: { policy: string; scope: Policy['scope']; limit: number; remaining: number; windowMs: number; retryAfterMs: number; fatal?: true };
  UNAVAILABLE: { feature: string; retryAfterMs: number };
}

/** Why something is refused: compare code. The message is for people. */
export type Refusal<Code extends string = ErrorCode> = Code extends keyof RefusalDetails
  ? { code: Code; message: string } & RefusalDetails[Code]
  : { code: Code; message: string; [detail: string]: unknown };

/** The data of a connect_error that the server meant: log in again. */
export interface ConnectErrorData {
  code: 'SESSION_REQUIRED' | 'SESSION_INVALID' | 'BANNED' | 'TOO_MANY_CONNECTIONS' | 'ORIGIN_REFUSED';
  retryAfterMs?: number;
  reason?: string; // of BANNED
  until?: number; // of BANNED, Unix ms
}
`

const withoutAcks = `
/** What an event takes beside its acknowledgement. */
export type PayloadOf<Event extends keyof ClientToServerEvents> = Parameters<ClientToServerEvents[Event]> extends [...infer Payload, unknown] ? Payload : [];

/**
 * A socket that may also send without an acknowledgement, and keeps the types of emitWithAck. A refusal then comes as the event error.
 *
 *   const socket = io(url) as GameSocket<Socket<ServerToClientEvents, ClientToServerEvents>>;
 *   socket.emit('chat:message', { channel: 'global', text: 'hello' });
 */
export type GameSocket<TypedSocket> = TypedSocket & {
  emit<Event extends keyof ClientToServerEvents>(event: Event, ...payload: PayloadOf<Event>): TypedSocket;
};
`

// TypeScript returns the contract as types: ClientToServerEvents and ServerToClientEvents are what
// the Socket of socket.io-client takes.
func (c *Contract) TypeScript() []byte {
	var b strings.Builder
	b.WriteString(c.withConnectCodes(preamble))

	b.WriteString("\n/** The codes that any event may be refused with. */\nexport type SharedCode = " + unionOf(sharedCodes) + ";\n")
	b.WriteString("\nexport type ErrorCode =\n")
	for _, known := range c.sortedCodes() {
		fmt.Fprintf(&b, "  | %s // %s\n", quotedLiteral(known.code), known.message)
	}
	b.WriteString("  ;\n")

	for _, name := range c.types.sortedNames() {
		s := c.types.schemas[name]
		writeDocComment(&b, "", s.Description)
		if s.Type == "object" && s.Additional != nil && len(s.Properties) == 0 || s.Type != "object" {
			fmt.Fprintf(&b, "export type %s = %s;\n", name, typeScriptType(s, ""))
			continue
		}
		fmt.Fprintf(&b, "export interface %s %s\n", name, typeScriptType(s, ""))
	}

	b.WriteString("\n/** What clients send. The acknowledgement is not optional here, since emitWithAck would lose its types. */\nexport interface ClientToServerEvents {\n")
	namespaces := c.listNamespaces()
	for _, q := range namespaces[0].requests {
		writeRequestType(&b, "  ", q)
	}
	b.WriteString("}\n" + withoutAcks)
	b.WriteString("\n/** What the server sends. An offset is there for clients that come back; it is no concern of a listener. */\nexport interface ServerToClientEvents {\n")
	for _, s := range namespaces[0].casts {
		writeCastType(&b, "  ", s)
	}
	b.WriteString("}\n")
	c.writeNamespaceTypes(&b, namespaces[1:])
	return []byte(b.String())
}

// writeNamespaceTypes writes the types of the namespaces that features have of their own, if any.
func (c *Contract) writeNamespaceTypes(b *strings.Builder, namespaces []namespaceEvents) {
	if len(namespaces) == 0 {
		return
	}
	first := namespaces[0].name
	fmt.Fprintf(b, `
/**
 * What clients send in other namespaces.
 *
 *   const socket: Socket<ServerToClientEventsOf['%[1]s'], ClientToServerEventsOf['%[1]s']> = io(url + '%[1]s', { auth: { sessionId } });
 */
export interface ClientToServerEventsOf {
`, first)
	for _, n := range namespaces {
		var shared []string
		fmt.Fprintf(b, "  '%s': {\n", n.name)
		for _, q := range n.requests {
			if q.namespace == "" {
				shared = append(shared, q.name)
				continue
			}
			writeRequestType(b, "    ", q)
		}
		b.WriteString("  }" + pickFrom("ClientToServerEvents", shared) + ";\n")
	}
	b.WriteString("}\n\n/** What the server sends in other namespaces. */\nexport interface ServerToClientEventsOf {\n")
	for _, n := range namespaces {
		var shared []string
		fmt.Fprintf(b, "  '%s': {\n", n.name)
		for _, s := range n.casts {
			if s.namespace == "" {
				shared = append(shared, s.name)
				continue
			}
			writeCastType(b, "    ", s)
		}
		b.WriteString("  }" + pickFrom("ServerToClientEvents", shared) + ";\n")
	}
	b.WriteString("}\n")
}

// pickFrom returns what adds some members of another type to one; "" for none.
func pickFrom(name string, members []string) string {
	if len(members) == 0 {
		return ""
	}
	return " & Pick<" + name + ", " + unionOf(members) + ">"
}

// writeRequestType writes the member of an event that clients send.
func writeRequestType(b *strings.Builder, indent string, q request) {
	writeDocComment(b, indent, strings.TrimSpace(q.doc+" "+limitSentences(q)))
	data := "Nothing"
	if q.out != nil {
		data = typeScriptType(q.out, indent)
	}
	codes := "SharedCode"
	if own := slices.DeleteFunc(slices.Clone(q.codes), func(code string) bool { return slices.Contains(sharedCodes, code) }); len(own) > 0 {
		codes += " | " + unionOf(own)
	}
	payload := ""
	if q.in != nil {
		payload = "payload: " + typeScriptType(q.in, indent) + ", "
	}
	fmt.Fprintf(b, "%s'%s': (%sack: (answer: Answer<%s, %s>) => void) => void;\n", indent, q.name, payload, data, codes)
}

// writeCastType writes the member of an event that the server sends.
func writeCastType(b *strings.Builder, indent string, s cast) {
	writeDocComment(b, indent, s.sentences())
	offset := ""
	if s.hasOffset {
		offset = ", offset?: string"
	}
	if s.reply != nil {
		offset = ", answer: (reply: " + typeScriptType(s.reply, indent) + ") => void"
	}
	fmt.Fprintf(b, "%s'%s': (payload: %s%s) => void;\n", indent, s.name, typeScriptType(s.payload, indent), offset)
}

// withConnectCodes adds the codes of connect_error that a program of the game has.
func (c *Contract) withConnectCodes(text string) string {
	if len(c.connectCodes) == 0 {
		return text
	}
	return strings.Replace(text, " | 'ORIGIN_REFUSED';", " | 'ORIGIN_REFUSED' | "+unionOf(c.connectCodes)+";", 1)
}

// typeScriptType returns a schema as a TypeScript type.
func typeScriptType(s *schema, indent string) string {
	switch {
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, refBase)
	case s.Format == formatBinary && s.written == nil:
		return "ArrayBuffer | Uint8Array"
	case len(s.OneOf) > 0:
		alternatives := make([]string, len(s.OneOf))
		for i, one := range s.OneOf {
			alternatives[i] = typeScriptType(one, indent)
		}
		return strings.Join(alternatives, " | ")
	case len(s.Enum) > 0:
		return unionOf(s.Enum)
	case s.Type == "string", s.Type == "boolean", s.Type == "number", s.Type == "null":
		return s.Type
	case s.Type == "integer":
		return "number"
	case s.Type == "array":
		inner := typeScriptType(s.Items, indent)
		if strings.ContainsAny(inner, " |{") {
			return "Array<" + inner + ">"
		}
		return inner + "[]"
	case s.Type == "object" && len(s.Properties) == 0 && s.written != nil && s.Additional != false:
		of, _ := s.Additional.(*schema)
		return "Record<string, " + typeScriptType(of, indent) + ">"
	case s.Type == "object" && len(s.Properties) == 0:
		if of, ok := s.Additional.(*schema); ok {
			return "Record<string, " + typeScriptType(of, indent) + ">"
		}
		return "Nothing"
	case s.Type == "object":
		var b strings.Builder
		b.WriteString("{\n")
		for _, p := range s.Properties {
			writeDocComment(&b, indent+"  ", strings.TrimSpace(p.schema.Description+" "+describeBounds(p.schema)))
			mark := "?"
			if slices.Contains(s.Required, p.name) {
				mark = ""
			}
			fmt.Fprintf(&b, "%s  %s%s: %s;\n", indent, memberName(p.name), mark, typeScriptType(p.schema, indent+"  "))
		}
		b.WriteString(indent + "}")
		return b.String()
	}
	return "unknown"
}

// memberName returns the name of a property as TypeScript takes it.
func memberName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}

var plainName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// describeBounds returns the limits of a schema in words, in brackets; "" where it has none.
func describeBounds(s *schema) string {
	var parts []string
	addIf := func(is bool, format string, n any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	unit := "characters"
	if s.Format == formatBinary {
		unit = "bytes"
	}
	addIf(s.MinLength > 1, "at least %d "+unit, s.MinLength)
	addIf(s.MinLength == 1, "not empty%.0s", "")
	addIf(s.MaxLength > 0, "at most %d "+unit, s.MaxLength)
	addIf(s.MinItems > 0, "at least %d entries", s.MinItems)
	addIf(s.MaxItems > 0, "at most %d entries", s.MaxItems)
	if s.Minimum != nil && *s.Minimum != 0 {
		parts = append(parts, "at least "+strconv.FormatInt(*s.Minimum, 10))
	}
	if s.Maximum != nil {
		parts = append(parts, "at most "+strconv.FormatInt(*s.Maximum, 10))
	}
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// limitSentences says which policies and roles an event needs.
func limitSentences(q request) string {
	var parts []string
	if len(q.limits) > 0 {
		parts = append(parts, "Limited by "+strings.Join(q.limits, " and ")+".")
	}
	if len(q.roles) > 0 {
		parts = append(parts, "For "+strings.Join(q.roles, " or ")+" only.")
	}
	return strings.Join(parts, " ")
}

// writeDocComment writes a doc comment. At the top level an empty line stands before every
// declaration.
func writeDocComment(b *strings.Builder, indent, text string) {
	if text == "" {
		if indent == "" {
			b.WriteByte('\n')
		}
		return
	}
	if indent == "" {
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "%s/** %s */\n", indent, strings.ReplaceAll(text, "*/", "* /"))
}

func unionOf(values []string) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = quotedLiteral(v)
	}
	return strings.Join(words, " | ")
}

// quotedLiteral returns a string literal of TypeScript. Names and codes hold nothing that needs
// escaping.
func quotedLiteral(s string) string { return "'" + s + "'" }
