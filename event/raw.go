package event

import (
	"context"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
)

// Schemas describe an event that a program beside the gateway serves or casts, for documentation.
type Schemas struct {
	// Doc tells in sentences what the event does.
	Doc string
	// Owner is the program, such as "quests": names of Types begin with it in documents.
	Owner string
	// In and Out are JSON Schemas of the payload and of the answer's data; nil says nothing of them.
	In, Out jsontext.Value
	// Types are the schemas that In and Out refer to as #/$defs/<name>.
	Types map[string]jsontext.Value
	// Codes are the messages of refusals, by code.
	Codes map[string]string
}

// A RawHandler serves one event whose payload it reads itself. fields are the members of the
// payload, an object, without the idempotency key. key is that key, "" when there is none. The
// handler appends the answer's JSON to dst. It must not keep fields after it has returned.
type RawHandler func(ctx context.Context, p *Player, fields map[string]jsontext.Value, key string, dst []byte) ([]byte, error)

var rawName = regexp.MustCompile(`^[a-z][a-z0-9]*(:[A-Za-z0-9][A-Za-z0-9_-]*)+$`)

// MaxNameLength is how many bytes the name of an event may have.
const MaxNameLength = 128

// IsRawName reports whether OnRaw takes a name.
func IsRawName(name string) bool { return len(name) <= MaxNameLength && rawName.MatchString(name) }

// OnRaw makes a route without types. The payload must be an object, or absent, which is an empty
// one; duplicate names are INVALID. OnRaw panics when the name is not of the form "feature:verb".
func OnRaw(name string, schemas *Schemas, h RawHandler) Route {
	if !IsRawName(name) {
		panic(fmt.Sprintf("event: bad name %q", name))
	}
	r := Route{Name: name, Schemas: schemas, identify: identifyRaw}
	r.Serve = func(ctx context.Context, p *Player, raw, dst []byte) ([]byte, error) {
		fields, err := readFields(raw)
		if err != nil {
			return dst, err
		}
		key := ""
		if claim := ClaimOf(ctx); claim != nil {
			key = claim.Key
			delete(fields, keyField)
		}
		return h(ctx, p, fields, key, dst)
	}
	return r
}

// readFields reads the members of a payload.
func readFields(raw []byte) (fields map[string]jsontext.Value, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return map[string]jsontext.Value{}, nil
	}
	isUTF8 := utf8.Valid(raw) // then half a surrogate pair is U+FFFD
	if err := json.Unmarshal(raw, &fields, jsontext.AllowInvalidUTF8(isUTF8)); err != nil {
		return nil, toInvalidFault(err, isUTF8)
	}
	return fields, nil
}

// identifyRaw is OnceRule.Identify for a payload without a type.
func identifyRaw(r *OnceRule, _ *Player, raw []byte, key string) (Request, error) {
	fields, err := readFields(raw)
	if err != nil {
		return Request{}, err
	}
	if own, isGiven := fields[keyField]; isGiven {
		var text string
		switch err := json.Unmarshal(own, &text); {
		case err != nil:
			return Request{}, fault.Invalid(keyField, "expected a string")
		case text == "":
			return Request{}, r.badKey(keyField)
		case key != "" && key != text:
			return Request{}, fault.Invalid(keyField, "is not that of the header Idempotency-Key")
		}
		key = text
		delete(fields, keyField)
	}
	if key == "" {
		return Request{}, nil
	}
	if !r.isKey(key) {
		return Request{}, r.badKey(keyField)
	}
	text, err := json.Marshal(fields, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return Request{}, err
	}
	digest, err := DigestJSON(text)
	return Request{Key: key, Digest: digest}, err
}
