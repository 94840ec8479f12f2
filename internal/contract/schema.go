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

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// A schema is a JSON Schema of draft 7, with the keywords that we need.
type schema struct {
	Ref         string         `json:"$ref,omitzero"`
	Description string         `json:"description,omitzero"`
	Type        string         `json:"type,omitzero"`
	Const       any            `json:"const,omitzero"`
	Enum        []string       `json:"enum,omitzero"`
	Pattern     string         `json:"pattern,omitzero"`
	Format      string         `json:"format,omitzero"` // "binary": a value beside the JSON; else ""
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

	written any // the schema as a program beside the gateway wrote it; else nil
}

// A property of an object, in the order of the Go type.
type property struct {
	name   string
	schema *schema
}

type properties []property

// MarshalJSONTo writes the properties in their order.
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

// A typeTable holds the named types of the contract.
type typeTable struct {
	comments *Comments
	names    map[reflect.Type]string
	schemas  map[string]*schema      // by name
	owners   map[string]reflect.Type // by name
}

func newTypeTable(c *Comments) *typeTable {
	return &typeTable{c, map[reflect.Type]string{}, map[string]*schema{}, map[string]reflect.Type{}}
}

const formatBinary = "binary"

const (
	refBase     = "#/components/schemas/"
	refusalName = "Refusal"
)

// schemaOf returns the schema of a Go type: a reference when the type has a name.
func (t *typeTable) schemaOf(typ reflect.Type) *schema {
	switch typ {
	case reflect.TypeFor[fault.Fault]():
		return &schema{Ref: refBase + refusalName}
	case reflect.TypeFor[event.Binary]():
		return &schema{Format: formatBinary}
	case reflect.TypeFor[jsontext.Value](), reflect.TypeFor[any]():
		return &schema{}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return t.schemaOf(typ.Elem())
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.String:
		if values := t.comments.constantsOf(typ); len(values) > 0 {
			return t.defineOnce(typ, func(s *schema) { s.Type, s.Enum = "string", values })
		}
		return &schema{Type: "string"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer", Minimum: new(int64)}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Slice, reflect.Array:
		return &schema{Type: "array", Items: t.schemaOf(typ.Elem())}
	case reflect.Map:
		return &schema{Type: "object", Additional: t.schemaOf(typ.Elem())}
	case reflect.Struct:
		if alternatives := alternativesOf(typ); len(alternatives) > 0 {
			s := &schema{}
			for _, one := range alternatives {
				s.OneOf = append(s.OneOf, t.schemaOf(one))
			}
			return s
		}
		if typ.Name() == "" {
			s := &schema{}
			t.addProperties(s, typ, typ)
			return s
		}
		return t.defineOnce(typ, func(s *schema) { t.addProperties(s, typ, typ) })
	}
	panic(fmt.Sprintf("contract: no schema for %s", typ))
}

// alternativesOf returns the types of which a value is one: those that a struct embeds by pointer,
// if it has nothing else.
func alternativesOf(typ reflect.Type) (all []reflect.Type) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.Anonymous || f.Type.Kind() != reflect.Pointer {
			return nil
		}
		all = append(all, f.Type.Elem())
	}
	return all
}

// defineOnce describes a type when it is met first, and returns a reference to it.
func (t *typeTable) defineOnce(typ reflect.Type, describe func(*schema)) *schema {
	name, known := t.names[typ]
	if !known {
		name = contractTypeName(typ)
		if other := t.owners[name]; other != nil {
			panic(fmt.Sprintf("contract: %s and %s are both named %s", other, typ, name))
		}
		s := &schema{Description: t.comments.aboutType(typ)}
		t.names[typ], t.owners[name], t.schemas[name] = name, typ, s // before describe: a type may hold itself
		describe(s)
	}
	return &schema{Ref: refBase + name}
}

// addProperties adds the fields of a struct to the object that describes owner: typ is owner, or a
// struct that is embedded in it.
func (t *typeTable) addProperties(s *schema, owner, typ reflect.Type) {
	s.Type = "object"
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case tag == "" && (f.Anonymous || strings.Contains(options, "inline")):
			t.addProperties(s, owner, f.Type)
			continue
		case tag == "":
			tag = f.Name
		}
		field := t.schemaOf(f.Type)
		addValidateRules(field, f.Tag.Get("validate"))
		if field.Ref == "" || field.Description == "" {
			field.Description = t.comments.aboutField(owner, typ, f.Name, tag)
		}
		s.Properties = append(s.Properties, property{tag, field})
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			s.Required = append(s.Required, tag)
		}
	}
}

