package jsonpack

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
)

const maxDepth = 64

// unpack unpacks a value that must be valid.
func unpack(t testing.TB, b []byte) (out []byte, attachments [][]byte) {
	t.Helper()
	out, attachments, ok := Unpack(nil, b, 1<<20, maxDepth)
	require.True(t, ok)
	return out, attachments
}

func TestPackRoundTrip(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("0,", 70_000)
	for in, want := range map[string]string{
		`null`: `null`, `true`: `true`, `false`: `false`, `""`: `""`, `[]`: `[]`, `{}`: `{}`,
		`0`: `0`, `127`: `127`, `128`: `128`, `255`: `255`, `256`: `256`, `65535`: `65535`, `65536`: `65536`,
		`4294967295`: `4294967295`, `4294967296`: `4294967296`, `18446744073709551615`: `18446744073709551615`,
		`-1`: `-1`, `-32`: `-32`, `-33`: `-33`, `-128`: `-128`, `-129`: `-129`, `-32768`: `-32768`, `-32769`: `-32769`,
		`-2147483648`: `-2147483648`, `-2147483649`: `-2147483649`, `-9223372036854775808`: `-9223372036854775808`,
		`18446744073709551616`: `18446744073709552000`, `1.5`: `1.5`, `-0`: `-0`, `1e3`: `1000`, `1e21`: `1e+21`, `1E-7`: `1e-07`,
		`1e999`:                                    `null`, // as Node has it
		`"a\u0000\u001f\"\\\/\b\f\n\r\t"`:          "\"a\\u0000\\u001f\\\"\\\\/\\u0008\\u000c\\u000a\\u000d\\u0009\"",
		`"\u00e9\ud83d\ude00é😀"`:                   `"é😀é😀"`,
		`"\ud83d"`:                                 "\"\uFFFD\"", // half of a pair
		`"\ud83dx\ude00"`:                          "\"\uFFFDx\uFFFD\"",
		` { "a" : [ 1 , { "b" : "c" } ] } `:        `{"a":[1,{"b":"c"}]}`,
		`{"a":1,"a":2}`:                            `{"a":1,"a":2}`,
		"[" + many + "0]":                          "[" + many + "0]",
		`["` + strings.Repeat("x", 31) + `"]`:      `["` + strings.Repeat("x", 31) + `"]`,
		`["` + strings.Repeat("é", 200) + `"]`:     `["` + strings.Repeat("é", 200) + `"]`,
		`["` + strings.Repeat(`\n`, 70_000) + `"]`: `["` + strings.Repeat(`\u000a`, 70_000) + `"]`,
	} {
		b, ok := Pack([]byte("kept"), []byte(in), nil, maxDepth)
		require.True(t, ok, in[:min(len(in), 60)])
		require.Equal(t, "kept", string(b[:4]))
		got, _ := unpack(t, b[4:])
		require.Equal(t, want, string(got), in[:min(len(in), 60)])
	}
}

// TestPackAgrees compares with another encoder and decoder.
func TestPackAgrees(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		`[1,-1,300,-300,70000,-70000,5000000000,-5000000000,1.25,"x",null,true,{"k":["v",{}]}]`,
		`{"text":"` + strings.Repeat("long ", 100) + `","list":[` + strings.Repeat(`"a",`, 40) + `1]}`,
	} {
		b, ok := Pack(nil, []byte(in), nil, maxDepth)
		require.True(t, ok)
		var v any
		require.NoError(t, msgpack.Unmarshal(b, &v))
		out, err := json.Marshal(v)
		require.NoError(t, err)
		require.JSONEq(t, in, string(out))

		b, err = msgpack.Marshal(v)
		require.NoError(t, err)
		got, _ := unpack(t, b)
		require.JSONEq(t, in, string(got))
	}
}

func TestPackBinary(t *testing.T) {
	t.Parallel()
	parts := [][]byte{{1, 2, 3}, {}, bytes.Repeat([]byte{7}, 300), bytes.Repeat([]byte{8}, 70_000)}
	in := `["e",{"_placeholder":true,"num":2},{"x":[ { "num" : 0, "_placeholder" : true, "more": [1] } ]},{"_placeholder":true,"num":1},{"_placeholder":true,"num":3},{"_placeholder":false,"num":9}]`
	b, ok := Pack(nil, []byte(in), parts, maxDepth)
	require.True(t, ok)
	out, got := unpack(t, b)
	require.Equal(t, `["e",{"_placeholder":true,"num":0},{"x":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":2},{"_placeholder":true,"num":3},{"_placeholder":false,"num":9}]`, string(out))
	require.Equal(t, [][]byte{parts[2], parts[0], parts[1], parts[3]}, got)

	for _, bad := range []string{`[{"_placeholder":true,"num":4}]`, `[{"_placeholder":true,"num":-1}]`, `[{"_placeholder":true,"num":0.5}]`, `[{"_placeholder":true}]`} {
		_, ok := Pack(nil, []byte(bad), parts, maxDepth)
		require.False(t, ok, bad)
	}
	b, ok = Pack(nil, []byte(`[{"_placeholder":true,"num":4}]`), nil, maxDepth) // nothing binary: it is what it says
	require.True(t, ok)
	out, _ = unpack(t, b)
	require.Equal(t, `[{"_placeholder":true,"num":4}]`, string(out))
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		``, ` `, `nul`, `[`, `[1`, `[1,]`, `[1 2]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{1:2}`, `{"a" 1}`, `01`, `1.`, `-`, `"`, `"\x"`,
		"\"\x01\"", `1 2`, `[1]]`, strings.Repeat("[", 65) + strings.Repeat("]", 65),
	} {
		_, ok := Pack(nil, []byte(bad), nil, maxDepth)
		require.False(t, ok, bad)
	}
}

