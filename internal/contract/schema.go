package contract

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
)

// A schema is JSON Schema, draft 7: the words that we need.
type schema struct {
	Ref         string         `json:"$ref,omitzero"`
	Description string         `json:"description,omitzero"`
	Type        string         `json:"type,omitzero"`
	Const       any            `json:"const,omitzero"`
	Enum        []string       `json:"enum,omitzero"`
	Pattern     string         `json:"pattern,omitzero"`
	MinLength   int            `json:"minLength,omitzero"`
	MaxLength   int            `json:"maxLength,omitzero"`
	Minimum     *int64         `json:"minimum,omitzero"`
	Maximum     *int64         `json:"maximum,omitzero"`
	MinItems    int            `json:"minItems,omitzero"`
	MaxItems    int            `json:"maxItems,omitzero"`
	Items       *schema        `json:"items,omitzero"`
	Properties  properties     `json:"properties,omitzero"`
	Required    []string       `json:"required,omitzero"`
	Additional  any            `json:"additionalProperties,omitzero"` // *schema, or false
	OneOf       []*schema      `json:"oneOf,omitzero"`
	Examples    jsontext.Value `json:"examples,omitzero"`
}

// A property of an object, in the order of the Go type.
type property struct {
	name   string
	schema *schema
}

type properties []property

// MarshalJSONTo keeps the order.
func (p properties) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, one := range p {
		if err := e.WriteToken(jsontext.String(one.name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, one.schema); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

// types are the named types of the contract.
type types struct {
	comments comments
	names    map[reflect.Type]string
	named    map[string]*schema
	taken    map[string]reflect.Type
}

func newTypes(c comments) *types {
	return &types{comments: c, names: map[reflect.Type]string{}, named: map[string]*schema{}, taken: map[string]reflect.Type{}}
}

const (
	refBase = "#/components/schemas/"
	refusal = "Refusal"
)

// of is the schema of a Go type: a reference when the type has a name.
func (t *types) of(typ reflect.Type) *schema {
	switch typ {
	case reflect.TypeFor[fault.Fault]():
		return &schema{Ref: refBase + refusal}
	case reflect.TypeFor[jsontext.Value](), reflect.TypeFor[any]():
		return &schema{}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return t.of(typ.Elem())
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.String:
		if values := t.comments.values(typ); len(values) > 0 {
			return t.name(typ, func(s *schema) { s.Type, s.Enum = "string", values })
		}
		return &schema{Type: "string"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer", Minimum: new(int64)}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Slice, reflect.Array:
		return &schema{Type: "array", Items: t.of(typ.Elem())}
	case reflect.Map:
		return &schema{Type: "object", Additional: t.of(typ.Elem())}
	case reflect.Struct:
		if typ.Name() == "" {
			s := &schema{}
			t.object(s, typ)
			return s
		}
		return t.name(typ, func(s *schema) { t.object(s, typ) })
	}
	panic(fmt.Sprintf("contract: no schema for %s", typ))
}

// name describes a type once, and refers to it.
func (t *types) name(typ reflect.Type, describe func(*schema)) *schema {
	name, known := t.names[typ]
	if !known {
		name = nameOf(typ)
		if other := t.taken[name]; other != nil {
			panic(fmt.Sprintf("contract: %s and %s are both named %s", other, typ, name))
		}
		s := &schema{Description: t.comments.typ(typ)}
		t.names[typ], t.taken[name], t.named[name] = name, typ, s // first: a type may hold itself
		describe(s)
	}
	return &schema{Ref: refBase + name}
}

func (t *types) object(s *schema, typ reflect.Type) {
	s.Type = "object"
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case tag == "" && (f.Anonymous || strings.Contains(options, "inline")):
			t.object(s, f.Type)
			continue
		case tag == "":
			tag = f.Name
		}
		field := t.of(f.Type)
		constrain(field, f.Tag.Get("validate"))
		if field.Ref == "" || field.Description == "" {
			field.Description = t.comments.field(typ, f.Name)
		}
		s.Properties = append(s.Properties, property{tag, field})
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			s.Required = append(s.Required, tag)
		}
	}
}

// constrain adds what a `validate` tag says; what stands behind `dive` is about the entries.
func constrain(s *schema, tag string) {
	for rule := range strings.SplitSeq(tag, ",") {
		word, value, _ := strings.Cut(rule, "=")
		switch word {
		case "dive":
			_, rest, _ := strings.Cut(tag, "dive")
			constrain(s.Items, strings.TrimPrefix(rest, ","))
			return
		case "oneof":
			s.Enum = strings.Fields(value)
		case "printascii":
			s.Pattern = `^[ -~]*$`
		case "required", "min", "gte", "max", "lte":
			n, err := strconv.ParseInt(value, 10, 64)
			if word == "required" {
				n, err = 1, nil
			}
			if err != nil {
				panic(fmt.Sprintf("contract: rule %q: %v", rule, err))
			}
			s.bound(word, n)
		}
	}
}

func (s *schema) bound(word string, n int64) {
	least := word != "max" && word != "lte"
	switch {
	case s.Type == "string" && least:
		s.MinLength = int(n)
	case s.Type == "string":
		s.MaxLength = int(n)
	case s.Type == "array" && least:
		s.MinItems = int(n)
	case s.Type == "array":
		s.MaxItems = int(n)
	case s.Type == "integer" && word == "required": // a zero is not the same as nothing to clients
	case s.Type == "integer" && least:
		s.Minimum = &n
	case s.Type == "integer":
		s.Maximum = &n
	}
}

// close says of everything that clients send that unknown fields are refused.
func (t *types) close(s *schema) {
	if s == nil {
		return
	}
	if s.Ref != "" {
		s = t.named[strings.TrimPrefix(s.Ref, refBase)]
	}
	if s == nil || s.Additional == false {
		return
	}
	if s.Type == "object" && s.Additional == nil {
		s.Additional = false
	}
	t.close(s.Items)
	for _, p := range s.Properties {
		t.close(p.schema)
	}
}

var generic = regexp.MustCompile(`\[.*\]`)

// nameOf is a type's name in the contract: chat.Draft is ChatDraft, trade.Trade is Trade, and the
// gateway's own types have no prefix. A package inside a feature's folder has the feature's: ledger.Line of
// trade/ledger is TradeLine.
func nameOf(typ reflect.Type) string {
	name := generic.ReplaceAllString(typ.Name(), "")
	pkg := typ.PkgPath()[strings.LastIndexByte(typ.PkgPath(), '/')+1:]
	if feature, _, isNested := strings.Cut(strings.TrimPrefix(typ.PkgPath(), module), "/"); isNested && feature != "internal" && feature != "gateway" {
		pkg = feature
	}
	title := upper(name)
	if pkg == "gateway" || strings.HasPrefix(strings.ToLower(title), pkg) {
		return title
	}
	return upper(pkg) + title
}

func upper(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

// sorted are the names of all types.
func (t *types) sorted() []string {
	names := make([]string, 0, len(t.named))
	for n := range t.named {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func encode(v any) []byte {
	var b bytes.Buffer
	if err := json.MarshalWrite(&b, v, json.Deterministic(true), jsontext.WithIndent("  "), jsontext.EscapeForHTML(false)); err != nil {
		panic(fmt.Sprintf("contract: %v", err)) // it is all ours
	}
	b.WriteByte('\n')
	return b.Bytes()
}
