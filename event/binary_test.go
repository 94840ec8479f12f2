package event_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// A picture has binary values at several depths.
type picture struct {
	Name   string                  `json:"name,omitzero"`
	Pixels event.Binary            `json:"pixels" validate:"required,max=4"`
	Layers []event.Binary          `json:"layers,omitzero" validate:"max=3"`
	Masks  map[string]event.Binary `json:"masks,omitzero"`
}

const held = `{"_placeholder":true,"num":`

// serveWith calls a route with binary values.
func serveWith(t *testing.T, r event.Route, raw string, values ...[]byte) (string, [][]byte, error) {
	t.Helper()
	a := &event.Attachments{In: values}
	out, err := r.Serve(event.WithAttachments(t.Context(), a), &event.Player{}, []byte(raw), nil)
	return string(out), a.Out, err
}

func TestBinaryValuesStandInTheirFields(t *testing.T) {
	t.Parallel()
	var got picture
	route := event.On("game:draw", func(_ context.Context, _ event.Player, in picture) (picture, error) {
		got = in
		return in, nil
	})
	require.True(t, route.TakesBinary)
	require.True(t, route.AnswersBinary)
	out, values, err := serveWith(t, route, `{"pixels":`+held+`2},"layers":[`+held+`0},null],"masks":{"a":{"num":1,"_placeholder":true}}}`, []byte("l"), []byte("m"), []byte("pp"))
	require.NoError(t, err)
	require.Equal(t, picture{Pixels: event.Binary("pp"), Layers: []event.Binary{event.Binary("l"), nil}, Masks: map[string]event.Binary{"a": event.Binary("m")}}, got)
	require.Equal(t, `{"pixels":`+held+`0},"layers":[`+held+`1},null],"masks":{"a":`+held+`2}}}`, out)
	require.Equal(t, [][]byte{[]byte("pp"), []byte("l"), []byte("m")}, values)

	one := [][]byte{[]byte("x")}
	for raw, c := range map[string]struct {
		values        [][]byte
		field, reason string
	}{
		`{"pixels":` + held + `0}}`:                                    {nil, "pixels", "expected a binary value"},
		`{"pixels":` + held + `1}}`:                                    {one, "pixels", "expected a binary value"},
		`{"pixels":` + held + `-1}}`:                                   {one, "pixels", "expected a binary value"},
		`{"pixels":{"_placeholder":true}}`:                             {one, "pixels", "expected a binary value"},
		`{"pixels":{"_placeholder":false,"num":0}}`:                    {one, "pixels", "expected a binary value"},
		`{"pixels":{"_placeholder":true,"num":0,"x":1}}`:               {one, "pixels", "expected a binary value"},
		`{"pixels":"eA=="}`:                                            {nil, "pixels", "expected a binary value"},
		`{"pixels":[120]}`:                                             {nil, "pixels", "expected a binary value"},
		`{"pixels":null}`:                                              {nil, "pixels", "required"},
		`{"pixels":` + held + `0},"layers":[` + held + `0}]}`:          {one, "layers[0]", "a binary value that stands elsewhere too"},
		`{"pixels":` + held + `0}}` + " ":                              {[][]byte{[]byte("x"), []byte("y")}, "", "a binary value that stands in no field"},
		`{"name":` + held + `0},"pixels":` + held + `1}}`:              {[][]byte{[]byte("x"), []byte("y")}, "name", "expected a string"},
		`{"pixels":` + held + `0}}` + "  ":                             {[][]byte{[]byte("12345")}, "pixels", "at most 4 bytes"},
		`{"pixels":` + held + `0},"pixels":` + held + `0}}`:            {one, "pixels", "given twice"},
		`{"pixels":` + held + `0},"layers":[null,null,null,null]}`:     {one, "layers", "at most 3 entries"},
		`{"pixels":` + held + `0},"masks":{"a":` + held + `9999999}}}`: {one, "masks.a", "expected a binary value"},
	} {
		_, _, err := serveWith(t, route, raw, c.values...)
		require.ErrorIs(t, err, fault.ErrInvalid, raw)
		f := fault.Of(err)
		require.Equal(t, [2]any{c.field, c.reason}, [2]any{f.Detail("field"), f.Detail("reason")}, raw)
	}

	out, _, err = serveWith(t, event.On("game:blank", func(context.Context, event.Player, event.None) (picture, error) { return picture{}, nil }), "")
	require.NoError(t, err)
	require.Equal(t, `{"pixels":null}`, out)
	_, _, err = event.AppendBinary(nil, nil, picture{Layers: make([]event.Binary, 20), Masks: map[string]event.Binary{}})
	require.NoError(t, err, "null is no binary value")
	many := make([]event.Binary, event.MaxBinaryValues+1)
	for i := range many {
		many[i] = event.Binary{1}
	}
	_, _, err = event.AppendBinary(nil, nil, many)
	require.ErrorContains(t, err, "more than 10 binary values", "clients refuse them")
}

// selfMade encodes itself.
type selfMade struct {
	Pixels event.Binary `json:"pixels"`
}

func (s selfMade) AppendJSON(dst []byte) []byte { return dst }
func (s selfMade) Order() (string, int64)       { return "", 1 }

func TestTablesThatCanNotWorkAreRefused(t *testing.T) {
	t.Parallel()
	draw := event.On("game:draw", func(_ context.Context, _ event.Player, in picture) (event.None, error) { return event.None{}, nil })
	require.NoError(t, event.CheckTables([]event.Route{draw}, []event.Cast{event.Sends[picture]("game:drawn", "").Volatile()}))
	keyed := draw
	keyed.OnceRule = &event.OnceRule{}
	question := event.Asks[event.None, picture]("game:show", "").Cast()
	question.IsVolatile = true
	err := event.CheckTables([]event.Route{
		keyed, event.On("game:make", func(context.Context, event.Player, event.None) (s selfMade, err error) { return s, nil }),
	}, []event.Cast{question, event.Sends[selfMade]("game:made", "").Volatile()})
	for _, want := range []string{
		"event game:draw: an event with binary values can not be done once", "event game:make: event_test.selfMade encodes itself",
		"cast game:show: a question can not be volatile", "cast game:made: event_test.selfMade has an order", "cast game:made: event_test.selfMade encodes itself",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 4, strings.Count(err.Error(), "\n"))
}
