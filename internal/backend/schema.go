package backend

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// dialect is the JSON Schema that files are written in.
const dialect = "https://json-schema.org/draft/2020-12/schema"

const maxSchemaFile = 1 << 20 // bytes

// A schemaFile describes the events of a backend. It is JSON, with schemas of JSON Schema 2020-12
// in it, which may refer to those of $defs.
type schemaFile struct {
	Schema  string                    `json:"$schema,omitzero"`
	Comment string                    `json:"$comment,omitzero"`
	Title   string                    `json:"title,omitzero"`
	Doc     string                    `json:"description,omitzero"`
	Defs    map[string]jsontext.Value `json:"$defs,omitzero"`
	Events  map[string]*eventSchema   `json:"events,omitzero"`
	Casts   map[string]*castSchema    `json:"casts,omitzero"`
	Errors  map[string]string         `json:"errors,omitzero"` // of all events: codes and their messages
	Connect *connectSchema            `json:"connect,omitzero"`
}

// An eventSchema is one event that clients send.
type eventSchema struct {
	Doc     string            `json:"description,omitzero"`
	Payload jsontext.Value    `json:"payload,omitzero"`
	Data    jsontext.Value    `json:"data,omitzero"`
	Errors  map[string]string `json:"errors,omitzero"`

	payload, data *jsonschema.Schema // nil: any
}

// A castSchema is one event that the backend casts.
type castSchema struct {
	Doc     string         `json:"description,omitzero"`
	Payload jsontext.Value `json:"payload,omitzero"`

	payload *jsonschema.Schema
}

// A connectSchema says how clients are refused.
type connectSchema struct {
	Errors map[string]string `json:"errors,omitzero"`
}

var (
	typeName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,63}$`)
	errorCode = regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,63}$`)
)

// ownCodes are those that only the gateway may refuse with.
var ownCodes = []string{
	fault.ErrUnknownEvent.Code, fault.ErrUnauthenticated.Code, fault.ErrRateLimited.Code, fault.ErrUnavailable.Code, fault.ErrTimeout.Code,
	fault.ErrTooLarge.Code, fault.ErrInternal.Code, ErrAnswer.Code,
}

// commonCodes are those with which a backend may refuse any event.
var commonCodes = []string{fault.ErrInvalid.Code, fault.ErrForbidden.Code, fault.ErrNotFound.Code, fault.ErrConflict.Code, fault.ErrLocked.Code}

// readSchema reads a file and compiles its schemas.
func readSchema(path string) (*schemaFile, error) {
	raw, err := readFile(path, maxSchemaFile)
	if err != nil {
		return nil, err
	}
	s := &schemaFile{}
	if err := json.Unmarshal(raw, s, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, describeJSONError(raw, err))
	}
	if err := s.compileSchemas(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// describeJSONError says in which line a file is wrong.
func describeJSONError(raw []byte, err error) error {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	offset := int64(0)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.ByteOffset
	case errors.As(err, &semantic):
		offset = semantic.ByteOffset
		if errors.Is(err, json.ErrUnknownName) {
			err = fmt.Errorf("there is no %q: the members are $schema, $defs, events, casts, errors and connect; of an event description, payload, data and errors", semantic.JSONPointer)
		}
	}
	line := 1 + bytes.Count(raw[:min(int(offset), len(raw))], []byte("\n"))
	return fmt.Errorf("line %d: %w", line, err)
}

func (s *schemaFile) compileSchemas(raw []byte) error {
	if s.Schema != "" && strings.TrimSuffix(s.Schema, "#") != dialect {
		return fmt.Errorf("$schema must be %s", dialect)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	const base = "https://backend.invalid/schema.json"
	if err := compiler.AddResource(base, document); err != nil {
		return err
	}
	compile := func(schema jsontext.Value, at ...string) (*jsonschema.Schema, error) {
		if schema == nil {
			return nil, nil
		}
		compiled, err := compiler.Compile(base + "#/" + strings.Join(at, "/"))
		if err != nil {
			return nil, fmt.Errorf("%s: %s", strings.Join(at, ": "), strings.ReplaceAll(err.Error(), base, ""))
		}
		return compiled, nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Defs)) {
		if !typeName.MatchString(name) {
			return fmt.Errorf("$defs: %q must be letters and digits", name)
		}
		if _, err := compile(s.Defs[name], "$defs", name); err != nil {
			return err
		}
	}
	if err := checkCodes(s.Errors); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Events)) {
		e := s.Events[name]
		switch {
		case e == nil:
			return fmt.Errorf("events: %s must be an object", name)
		case !event.IsRawName(name):
			return fmt.Errorf("events: %q is no name such as quest:accept", name)
		}
		if err := checkCodes(e.Errors); err != nil {
			return fmt.Errorf("events: %s: %w", name, err)
		}
		if e.payload, err = compile(e.Payload, "events", name, "payload"); err != nil {
			return err
		}
		if e.data, err = compile(e.Data, "events", name, "data"); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Casts)) {
		c := s.Casts[name]
		switch {
		case c == nil:
			return fmt.Errorf("casts: %s must be an object", name)
		case !event.IsRawName(name):
			return fmt.Errorf("casts: %q is no name such as quest:done", name)
		}
		if c.payload, err = compile(c.Payload, "casts", name, "payload"); err != nil {
			return err
		}
	}
	if s.Connect != nil {
		if err := checkCodes(s.Connect.Errors); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
	}
	return nil
}

