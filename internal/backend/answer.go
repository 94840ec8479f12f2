package backend

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/serverapi"
)

const (
	maxAnswer  = 256 << 10 // bytes
	maxKept    = 64 << 10  // bytes of an answer that is kept for a repeat
	maxCasts   = 64        // of one answer
	maxText    = 512       // bytes of a message
	maxDetails = 16        // beside code and message
)

// An answer is what a backend answered to an event.
type answer struct {
	data  []byte
	casts []gateway.Push
}

// A rawAnswer is the body of an answer.
type rawAnswer struct {
	Data  jsontext.Value   `json:"data"`
	Error jsontext.Value   `json:"error"`
	Casts []jsontext.Value `json:"casts"`
}

// parseAnswer reads the whole of an answer, before anything of it counts. The error is the refusal
// that the backend answered, or ErrAnswer.
func (b *backend) parseAnswer(raw []byte, described *eventSchema) (a answer, err error) {
	var r rawAnswer
	if err := readStrictly(raw, &r); err != nil {
		return a, b.answerFault(describeWrongJSON(err), errors.New(quoteBeginning(raw)))
	}
	if len(r.Error) > 0 && !isAbsentOrNull(r.Error) {
		if !isAbsentOrNull(r.Data) || len(r.Casts) > 0 {
			return a, b.answerFault("an error stands alone", nil)
		}
		return a, b.readRefusal(r.Error, b.schema.codesOf(described), len(b.schema.Events) == 0)
	}
	if isAbsentOrNull(r.Data) {
		r.Data = jsontext.Value("{}")
	}
	if err := checkDepth(r.Data); err != nil {
		return a, b.answerFault("data: "+err.Error(), nil)
	}
	if err := validateValue(described.data, r.Data); err != nil {
		return a, b.answerFault("data"+describeInvalid(err), nil)
	}
	if len(r.Casts) > maxCasts {
		return a, b.answerFault(fmt.Sprintf("casts: more than %d", maxCasts), nil)
	}
	for i, raw := range r.Casts {
		push, err := b.readCast(raw)
		if err != nil {
			return a, b.answerFault(fmt.Sprintf("casts[%d]%s", i, describeInvalid(err)), nil)
		}
		a.casts = append(a.casts, push)
	}
	a.data = r.Data
	return a, nil
}

// readCast reads one cast of an answer.
func (b *backend) readCast(raw []byte) (push gateway.Push, err error) {
	var c serverapi.CastRequest
	if err := event.Decode(raw, &c); err != nil {
		return push, err
	}
	if push, err = c.Resolve(b.service.opts.IsOwnEvent); err != nil {
		return push, err
	}
	if known := b.schema.Casts[push.Event]; known != nil {
		if err := validateValue(known.payload, push.JSON); err != nil {
			return push, err
		}
	}
	return push, nil
}

// readRefusal reads the error of an answer, and returns it as the fault that the player is shown;
// ErrAnswer where it is none. declared are the codes that the backend may use beside the common
// ones; with anyCode it may use any but the gateway's own.
func (b *backend) readRefusal(raw jsontext.Value, declared map[string]string, anyCode bool) error {
	var fields map[string]jsontext.Value
	if err := json.Unmarshal(raw, &fields); err != nil {
		return b.answerFault("error: expected an object", nil)
	}
	code, isText := readJSONText(fields["code"])
	message, isMessage := readJSONText(fields["message"])
	known, isDeclared := declared[code]
	if len(fields["message"]) == 0 {
		message, isMessage = known, isDeclared && known != ""
	}
	switch {
	case !isText || !errorCode.MatchString(code):
		return b.answerFault("error.code: expected a code such as QUEST_FULL", nil)
	case slices.Contains(ownCodes, code):
		return b.answerFault("error.code: "+code+" is a code of the gateway", nil)
	case !isDeclared && !anyCode && !slices.Contains(commonCodes, code):
		return b.answerFault("error.code: "+code+" is not in the schema", nil)
	case !isMessage || message == "" || len(message) > maxText || !utf8.ValidString(message):
		return b.answerFault(fmt.Sprintf("error.message: expected a text of 1 to %d bytes", maxText), nil)
	case len(fields)-2 > maxDetails:
		return b.answerFault(fmt.Sprintf("error: more than %d details", maxDetails), nil)
	}
	f := fault.New(code, message)
	if code == fault.ErrInvalid.Code { // clients rely on these
		for _, name := range []string{"field", "reason"} {
			text, isText := readJSONText(fields[name])
			if len(fields[name]) > 0 && !isText {
				return b.answerFault("error."+name+": expected a text", nil)
			}
			f = f.With(name, text)
			delete(fields, name)
		}
	}
	delete(fields, "code")
	delete(fields, "message")
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := checkDepth(fields[name]); err != nil {
			return b.answerFault("error: "+err.Error(), nil)
		}
		f = f.With(name, rawDetail(fields[name]))
	}
	return f
}

// A rawDetail is a detail of a refusal, as the backend wrote it.
type rawDetail jsontext.Value

// MarshalJSON returns it.
func (d rawDetail) MarshalJSON() ([]byte, error) { return d, nil }

// readJSONText reads a JSON string.
func readJSONText(raw jsontext.Value) (text string, ok bool) {
	if raw.Kind() != '"' || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

func isAbsentOrNull(raw jsontext.Value) bool { return len(raw) == 0 || raw.Kind() == 'n' }

// readStrictly decodes an answer. Unknown members, duplicate names and what is not UTF-8 are
// errors; half a surrogate pair is U+FFFD.
func readStrictly(raw []byte, into any) error {
	return json.Unmarshal(raw, into, json.RejectUnknownMembers(true), jsontext.AllowInvalidUTF8(utf8.Valid(raw)))
}

// describeWrongJSON says what is wrong with an answer, in a few words.
func describeWrongJSON(err error) string {
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &semantic) && errors.Is(err, json.ErrUnknownName):
		return "unknown member " + string(semantic.JSONPointer)
	case errors.As(err, &semantic) && semantic.JSONPointer != "":
		return strings.TrimPrefix(string(semantic.JSONPointer), "/") + ": wrong type"
	case errors.As(err, &semantic):
		return "expected an object"
	}
	return "not valid JSON"
}

// describeInvalid returns ": <field>: <reason>" of a refusal.
func describeInvalid(err error) string {
	f := fault.Of(err)
	field, _ := f.Detail("field").(string)
	reason, _ := f.Detail("reason").(string)
	if reason == "" {
		reason = f.Code
	}
	switch {
	case field == "":
		return ": " + reason
	case field[0] == '[':
		return field + ": " + reason
	}
	return "." + field + ": " + reason
}

// checkDepth refuses what is nested too deep for clients.
func checkDepth(raw []byte) error {
	if serverapi.IsTooDeep(raw) {
		return fmt.Errorf("nested more than %d deep", serverapi.MaxDepth)
	}
	return nil
}