// What Node sends that JSON has no word for.
func TestUnpackNode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in, out string
		parts   int
	}{
		"undefined":         {"\xd4\x00\x00", `null`, 0},
		"array buffer":      {"\xc7\x03\x00abc", `{"_placeholder":true,"num":0}`, 1},
		"date, 32 bits":     {"\xd6\xff\x00\x00\x00\x01", `"1970-01-01T00:00:01.000Z"`, 0},
		"date, 64 bits":     {"\xd7\xff\x1d\xcd\x65\x00\x65\x00\x00\x00", `"2023-09-12T06:06:56.125Z"`, 0},
		"date, 96 bits":     {"\xc7\x0c\xff\x00\x0f\x42\x40\xff\xff\xff\xff\xff\xff\xff\xff", `"1969-12-31T23:59:59.001Z"`, 0},
		"date, before that": {"\xd7\x00\x00\x00\x00\x00\x00\x00\x03\xe8", `"1970-01-01T00:00:01.000Z"`, 0},
		"unknown ext":       {"\xd5\x05ab", `[5,{"_placeholder":true,"num":0}]`, 1},
		"float32":           {"\xca\x3f\xc0\x00\x00", `1.5`, 0},
		"NaN":               {"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", `null`, 0},
		"int keys":          {"\x82\x01\xa1a\xff\xa1b", `{"1":"a","-1":"b"}`, 0},
		"not UTF-8":         {"\xa3a\xffb", "\"a\uFFFDb\"", 0},
		"half a pair":       {"\xa3\xed\xa0\xbd", "\"\uFFFD\uFFFD\uFFFD\"", 0},
		"wide headers":      {"\xdd\x00\x00\x00\x01\xdb\x00\x00\x00\x01x", `["x"]`, 0},
	} {
		out, parts := unpack(t, []byte(c.in))
		require.Equal(t, c.out, string(out), name)
		require.Len(t, parts, c.parts, name)
		binaries := 0
		require.Equal(t, len(c.in), SkipPacked([]byte(c.in), 0, maxDepth, &binaries), name)
		require.Equal(t, c.parts, binaries, name)
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"nothing": "", "never used": "\xc1", "short text": "\xa5abc", "short list": "\x93\x01", "short map": "\x81\xa1a",
		"a list of billions": "\xdd\xff\xff\xff\xff", "a map of billions": "\xdf\xff\xff\xff\xff", "billions of bytes": "\xc6\xff\xff\xff\xffa",
		"short number": "\xcf\x00", "short length": "\xda\x01", "short ext": "\xc7\x05", "a list as a key": "\x81\x90\x01", "nil as a key": "\x81\xc0\x01",
		"too deep": strings.Repeat("\x91", 65) + "\xc0",
	} {
		_, _, ok := Unpack(nil, []byte(in), 1<<20, maxDepth)
		require.False(t, ok, name)
	}
	nulls := append([]byte{0xdc, 0, 200}, bytes.Repeat([]byte{0xc0}, 200)...)
	_, _, ok := Unpack(nil, nulls, 100, maxDepth)
	require.False(t, ok, "a value that is short as msgpack may be long as JSON")
}

func FuzzPack(f *testing.F) {
	for _, s := range []string{`[1,"a",{"b":null}]`, `"\ud83d\ude00"`, `{"_placeholder":true,"num":0}`, `-0.0`, `[[],{}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b, ok := Pack(nil, in, nil, 16)
		start := SkipSpace(in, 0)
		end := SkipValue(in, start, 16)
		require.Equal(t, end >= 0 && SkipSpace(in, end) == len(in), ok, "as the scanner judges")
		if !ok {
			return
		}
		out, _ := unpack(t, b)
		require.True(t, json.Valid(out))
		require.Equal(t, plain(t, in), plain(t, out))
		again, ok := Pack(nil, out, nil, 16)
		require.True(t, ok)
		twice, _ := unpack(t, again)
		require.Equal(t, string(out), string(twice), "what went through once stays as it is")
	})
}

// plain is JSON as Go has it; numbers that no double holds are null.
func plain(t testing.TB, b []byte) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	require.NoError(t, d.Decode(&v))
	return doubles(v)
}

func doubles(v any) any {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil || math.IsInf(f, 0) {
			return nil
		}
		return f
	case []any:
		for i := range v {
			v[i] = doubles(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = doubles(v[k])
		}
	}
	return v
}