// checkCodes refuses what can not be a code, and those that only the gateway may use.
func checkCodes(codes map[string]string) error {
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		switch {
		case !errorCode.MatchString(code):
			return fmt.Errorf("errors: %q is no code such as QUEST_FULL", code)
		case slices.Contains(ownCodes, code):
			return fmt.Errorf("errors: %s is a code of the gateway", code)
		case strings.ContainsAny(codes[code], "\r\n") || len(codes[code]) > maxText:
			return fmt.Errorf("errors: the message of %s must be one line of at most %d bytes", code, maxText)
		}
	}
	return nil
}

// noLoader refuses to load anything: what a schema refers to is in its file.
type noLoader struct{}

// Load is called for what stands elsewhere.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is in another file: a schema may refer to what is in its own file", url)
}

// codesOf returns the codes of an event that are declared, with their messages.
func (s *schemaFile) codesOf(e *eventSchema) map[string]string {
	codes := maps.Clone(s.Errors)
	if codes == nil {
		codes = map[string]string{}
	}
	if e != nil {
		maps.Copy(codes, e.Errors)
	}
	return codes
}

var english = message.NewPrinter(language.English)

// validateValue checks JSON against a schema, which may be nil. The error is an INVALID fault.
func validateValue(schema *jsonschema.Schema, raw []byte) error {
	if schema == nil {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fault.Invalid("", "not valid JSON")
	}
	left := maxValues
	if err := checkNumbers(value, nil, &left); err != nil {
		return err
	}
	return toInvalidFault(schema.Validate(value))
}

const (
	maxValues    = 20_000 // in one payload
	maxNumber    = 64     // characters of a number
	maxMagnitude = 308    // of a number's exponent, as of a double
)

// checkNumbers refuses numbers that no client can mean, and too many values: the library computes
// with fractions of any length, once for each value.
func checkNumbers(value any, path []string, left *int) error {
	if *left--; *left < 0 {
		return fault.Invalid(joinPath(path), fmt.Sprintf("more than %d values", maxValues))
	}
	switch v := value.(type) {
	case stdjson.Number:
		if _, exponent, ok := strings.Cut(strings.ToLower(string(v)), "e"); ok {
			if n, err := strconv.Atoi(exponent); err != nil || n > maxMagnitude || n < -maxMagnitude {
				return fault.Invalid(joinPath(path), "number out of range")
			}
		}
		if len(v) > maxNumber {
			return fault.Invalid(joinPath(path), "number out of range")
		}
	case []any:
		for i, one := range v {
			if err := checkNumbers(one, append(path, strconv.Itoa(i)), left); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, one := range v {
			if err := checkNumbers(one, append(path, name), left); err != nil {
				return err
			}
		}
	}
	return nil
}

// toInvalidFault returns the INVALID fault for what a schema refuses. It names the first field.
func toInvalidFault(err error) error {
	var refused *jsonschema.ValidationError
	if err == nil {
		return nil
	}
	if !errors.As(err, &refused) {
		return fault.Invalid("", "not as the schema wants it")
	}
	for len(refused.Causes) > 0 {
		refused = refused.Causes[0]
	}
	path := refused.InstanceLocation
	reason := refused.ErrorKind.LocalizedString(english)
	switch k := refused.ErrorKind.(type) {
	case *kind.Required:
		path, reason = append(slices.Clip(path), k.Missing[0]), "required"
	case *kind.AdditionalProperties:
		path, reason = append(slices.Clip(path), k.Properties[0]), "unknown field"
	case *kind.FalseSchema:
		reason = "unknown field"
	case *kind.Type:
		reason = "expected " + strings.Join(k.Want, " or ")
	}
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return fault.Invalid(joinPath(path), reason)
}

const maxReason = 200 // bytes of a reason, which may quote the payload

// joinPath writes the path of a field as clients write it: items[0].qty.
func joinPath(tokens []string) string {
	var b strings.Builder
	for _, t := range tokens {
		if _, err := strconv.Atoi(t); err == nil {
			b.WriteString("[" + t + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(t)
	}
	return b.String()
}
