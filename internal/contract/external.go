package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/event"
)

// This file describes the events of programs beside the gateway, whose payloads are JSON Schemas in
// place of Go types.

const localRef = "#/$defs/" // in such a schema

// MarshalJSONTo writes a schema: as its program wrote it, where a program did.
func (s *schema) MarshalJSONTo(e *jsontext.Encoder) error {
	if s.written != nil {
		return json.MarshalEncode(e, s.written)
	}
	type plain schema
	return json.MarshalEncode(e, (*plain)(s))
}

// describeExternal is describeRoute for an event with schemas.
func (c *Contract) describeExternal(r event.Route) request {
	x := r.Schemas
	q := request{name: r.Name, limits: r.Limits, roles: r.Roles, codes: slices.Clone(sharedCodes)}
	q.doc, q.refusals = splitRefusals(strings.Join(strings.Fields(x.Doc), " "))
	own := slices.Sorted(maps.Keys(x.Codes))
	q.codes = append(q.codes, own...)
	if q.refusals == "" && len(own) > 0 {
		q.refusals = strings.Join(own, ", ") + "."
	}
	c.addCodes(x.Codes)
	slices.Sort(q.codes)
	q.codes = slices.Compact(q.codes)
	q.in = c.types.schemaOfDocument(x, x.In)
	if r.OnceRule != nil {
		q.in = c.types.withKey(q.in)
	}
	if x.Out != nil {
		q.out = c.types.schemaOfDocument(x, x.Out)
	}
	return q
}

// addCodes adds the codes of a program to those that a player can be shown. It does not change what
// others have of the comments.
func (c *Contract) addCodes(codes map[string]string) {
	if len(codes) == 0 {
		return
	}
	faults := maps.Clone(c.comments.Faults)
	if faults == nil {
		faults = map[string]string{}
	}
	for code, message := range codes {
		if faults[code] == "" {
			faults[code] = message
		}
	}
	comments := *c.comments
	comments.Faults = faults
	c.comments = &comments
}

// withKey adds the idempotency key to a payload. A named type that others use is left as it is.
func (t *typeTable) withKey(s *schema) *schema {
	key := &schema{Type: "string", MaxLength: event.MaxKeyLength, Description: "makes a repeat safe: with the same key it gets the answer of the first time"}
	if s.Ref != "" {
		original := *t.schemas[strings.TrimPrefix(s.Ref, refBase)]
		s = &original
	}
	isOpen := len(s.Properties) == 0 && s.Additional != false
	if s.Type != "object" || isOpen || slices.ContainsFunc(s.Properties, func(p property) bool { return p.name == keyName }) {
		return s
	}
	with := *s
	with.Properties = append(slices.Clip(s.Properties), property{keyName, key})
	if members, isObject := s.written.(map[string]any); isObject {
		members = maps.Clone(members)
		fields := map[string]any{keyName: map[string]any{"type": "string", "maxLength": event.MaxKeyLength, "description": key.Description}}
		if own, hasFields := members["properties"].(map[string]any); hasFields {
			maps.Copy(fields, own)
		}
		members["properties"] = fields
		with.written = members
	}
	return &with
}

const keyName = "idempotencyKey"

// schemaOfDocument returns a schema of a program. What it refers to becomes types of the contract.
func (t *typeTable) schemaOfDocument(x *event.Schemas, raw jsontext.Value) *schema {
	if raw == nil {
		return &schema{}
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		panic(fmt.Sprintf("contract: schema of %s: %v", x.Owner, err)) // the backend was checked
	}
	return t.convertSchema(x, value)
}

// defineDocument describes a type of a program's $defs when it is met first.
func (t *typeTable) defineDocument(x *event.Schemas, def string) *schema {
	name := externalTypeName(x.Owner, def)
	if t.schemas[name] == nil {
		s := &schema{}
		t.schemas[name] = s // before it is described: a type may hold itself
		*s = *t.schemaOfDocument(x, x.Types[def])
	}
	return &schema{Ref: refBase + name}
}

// externalTypeName returns the name of a program's type: Quest of quests is QuestsQuest.
func externalTypeName(owner, def string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(owner, "-") {
		b.WriteString(capitalizeFirst(part))
	}
	return b.String() + capitalizeFirst(def)
}

