package event

import (
	"encoding"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// Nearly all payloads are as JSON.stringify writes them: no spaces, no escapes, each field once.
// This file reads those, in a third of the time that the JSON library takes. Everything that looks
// different, right or wrong, is left to the library, and so are types that contain anything else
// than structs, lists, strings, whole numbers and truth values.

// A shape describes a type that can be read here.
type shape struct {
	kind   reflect.Kind
	fields []member      // of a struct
	elem   *shape        // of a slice
	none   reflect.Value // an empty slice of the type
}

type member struct {
	quoted string // the name as it stands in JSON, with its colon
	index  int
	shape  *shape
}

// shapes holds the shape of every type that was decoded; nil for types that can not be read here.
var shapes sync.Map // reflect.Type to *shape

// decodePlain reads JSON into v. It reports false when the library must read it; v may then be
// partly set.
func decodePlain(b []byte, v reflect.Value) bool {
	known, ok := shapes.Load(v.Type())
	if !ok {
		known, _ = shapes.LoadOrStore(v.Type(), shapeOfType(v.Type(), 0))
	}
	s := known.(*shape)
	if s == nil {
		return false
	}
	rest, ok := s.readValue(b, v)
	return ok && len(rest) == 0
}

// shapeDepth is how deeply types, and so their JSON, may be nested.
const shapeDepth = 8

// selfDecoding are the interfaces of types that decode themselves.
var selfDecoding = []reflect.Type{
	reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[json.UnmarshalerFrom](), reflect.TypeFor[encoding.TextUnmarshaler](),
}

// shapeOfType returns the shape of a type, nil when it can not be read here.
func shapeOfType(t reflect.Type, depth int) *shape {
	for _, o := range selfDecoding {
		if t.Implements(o) || reflect.PointerTo(t).Implements(o) {
			return nil
		}
	}
	s := &shape{kind: t.Kind()}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return s
	case reflect.Slice:
		if depth == shapeDepth || t.Elem().Kind() == reflect.Uint8 {
			return nil
		}
		s.elem, s.none = shapeOfType(t.Elem(), depth+1), reflect.MakeSlice(t, 0, 0)
		if s.elem == nil {
			return nil
		}
		return s
	case reflect.Struct:
		if depth == shapeDepth || t.NumField() > 32 {
			return nil
		}
		for i := range t.NumField() {
			m, ok := memberOfField(t.Field(i), depth)
			if !ok {
				return nil
			}
			m.index = i
			s.fields = append(s.fields, m)
		}
		return s
	}
	return nil
}

func memberOfField(f reflect.StructField, depth int) (m member, ok bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	if f.Anonymous || !f.IsExported() || name == "" || name == "-" || strings.ContainsAny(name, `'"\`) {
		return m, false
	}
	if options != "" && options != "omitzero" && options != "omitempty" {
		return m, false
	}
	m.quoted = `"` + name + `":`
	m.shape = shapeOfType(f.Type, depth+1)
	return m, m.shape != nil
}

// readValue reads one value into v, and returns the rest of b.
func (s *shape) readValue(b []byte, v reflect.Value) (rest []byte, ok bool) {
	switch s.kind {
	case reflect.String:
		text, rest, ok := parsePlainString(b)
		if ok {
			v.SetString(string(text))
		}
		return rest, ok
	case reflect.Int, reflect.Int64:
		n, rest, ok := parsePlainInt(b)
		if ok {
			v.SetInt(n)
		}
		return rest, ok
	case reflect.Bool:
		yes := string(b[:min(len(b), 4)]) == "true"
		if !yes && string(b[:min(len(b), 5)]) != "false" {
			return nil, false
		}
		v.SetBool(yes)
		if yes {
			return b[4:], true
		}
		return b[5:], true
	case reflect.Slice:
		return s.readList(b, v)
	default:
		return s.readObject(b, v)
	}
}

func (s *shape) readObject(b []byte, v reflect.Value) (rest []byte, ok bool) {
	if len(b) < 2 || b[0] != '{' {
		return nil, false
	}
	if b[1] == '}' {
		return b[2:], true
	}
	seen, next := uint32(0), 0
	for b[0] != '}' {
		b = b[1:] // { or ,
		i := s.matchField(b, next)
		if i < 0 || seen&(1<<i) != 0 {
			return nil, false
		}
		seen |= 1 << i
		next = i + 1
		m := &s.fields[i]
		b, ok = m.shape.readValue(b[len(m.quoted):], v.Field(m.index))
		if !ok || len(b) == 0 || b[0] != ',' && b[0] != '}' {
			return nil, false
		}
	}
	return b[1:], true
}

// matchField returns the index of the field whose name b begins with, or -1. Most often it is the
// next one.
func (s *shape) matchField(b []byte, next int) int {
	for n := range s.fields {
		i := (next + n) % len(s.fields)
		if name := s.fields[i].quoted; len(b) >= len(name) && string(b[:len(name)]) == name {
			return i
		}
	}
	return -1
}

// firstCapacity is the first capacity of a list.
const firstCapacity = 2

func (s *shape) readList(b []byte, v reflect.Value) (rest []byte, ok bool) {
	if len(b) < 2 || b[0] != '[' {
		return nil, false
	}
	if b[1] == ']' {
		v.Set(s.none)
		return b[2:], true
	}
	for n := 0; b[0] != ']'; n++ {
		if n == v.Cap() {
			v.Grow(max(n, firstCapacity))
		}
		v.SetLen(n + 1)
		b, ok = s.elem.readValue(b[1:], v.Index(n))
		if !ok || len(b) == 0 || b[0] != ',' && b[0] != ']' {
			return nil, false
		}
	}
	return b[1:], true
}

// parsePlainString reads a string without escapes.
func parsePlainString(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != '"' {
		return nil, nil, false
	}
	ascii := byte(0)
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			text = b[1:i]
			return text, b[i+1:], ascii < utf8.RuneSelf || utf8.Valid(text)
		case c == '\\' || c < ' ':
			return nil, nil, false
		default:
			ascii |= c
		}
	}
	return nil, nil, false
}

// parsePlainInt reads a whole number of at most 18 digits.
func parsePlainInt(b []byte) (n int64, rest []byte, ok bool) {
	i, sign := 0, int64(1)
	if len(b) > 0 && b[0] == '-' {
		i, sign = 1, -1
	}
	from := i
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		if i-from == 18 {
			return 0, nil, false
		}
		n = 10*n + int64(b[i]-'0')
	}
	switch {
	case i == from, b[from] == '0' && i > 1: // 01, -0
		return 0, nil, false
	case i < len(b) && (b[i] == '.' || b[i] == 'e' || b[i] == 'E'):
		return 0, nil, false
	}
	return sign * n, b[i:], true
}
