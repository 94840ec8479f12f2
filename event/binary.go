package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
)

// This file has binary values: Socket.IO sends them beside the JSON, which has a placeholder for
// each.

// Binary is a binary value in a payload, an answer, a cast, a question or its reply: an
// ArrayBuffer, a Buffer or a typed array of the client. A route whose payload has no field of
// this type refuses binary values. The rules `required`, `min` and `max` of `validate` tags count
// bytes; the bytes of one packet are bounded by --max-payload. A handler must not change what it
// was given.
type Binary []byte

// MaxBinaryValues is how many binary values the server sends in one packet. Clients refuse more.
const MaxBinaryValues = 10

// Attachments are the binary values of one event: of its payload, and of its answer.
type Attachments struct{ In, Out [][]byte }

type attachmentsKey struct{}

// WithAttachments returns a context for Route.Serve with the binary values of a payload. Serve adds
// those of the answer.
func WithAttachments(ctx context.Context, a *Attachments) context.Context {
	return context.WithValue(ctx, attachmentsKey{}, a)
}

func attachmentsOf(ctx context.Context) *Attachments {
	if a, ok := ctx.Value(attachmentsKey{}).(*Attachments); ok {
		return a
	}
	return &Attachments{}
}

var binaryType = reflect.TypeFor[Binary]()

// typesWithBinary remembers which types may hold binary values.
var typesWithBinary sync.Map // reflect.Type to bool

// HasBinary reports whether values of a type may hold a Binary.
func HasBinary(t reflect.Type) bool {
	if t == nil {
		return false
	}
	if has, ok := typesWithBinary.Load(t); ok {
		return has.(bool)
	}
	has := containsBinary(t, nil)
	typesWithBinary.Store(t, has)
	return has
}

// containsBinary is HasBinary. within are the structs that contain the type, so that a recursive
// type ends.
func containsBinary(t reflect.Type, within []reflect.Type) bool {
	if t == binaryType {
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return containsBinary(t.Elem(), within)
	case reflect.Struct:
		if slices.Contains(within, t) {
			return false
		}
		within = append(slices.Clip(within), t)
		for i := range t.NumField() {
			if containsBinary(t.Field(i).Type, within) {
				return true
			}
		}
	}
	return false
}

// A placeholder stands in the JSON for a binary value.
type placeholder struct {
	IsPlaceholder bool `json:"_placeholder"`
	Num           *int `json:"num"`
}

// A binaryError says what is wrong with a binary value.
type binaryError struct{ field, reason string }

func (e *binaryError) Error() string { return "event: " + e.field + ": " + e.reason }

// decodeBinary is Decode for a type that may hold binary values. Each must stand in one field.
func decodeBinary(raw []byte, values [][]byte, in any) error {
	used := make([]bool, len(values))
	read := json.UnmarshalFromFunc(func(d *jsontext.Decoder, b *Binary) error {
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		if raw.Kind() == 'n' {
			*b = nil
			return nil
		}
		field := pointerToPath(d.StackPointer())
		var p placeholder
		if json.Unmarshal(raw, &p, json.RejectUnknownMembers(true)) != nil || !p.IsPlaceholder || p.Num == nil || *p.Num < 0 || *p.Num >= len(values) {
			return &binaryError{field, "expected a binary value"}
		}
		if used[*p.Num] {
			return &binaryError{field, "a binary value that stands elsewhere too"}
		}
		used[*p.Num] = true
		*b = slices.Clip(Binary(values[*p.Num]))
		return nil
	})
	if err := decodeAndValidate(raw, in, json.WithUnmarshalers(read)); err != nil {
		return err
	}
	if slices.Contains(used, false) {
		return fault.Invalid("", "a binary value that stands in no field")
	}
	return nil
}

// decodeWith decodes a payload or a reply, whose type may hold binary values.
func decodeWith(raw []byte, values [][]byte, in any) error {
	if HasBinary(reflect.TypeOf(in).Elem()) {
		return decodeBinary(raw, values, in)
	}
	if len(values) > 0 {
		return ErrBinaryNotTaken
	}
	return Decode(raw, in)
}

// ErrBinaryNotTaken refuses binary values where the table has none.
var ErrBinaryNotTaken = fault.Invalid("", "binary values are not taken")

// errTooManyValues says that a packet would have more binary values than clients take.
var errTooManyValues = fmt.Errorf("event: more than %d binary values", MaxBinaryValues)

// AppendBinary appends a value as JSON, with a placeholder for each Binary, and the binary values
// to values.
func AppendBinary(dst []byte, values [][]byte, v any) ([]byte, [][]byte, error) {
	write := json.MarshalToFunc(func(e *jsontext.Encoder, b Binary) error {
		if b == nil {
			return e.WriteToken(jsontext.Null)
		}
		if len(values) == MaxBinaryValues {
			return errTooManyValues
		}
		p := strconv.AppendInt([]byte(`{"_placeholder":true,"num":`), int64(len(values)), 10)
		values = append(values, b)
		return e.WriteValue(append(p, '}'))
	})
	buf := bytes.NewBuffer(dst)
	if err := json.MarshalWrite(buf, v, json.WithMarshalers(write)); err != nil {
		return dst, nil, err
	}
	return buf.Bytes(), values, nil
}

// CheckTables returns what is wrong with tables of events, so that it is found at start: binary
// values where they can not work, and casts that are one thing and another.
func CheckTables(routes []Route, casts []Cast) error {
	var all []error
	for _, r := range routes {
		if r.OnceRule != nil && (r.TakesBinary || r.AnswersBinary) {
			all = append(all, fmt.Errorf("event %s: an event with binary values can not be done once: records of answers hold none", r.Name))
		}
		for _, t := range []reflect.Type{r.In, r.Out} {
			if encodesItself(t) && HasBinary(t) {
				all = append(all, fmt.Errorf("event %s: %s encodes itself, so it can have no event.Binary", r.Name, t))
			}
		}
	}
	for _, c := range casts {
		if c.IsVolatile && c.Reply != nil {
			all = append(all, fmt.Errorf("cast %s: a question can not be volatile", c.Name))
		}
		if c.IsVolatile && c.Payload != nil && c.Payload.Implements(orderedType) {
			all = append(all, fmt.Errorf("cast %s: %s has an order, which a volatile cast can not keep", c.Name, c.Payload))
		}
		if encodesItself(c.Payload) && HasBinary(c.Payload) {
			all = append(all, fmt.Errorf("cast %s: %s encodes itself, so it can have no event.Binary", c.Name, c.Payload))
		}
	}
	return errors.Join(all...)
}

var orderedType = reflect.TypeFor[Ordered]()

var appenderType = reflect.TypeFor[Appender]()

func encodesItself(t reflect.Type) bool {
	return t != nil && (t.Implements(appenderType) || reflect.PointerTo(t).Implements(appenderType))
}