// convertSchema returns the part of a JSON Schema that can be said in types, and keeps the whole of
// it for documents that are JSON.
func (t *typeTable) convertSchema(x *event.Schemas, value any) *schema {
	members, isObject := value.(map[string]any)
	if !isObject { // true or false
		return &schema{written: value}
	}
	if ref, isRef := members["$ref"].(string); isRef {
		if def, isLocal := strings.CutPrefix(ref, localRef); isLocal && x.Types[def] != nil {
			return t.defineDocument(x, def)
		}
		return &schema{}
	}
	s := &schema{written: t.rewriteRefs(x, value)}
	description, _ := members["description"].(string)
	s.Description = strings.Join(strings.Fields(description), " ")
	s.Type, _ = members["type"].(string)
	s.Pattern, _ = members["pattern"].(string)
	s.MinLength, s.MaxLength = wholeNumber(members["minLength"]), wholeNumber(members["maxLength"])
	s.MinItems, s.MaxItems = wholeNumber(members["minItems"]), wholeNumber(members["maxItems"])
	s.Minimum, s.Maximum = bound(members["minimum"]), bound(members["maximum"])
	if values, isList := members["enum"].([]any); isList {
		for _, v := range values {
			if text, isText := v.(string); isText && !strings.ContainsAny(text, "'\\\n") {
				s.Enum = append(s.Enum, text)
			}
		}
		if len(s.Enum) != len(values) { // it can not be said
			s.Enum, s.Type = nil, ""
		}
	}
	if text, isText := members["const"].(string); isText && !strings.ContainsAny(text, "'\\\n") {
		s.Enum = []string{text}
	}
	if types, isList := members["type"].([]any); isList {
		for _, one := range types {
			name, _ := one.(string)
			alternative := maps.Clone(members)
			alternative["type"] = name
			delete(alternative, "description")
			s.OneOf = append(s.OneOf, t.convertSchema(x, alternative))
		}
	}
	for _, word := range []string{"oneOf", "anyOf"} {
		alternatives, isList := members[word].([]any)
		if !isList || s.Type == "object" && members["properties"] != nil {
			continue
		}
		for _, one := range alternatives {
			s.OneOf = append(s.OneOf, t.convertSchema(x, one))
		}
	}
	if s.Type == "" && members["properties"] != nil && len(s.OneOf) == 0 {
		s.Type = "object"
	}
	switch s.Type {
	case "array":
		s.Items = &schema{}
		if items, has := members["items"]; has && members["prefixItems"] == nil {
			s.Items = t.convertSchema(x, items)
		}
	case "object":
		t.convertProperties(x, s, members)
	}
	return s
}

func (t *typeTable) convertProperties(x *event.Schemas, s *schema, members map[string]any) {
	fields, _ := members["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		s.Properties = append(s.Properties, property{name, t.convertSchema(x, fields[name])})
	}
	required, _ := members["required"].([]any)
	for _, r := range required {
		if name, isText := r.(string); isText {
			s.Required = append(s.Required, name)
		}
	}
	switch more := members["additionalProperties"].(type) {
	case map[string]any:
		s.Additional = t.convertSchema(x, more)
	case bool:
		if !more {
			s.Additional = false
			break
		}
		s.Additional = &schema{}
	default:
		s.Additional = &schema{}
	}
}

// rewriteRefs returns a schema in which references to $defs are to types of the contract.
func (t *typeTable) rewriteRefs(x *event.Schemas, value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, one := range v {
			if ref, isText := one.(string); isText && name == "$ref" {
				if def, isLocal := strings.CutPrefix(ref, localRef); isLocal && x.Types[def] != nil {
					one = t.defineDocument(x, def).Ref
				}
			}
			out[name] = t.rewriteRefs(x, one)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = t.rewriteRefs(x, one)
		}
		return out
	}
	return value
}

func wholeNumber(value any) int {
	n, _ := value.(float64)
	return int(n)
}

func bound(value any) *int64 {
	n, isNumber := value.(float64)
	if !isNumber || n != float64(int64(n)) {
		return nil
	}
	whole := int64(n)
	return &whole
}
