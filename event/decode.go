package event

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/go-playground/validator/v10"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
)

// Appender is what an answer or a cast's payload may implement to be encoded without reflection.
type Appender interface {
	// AppendJSON appends the value as JSON.
	AppendJSON(dst []byte) []byte
}

var validate = newValidator()

func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			return f.Name
		}
		return name
	})
	// It cannot fail: it has a name and a function. An id that may be absent is omitempty,id.
	_ = v.RegisterValidation("id", func(f validator.FieldLevel) bool { return identity.IsID(f.Field().String()) })
	return v
}

var emptyObject = []byte("{}") // only read

// Decode reads a payload strictly into in, a pointer to a zero value, and validates it by the
// `validate` tags of its fields. The error is an INVALID fault that names the field. An empty or
// null payload is an empty object.
func Decode(raw []byte, in any) error {
	if len(raw) == 0 || string(raw) == "null" {
		raw = emptyObject
	}
	if _, ok := in.(*None); ok && string(raw) == "{}" {
		return nil
	}
	v := reflect.ValueOf(in).Elem()
	if decodePlain(raw, v) {
		return validateDecoded(in)
	}
	v.SetZero() // plain may have set some fields
	return decodeAndValidate(raw, in)
}

// decodeAndValidate is Decode by the JSON library, with options.
func decodeAndValidate(raw []byte, in any, options ...json.Options) error {
	if len(raw) == 0 || string(raw) == "null" {
		raw = emptyObject
	}
	if err := decodeAny(raw, in, options...); err != nil {
		return toInvalidFault(err, utf8.Valid(raw))
	}
	return validateDecoded(in)
}

// validateDecoded checks what was decoded by the `validate` tags.
func validateDecoded(in any) error {
	v := reflect.ValueOf(in).Elem()
	if v.Kind() != reflect.Struct || !hasValidateRules(v.Type()) {
		return nil
	}
	if err := validate.Struct(in); err != nil {
		var fields validator.ValidationErrors
		if !errors.As(err, &fields) {
			return err
		}
		f := fields[0]
		_, path, ok := strings.Cut(f.Namespace(), ".")
		if !ok {
			path = f.Field()
		}
		return fault.Invalid(path, describeFailedRule(f))
	}
	return nil
}

// decodeAny reads a payload as the JSON library does, and what clients of other languages write
// besides: whole numbers with a fraction or an exponent, and half a surrogate pair, which becomes
// U+FFFD.
func decodeAny(raw []byte, in any, options ...json.Options) error {
	strict := json.JoinOptions(append(options, json.RejectUnknownMembers(true))...)
	raw = rewriteWholeNumbers(raw)
	if utf8.Valid(raw) { // then only half a surrogate pair is not
		return json.Unmarshal(raw, in, strict, jsontext.AllowInvalidUTF8(true))
	}
	return json.Unmarshal(raw, in, strict)
}

// typesWithRules remembers which types have anything to validate.
var typesWithRules sync.Map // reflect.Type to bool

func hasValidateRules(t reflect.Type) bool {
	if has, ok := typesWithRules.Load(t); ok {
		return has.(bool)
	}
	has := containsRules(t, nil)
	typesWithRules.Store(t, has)
	return has
}

// containsRules reports whether a type, or a type inside it, has `validate` tags. within are the
// structs that contain it, so that a recursive type ends.
func containsRules(t reflect.Type, within []reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return containsRules(t.Elem(), within)
	case reflect.Interface:
		return true // it may hold anything
	case reflect.Struct:
		if slices.Contains(within, t) {
			return false
		}
		within = append(slices.Clip(within), t)
		for i := range t.NumField() {
			f := t.Field(i)
			if _, has := f.Tag.Lookup("validate"); has || containsRules(f.Type, within) {
				return true
			}
		}
	}
	return false
}

// toInvalidFault returns the INVALID fault for an error of the JSON library. isUTF8 says whether
// the payload was UTF-8.
func toInvalidFault(err error, isUTF8 bool) error {
	var binary *binaryError
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &binary):
		return fault.Invalid(binary.field, binary.reason)
	case errors.As(err, &semantic):
		field := pointerToPath(semantic.JSONPointer)
		switch {
		case errors.Is(err, json.ErrUnknownName):
			return fault.Invalid(field, "unknown field")
		case semantic.GoType != nil && semantic.JSONKind != 0:
			return fault.Invalid(field, "expected "+describeKind(semantic.GoType))
		}
		return fault.Invalid(field, "wrong value")
	case errors.As(err, &syntax):
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			return fault.Invalid(pointerToPath(syntax.JSONPointer), "given twice")
		case !isUTF8:
			return fault.Invalid(pointerToPath(syntax.JSONPointer), "not UTF-8")
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
	}
	return fault.Invalid("", "not valid JSON")
}

// pointerToPath returns a JSON pointer as programmers write it: /give/items/0/qty is
// give.items[0].qty.
func pointerToPath(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.Atoi(token); err == nil {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if len(token) > 64 {
			token = token[:64]
		}
		b.WriteString(strings.ToValidUTF8(token, "?"))
	}
	return b.String()
}

func describeKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return describeKind(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "a whole number in range"
}

func describeFailedRule(f validator.FieldError) string {
	unit := ""
	switch f.Kind() {
	case reflect.Slice:
		if unit = " entries"; f.Type() == binaryType {
			unit = " bytes"
		}
	case reflect.String:
		unit = " characters"
	case reflect.Map, reflect.Array:
		unit = " entries"
	}
	switch f.Tag() {
	case "required":
		return "required"
	case "max", "lte":
		return "at most " + f.Param() + unit
	case "min", "gte":
		return "at least " + f.Param() + unit
	case "oneof":
		return "one of " + f.Param()
	case "id":
		return identity.IDRule
	}
	return "must be " + f.Tag()
}

func appendAnswerJSON(dst []byte, out any) ([]byte, error) {
	if a, ok := out.(Appender); ok {
		return a.AppendJSON(dst), nil
	}
	b := bytes.NewBuffer(dst)
	if err := json.MarshalWrite(b, out); err != nil {
		return dst, err
	}
	return b.Bytes(), nil
}