// addValidateRules adds what a `validate` tag says. What stands behind `dive` is about the entries.
func addValidateRules(s *schema, tag string) {
	for rule := range strings.SplitSeq(tag, ",") {
		word, value, _ := strings.Cut(rule, "=")
		switch word {
		case "dive":
			_, rest, _ := strings.Cut(tag, "dive")
			addValidateRules(s.Items, strings.TrimPrefix(rest, ","))
			return
		case "oneof":
			s.Enum = strings.Fields(value)
		case "printascii":
			s.Pattern = `^[ -~]*$`
		case "id": // its bound counts bytes, of which a character has at least one
			s.setBound("max", 128)
		case "required", "min", "gte", "max", "lte":
			n, err := strconv.ParseInt(value, 10, 64)
			if word == "required" {
				n, err = 1, nil
			}
			if err != nil {
				panic(fmt.Sprintf("contract: rule %q: %v", rule, err))
			}
			s.setBound(word, n)
		}
	}
}

func (s *schema) setBound(word string, n int64) {
	isMinimum := word != "max" && word != "lte"
	switch {
	case (s.Type == "string" || s.Format == formatBinary) && isMinimum:
		s.MinLength = int(n)
	case s.Type == "string", s.Format == formatBinary:
		s.MaxLength = int(n)
	case s.Type == "array" && isMinimum:
		s.MinItems = int(n)
	case s.Type == "array":
		s.MaxItems = int(n)
	case s.Type == "integer" && word == "required": // zero is a value to clients, not an absent one
	case s.Type == "integer" && isMinimum:
		s.Minimum = &n
	case s.Type == "integer":
		s.Maximum = &n
	}
}

// forbidUnknownFields says of an object that clients send, and of all objects in it, that unknown
// fields are refused.
func (t *typeTable) forbidUnknownFields(s *schema) {
	if s == nil {
		return
	}
	if s.Ref != "" {
		s = t.schemas[strings.TrimPrefix(s.Ref, refBase)]
	}
	if s == nil || s.Additional == false {
		return
	}
	if s.Type == "object" && s.Additional == nil {
		s.Additional = false
	}
	t.forbidUnknownFields(s.Items)
	for _, p := range s.Properties {
		t.forbidUnknownFields(p.schema)
	}
}

var typeArguments = regexp.MustCompile(`\[.*\]`)

// contractTypeName returns the name of a type in the contract: chat.Draft is ChatDraft, trade.Trade
// is Trade, and the gateway's own types have no prefix. A package inside a feature's folder has the
// feature's prefix: ledger.Line of trade/ledger is TradeLine.
func contractTypeName(typ reflect.Type) string {
	return TypeName(typ.PkgPath(), typeArguments.ReplaceAllString(typ.Name(), ""))
}

// TypeName returns the name that a Go type has in the contract, given the path of its package.
func TypeName(pkgPath, name string) string {
	pkg := pkgPath[strings.LastIndexByte(pkgPath, '/')+1:]
	if folder, isOurs := strings.CutPrefix(pkgPath, Module); isOurs {
		feature, _, isNested := strings.Cut(folder, "/")
		if isNested && feature != "internal" && feature != "gateway" {
			pkg = feature
		}
	}
	title := capitalizeFirst(name)
	if pkg == "gateway" || pkg == "serverapi" || strings.HasPrefix(strings.ToLower(title), pkg) {
		return title
	}
	return capitalizeFirst(pkg) + title
}

func capitalizeFirst(s string) string {
	if s == "" {
		return ""
	}
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

// sortedNames returns the names of all types.
func (t *typeTable) sortedNames() []string {
	names := make([]string, 0, len(t.schemas))
	for n := range t.schemas {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func encodeIndented(v any) []byte {
	var b bytes.Buffer
	if err := json.MarshalWrite(&b, v, json.Deterministic(true), jsontext.WithIndent("  "), jsontext.EscapeForHTML(false)); err != nil {
		panic(fmt.Sprintf("contract: %v", err)) // every value in it is ours
	}
	b.WriteByte('\n')
	return b.Bytes()
}
