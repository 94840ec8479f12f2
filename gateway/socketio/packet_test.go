package socketio

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// strict are the limits of these tests. Packets are written as on the wire of Engine.IO, with its
// leading 4.
var strict = limits{attachments: 10, depth: 32}

func parseWire(t testing.TB, wire string) (packet, error) {
	t.Helper()
	require.Equal(t, byte('4'), wire[0], "an Engine.IO message")
	return parsePacket([]byte(wire[1:]), strict)
}

// nest returns n lists within each other.
func nest(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestMalformed(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string]string{
		"nothing":                            "4",
		"no such type":                       `47["a"]`,
		"a letter":                           "4abc",
		"a probe inside a message":           "42probe",
		"white space first":                  `4 2["a"]`,
		"NUL":                                "4\x00",
		"NUL behind the type":                "42\x00[\"a\"]",
		"a second Engine.IO type":            `442["a"]`,
		"CONNECT_ERROR from a client":        `44{"message":"x"}`,
		"CONNECT_ERROR from a client, plain": "44",

		"EVENT alone":                      "42",
		"EVENT with an id and no list":     "421",
		"EVENT with an object":             "42{}",
		"EVENT with a string":              `42"a"`,
		"EVENT with a number as name":      "42[1]",
		"EVENT with an object as name":     `42[{"a":1}]`,
		"EVENT with null as name":          "42[null]",
		"EVENT with a list as name":        `42[["a"]]`,
		"EVENT without a name":             "42[]",
		"EVENT without a name, spaced":     "42[ ]",
		"EVENT cut after the bracket":      "42[",
		"EVENT cut in the name":            `42["a`,
		"EVENT cut after the name":         `42["a"`,
		"EVENT cut after a comma":          `42["a",`,
		"EVENT with a comma at the end":    `42["a",]`,
		"EVENT with a comma first":         `42[,"a"]`,
		"EVENT with two commas":            `42["a",,1]`,
		"EVENT without a comma":            `42["a" 1]`,
		"EVENT with rubbish behind":        `42["a"]x`,
		"EVENT with a second list":         `42["a"]["b"]`,
		"EVENT with white space behind":    `42["a"] `,
		"EVENT with NUL behind":            "42[\"a\"]\x00",
		"EVENT with white space before":    `42 ["a"]`,
		"EVENT with a byte order mark":     "42\ufeff[\"a\"]",
		"EVENT with an object not closed":  `42["a",{]`,
		"EVENT with brackets crossed":      `42["a",[{]}]`,
		"EVENT with a list not closed":     `42["a",[1]`,
		"EVENT with too long a name":       `42["` + strings.Repeat("a", maxEventName+1) + `"]`,
		"EVENT whose id is no number":      `42abc["a"]`,
		"EVENT with a negative id":         `42-1["a"]`,
		"EVENT with a fraction as id":      `421.5["a"]`,
		"EVENT with an id of 16 digits":    `421234567890123456["a"]`,
		"EVENT with an id of 400 digits":   "42" + strings.Repeat("9", 400) + `["a"]`,
		"EVENT with attachments in a text": `421-["a"]`,
		"EVENT to a namespace, cut":        "42/custom",
		"EVENT to a namespace, no comma":   `42/custom["a"]`,
		"EVENT to a namespace, two commas": `42/custom,,["a"]`,
		"namespace too long":               "42/" + strings.Repeat("n", maxNamespace) + `,["a"]`,
		"CONNECT to one too long":          "40/" + strings.Repeat("n", maxNamespace),
		"namespace without a slash":        `42custom,["a"]`,

		"ACK alone":                        "43",
		"ACK with an id only":              "431",
		"ACK with a huge id only":          "43999999999999999",
		"ACK without an id":                `43["a"]`,
		"ACK with an object":               "431{}",
		"ACK with a string":                `431"a"`,
		"ACK with null":                    "431null",
		"ACK cut":                          "431[",
		"ACK with rubbish behind":          "431[1]1",
		"ACK of a namespace without an id": "43/custom,[]",

		"CONNECT with an id":             "401",
		"CONNECT with an id and auth":    `401{"a":1}`,
		"CONNECT with a list":            "40[]",
		"CONNECT with a string":          `40"a"`,
		"CONNECT with null":              "40null",
		"CONNECT with true":              "40true",
		"CONNECT with half an object":    `40{"sessionId":`,
		"CONNECT with rubbish behind":    `40{"a":1}x`,
		"CONNECT with two objects":       "40{}{}",
		"CONNECT with white space":       "40 {}",
		"CONNECT, white space behind":    "40{} ",
		"CONNECT to custom with an id":   "40/custom,7",
		"CONNECT nested too deep":        `40{"a":` + nest(32) + `}`,
		"DISCONNECT with an object":      "41{}",
		"DISCONNECT with an id":          "411",
		"DISCONNECT with text":           "41bye",
		"DISCONNECT of custom with more": "41/custom,[]",

		"BINARY_EVENT alone":                "45",
		"BINARY_EVENT with no attachments":  "450-",
		"BINARY_EVENT with none, complete":  `450-["a"]`,
		"BINARY_EVENT with 00":              `4500-["a"]`,
		"BINARY_EVENT and nothing":          "451-",
		"BINARY_EVENT without a dash":       `451["a"]`,
		"BINARY_EVENT without a number":     `45-["a"]`,
		"BINARY_EVENT that ends in digits":  "4510",
		"BINARY_EVENT with a letter":        `45x-["a"]`,
		"BINARY_EVENT with a negative":      `45-1-["a"]`,
		"BINARY_EVENT with 11":              `4511-["a"]`,
		"BINARY_EVENT with 999":             `45999-["a"]`,
		"BINARY_EVENT with a huge number":   "45" + strings.Repeat("9", 300) + `-["a"]`,
		"BINARY_EVENT with a float":         `451.0-["a"]`,
		"BINARY_EVENT without a name":       `451-[{"_placeholder":true,"num":0}]`,
		"BINARY_EVENT, id only":             "451-1",
		"BINARY_ACK with none, to an id":    "460-1",
		"BINARY_ACK with none, a list":      "460-1[]",
		"BINARY_ACK without an id":          `461-[{"_placeholder":true,"num":0}]`,
		"BINARY_ACK with an object":         "461-1{}",
		"BINARY_EVENT, number out of range": `451-["a",{"_placeholder":true,"num":1}]`,
		"BINARY_EVENT, negative number":     `451-["a",{"_placeholder":true,"num":-1}]`,
		"BINARY_EVENT, number a fraction":   `451-["a",{"_placeholder":true,"num":0.5}]`,
		"BINARY_EVENT, number a string":     `451-["a",{"_placeholder":true,"num":"0"}]`,
		"BINARY_EVENT, number missing":      `451-["a",{"_placeholder":true}]`,
		"BINARY_EVENT, number deep inside":  `451-["a",{"b":[{"_placeholder":true,"num":7}]}]`,
		"BINARY_EVENT, escaped placeholder": `451-["a",{"\u005fplaceholder":true,"num":7}]`,
		"BINARY_ACK, number out of range":   `461-5[{"_placeholder":true,"num":1}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseWire(t, wire)
			require.Error(t, err, wire)
			require.ErrorIs(t, err, engineio.ErrMalformed)
			require.Regexp(t, "^malformed packet: .", err.Error())
			require.Less(t, len(err.Error()), 100, "what the client sent is not repeated to it")
		})
	}
	for name := range reserved {
		_, err := parseWire(t, `42["`+name+`"]`)
		require.ErrorIs(t, err, engineio.ErrMalformed, name)
		_, err = parseWire(t, fmt.Sprintf(`42["\u%04x%s"]`, name[0], name[1:]))
		require.ErrorIs(t, err, engineio.ErrMalformed, "%s, escaped", name)
	}
}

func TestWellFormed(t *testing.T) {
	t.Parallel()
	longName, longNsp := strings.Repeat("n", maxEventName), "/"+strings.Repeat("n", maxNamespace-1)
	for wire, want := range map[string]struct {
		kind        byte
		nsp         string
		id          uint64
		hasID       bool
		attachments int
		name, args  string
		count       int
		data        string
	}{
		"40":                      {kind: typeConnect, nsp: "/"},
		"40{}":                    {kind: typeConnect, nsp: "/", data: "{}"},
		`40{"sessionId":"s"}`:     {kind: typeConnect, nsp: "/", data: `{"sessionId":"s"}`},
		"40/,":                    {kind: typeConnect, nsp: "/"},
		"40/":                     {kind: typeConnect, nsp: "/"},
		"40/custom":               {kind: typeConnect, nsp: "/custom"},
		"40/custom,":              {kind: typeConnect, nsp: "/custom"},
		`40/custom,{"a":[1,2]}`:   {kind: typeConnect, nsp: "/custom", data: `{"a":[1,2]}`},
		"40/custom?token=a,{}":    {kind: typeConnect, nsp: "/custom?token=a", data: "{}"},
		"40" + longNsp:            {kind: typeConnect, nsp: longNsp},
		"41":                      {kind: typeDisconnect, nsp: "/"},
		"41/custom":               {kind: typeDisconnect, nsp: "/custom"},
		"41/custom,":              {kind: typeDisconnect, nsp: "/custom"},
		`42["a"]`:                 {kind: typeEvent, nsp: "/", name: "a", data: `["a"]`},
		`42[""]`:                  {kind: typeEvent, nsp: "/", data: `[""]`},
		`420["a"]`:                {kind: typeEvent, nsp: "/", id: 0, hasID: true, name: "a", data: `["a"]`},
		`42007["a"]`:              {kind: typeEvent, nsp: "/", id: 7, hasID: true, name: "a", data: `["a"]`},
		`42999999999999999["a"]`:  {kind: typeEvent, nsp: "/", id: 999999999999999, hasID: true, name: "a", data: `["a"]`},
		`42["a",1]`:               {kind: typeEvent, nsp: "/", name: "a", args: "1", count: 1, data: `["a",1]`},
		`42["a",{"b":"]"},[2,3]]`: {kind: typeEvent, nsp: "/", name: "a", args: `{"b":"]"},[2,3]`, count: 2, data: `["a",{"b":"]"},[2,3]]`},
		"42[ \"a\"\t,\r\n {} , 1 ]": {
			kind: typeEvent, nsp: "/", name: "a", args: "{} , 1", count: 2, data: "[ \"a\"\t,\r\n {} , 1 ]",
		},
		`42/custom,3["a",null]`:    {kind: typeEvent, nsp: "/custom", id: 3, hasID: true, name: "a", args: "null", count: 1, data: `["a",null]`},
		`42["\u0061\n",1]`:         {kind: typeEvent, nsp: "/", name: "a\n", args: "1", count: 1, data: `["\u0061\n",1]`},
		`42["ä€😀"]`:                {kind: typeEvent, nsp: "/", name: "ä€😀", data: `["ä€😀"]`},
		`42["` + longName + `"]`:   {kind: typeEvent, nsp: "/", name: longName, data: `["` + longName + `"]`},
		`42["a","\ud800"]`:         {kind: typeEvent, nsp: "/", name: "a", args: `"\ud800"`, count: 1, data: `["a","\ud800"]`},
		`42["a",` + nest(32) + `]`: {kind: typeEvent, nsp: "/", name: "a", args: nest(32), count: 1, data: `["a",` + nest(32) + `]`},
		"430[]":                    {kind: typeAck, nsp: "/", hasID: true, data: "[]"},
		"430[ ]":                   {kind: typeAck, nsp: "/", hasID: true, data: "[ ]"},
		`4312["x",{}]`:             {kind: typeAck, nsp: "/", id: 12, hasID: true, args: `"x",{}`, count: 2, data: `["x",{}]`},
		"43/custom,1[null]":        {kind: typeAck, nsp: "/custom", id: 1, hasID: true, args: "null", count: 1, data: "[null]"},
		`451-["a"]`:                {kind: typeBinaryEvent, nsp: "/", attachments: 1, name: "a", data: `["a"]`},
		`4510-/custom,9["a",{"_placeholder":true,"num":9}]`: {
			kind: typeBinaryEvent, nsp: "/custom", id: 9, hasID: true, attachments: 10, name: "a",
			args: `{"_placeholder":true,"num":9}`, count: 1, data: `["a",{"_placeholder":true,"num":9}]`,
		},
		`451-["a",{"_placeholder":false,"num":9}]`: {
			kind: typeBinaryEvent, nsp: "/", attachments: 1, name: "a",
			args: `{"_placeholder":false,"num":9}`, count: 1, data: `["a",{"_placeholder":false,"num":9}]`,
		},
		`461-4[{"_placeholder":true,"num":0}]`: {
			kind: typeBinaryAck, nsp: "/", id: 4, hasID: true, attachments: 1,
			args: `{"_placeholder":true,"num":0}`, count: 1, data: `[{"_placeholder":true,"num":0}]`,
		},
		`42["a",{"_placeholder":true,"num":9}]`: { // nothing but an object, where there is nothing binary
			kind: typeEvent, nsp: "/", name: "a", args: `{"_placeholder":true,"num":9}`, count: 1, data: `["a",{"_placeholder":true,"num":9}]`,
		},
	} {
		p, err := parseWire(t, wire)
		require.NoError(t, err, wire)
		require.Equal(t, string(want.kind), string(p.kind), wire)
		require.Equal(t, want.nsp, p.nsp, wire)
		require.Equal(t, want.id, p.id, wire)
		require.Equal(t, want.hasID, p.hasID, wire)
		require.Equal(t, want.attachments, p.attachments, wire)
		require.Equal(t, want.name, string(p.name), wire)
		require.Equal(t, want.args, string(p.args), wire)
		require.Equal(t, want.count, p.count, wire)
		require.Equal(t, want.data, string(p.data), wire)
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	for depth := range 5 {
		at := limits{attachments: 1, depth: depth}
		for open, shut := range map[string]string{"[": "]", `{"a":`: "}", `[{"a":`: "}]"} {
			levels := max(1, strings.Count(open, "[")+strings.Count(open, "{"))
			for n := range 6 {
				value := strings.Repeat(open, n) + "1" + strings.Repeat(shut, n)
				_, err := parsePacket([]byte(`2["a",`+value+`]`), at)
				require.Equal(t, n*levels <= depth, err == nil, "%s within %d", value, depth)
			}
		}
	}
	deep := strings.Repeat("[", 400_000) // must not grow the stack
	_, err := parsePacket([]byte(`2["a",`+deep), strict)
	require.ErrorIs(t, err, engineio.ErrMalformed)
}

func TestMove(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{`2["name",{"a":1},"b"]`, `2["name"]`, `2["\u006eame",1]`, `51-/custom,7["name",{"_placeholder":true,"num":0}]`, `39["a"]`, `0{"a":1}`, `2["",1]`} {
		for _, spare := range []int{0, 1, 64} { // room behind what was read, as a reader's buffer has
			from := make([]byte, 3, 3+len(wire)+spare)
			from = append(from, wire...)[3:]
			p, err := parsePacket(from, strict)
			require.NoError(t, err, wire)
			name, args, data := string(p.name), string(p.args), string(p.data)
			to := append([]byte(nil), from...)
			p.moveSlices(from, to)
			for i := range from {
				from[i] = '#' // the next message overwrites the buffer
			}
			require.Equal(t, []string{name, args, data}, []string{string(p.name), string(p.args), string(p.data)}, wire)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"0", `0{"sessionId":"s"}`, "0/custom,", "1", "1/custom", `2["a"]`, `27["a",{"b":[1,2.5e3,"\u00e9"]},null]`, `2/custom,3["a"]`, "30[]", `312["x"]`,
		`51-["a",{"_placeholder":true,"num":0}]`, `62-/custom,4[{"_placeholder":true,"num":1}]`, "2", "21", "50-", "60-1", "4abc", "2{}", "2[]", `2["connect"]`,
	} {
		f.Add([]byte(s))
	}
	for _, s := range []string{"nulL", "-0", "1e+", "01", `"\u12G4"`, `"\ud800"`, "\"\n\"", "[1,]", "[ ]", `{"a":1,"a":2}`, `{1:1}`, "[1]\x00", ""} {
		f.Add([]byte(`2["a",` + s + "]"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePacket(b, strict)
		if err != nil {
			require.ErrorIs(t, err, engineio.ErrMalformed)
			return
		}
		if len(p.data) > 0 {
			require.True(t, json.Valid(p.data), "%q", p.data)
		}
		require.LessOrEqual(t, len(p.nsp), maxNamespace)
		require.LessOrEqual(t, len(p.name), maxEventName)
		require.LessOrEqual(t, p.attachments, strict.attachments)
		switch p.kind {
		case typeEvent, typeBinaryEvent, typeAck, typeBinaryAck:
			var list []json.RawMessage
			require.NoError(t, json.Unmarshal(p.data, &list))
			if p.kind == typeEvent || p.kind == typeBinaryEvent {
				list = list[1:]
			}
			var rest []json.RawMessage
			require.NoError(t, json.Unmarshal([]byte("["+string(p.args)+"]"), &rest))
			require.Len(t, rest, p.count)
			require.Equal(t, list, rest)
			require.Len(t, splitValues(p.args, nil), p.count)
		}
		to := append([]byte(nil), b...)
		name, args := string(p.name), string(p.args)
		p.moveSlices(b, to)
		require.Equal(t, name, string(p.name))
		require.Equal(t, args, string(p.args))
	})
}
