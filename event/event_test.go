package event_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

type item struct {
	ItemID string `json:"itemId" validate:"required,max=8"`
	Qty    int64  `json:"qty" validate:"min=1"`
}

type give struct {
	To    string `json:"to" validate:"required"`
	Items []item `json:"items" validate:"max=2,dive"`
}

func TestDecodeNamesTheField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ raw, field, reason string }{
		"unknown field":        {`{"to":"a","hp":9}`, "hp", "unknown field"},
		"nested unknown field": {`{"to":"a","items":[{"itemId":"x","qty":1,"__proto__":1}]}`, "items[0].__proto__", "unknown field"},
		"wrong type":           {`{"to":7}`, "to", "expected a string"},
		"fraction":             {`{"to":"a","items":[{"itemId":"x","qty":1.5}]}`, "items[0].qty", "expected a whole number in range"},
		"overflow":             {`{"to":"a","items":[{"itemId":"x","qty":9223372036854775808}]}`, "items[0].qty", "expected a whole number in range"},
		"other case":           {`{"TO":"a"}`, "TO", "unknown field"},
		"given twice":          {`{"to":"a","to":"b"}`, "to", "given twice"},
		"missing":              {`{}`, "to", "required"},
		"absent payload":       {``, "to", "required"},
		"null payload":         {`null`, "to", "required"},
		"too small":            {`{"to":"a","items":[{"itemId":"x","qty":0}]}`, "items[0].qty", "at least 1"},
		"too long":             {`{"to":"a","items":[{"itemId":"xxxxxxxxx","qty":1}]}`, "items[0].itemId", "at most 8 characters"},
		"too many":             {`{"to":"a","items":[{"itemId":"x","qty":1},{"itemId":"x","qty":1},{"itemId":"x","qty":1}]}`, "items", "at most 2 entries"},
		"a list":               {`[]`, "", "expected an object"},
		"a string":             {`"x"`, "", "expected an object"},
		"not JSON":             {`{"to":`, "", "not valid JSON"},
		"rubbish behind":       {`{"to":"a"} x`, "", "not valid JSON"},
		"bad UTF-8":            {"{\"to\":\"\xff\"}", "to", "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in give
			err := event.Decode([]byte(c.raw), &in)
			require.ErrorIs(t, err, fault.ErrInvalid)
			f := fault.Of(err)
			require.Equal(t, c.reason, f.Detail("reason"))
			if c.reason != "not valid JSON" {
				require.Equal(t, c.field, f.Detail("field"))
			}
		})
	}
}

func TestNoneTakesNothing(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "null", "{}", "{ }"} {
		require.NoError(t, event.Decode([]byte(raw), &event.None{}))
	}
	for _, raw := range []string{`{"x":1}`, "{x", "[]", "0"} {
		require.ErrorIs(t, event.Decode([]byte(raw), &event.None{}), fault.ErrInvalid, raw)
	}
}

func TestOnRefusesABadTable(t *testing.T) {
	t.Parallel()
	h := func(context.Context, event.Player, event.None) (event.None, error) { return event.None{}, nil }
	for _, name := range []string{"", "chat", "Chat:message", "chat:", "chat message"} {
		require.Panics(t, func() { event.On(name, h) }, name)
	}
}

func ExampleOn() {
	type hello struct {
		Name string `json:"name" validate:"required"`
	}
	route := event.On("guild:hello", func(_ context.Context, p event.Player, in hello) (map[string]string, error) {
		return map[string]string{"text": p.Username + " greets " + in.Name}, nil
	})
	answer, err := route.Serve(context.Background(), &event.Player{Username: "ann"}, []byte(`{"name":"bob"}`), nil)
	fmt.Println(string(answer), err)
	// Output: {"text":"ann greets bob"} <nil>
}

// Rules are found at any depth of a payload, also in a recursive type.
func TestRulesInsideOfPayloads(t *testing.T) {
	t.Parallel()
	type leaf struct {
		Name string `json:"name" validate:"max=3"`
	}
	type tree struct {
		Leaves []*leaf `json:"leaves" validate:"dive"`
		Under  []tree  `json:"under" validate:"dive"`
	}
	type plain struct {
		Under []plain `json:"under"`
		Name  string  `json:"name"`
	}
	type wrapped struct {
		In struct {
			Leaf leaf `json:"leaf"`
		} `json:"in"`
	}
	for name, c := range map[string]struct {
		in    any
		raw   string
		field string // that is wrong
	}{
		"fine":             {&tree{}, `{"leaves":[{"name":"abc"}]}`, ""},
		"in a list":        {&tree{}, `{"leaves":[{"name":"abcd"}]}`, "leaves[0].name"},
		"in itself":        {&tree{}, `{"under":[{"leaves":[{"name":"abcd"}]}]}`, "under[0].leaves[0].name"},
		"no rules":         {&plain{}, `{"under":[{"name":"abcd"}]}`, ""},
		"in a bare struct": {&wrapped{}, `{"in":{"leaf":{"name":"abcd"}}}`, "in.leaf.name"},
	} {
		err := event.Decode([]byte(c.raw), c.in)
		if c.field == "" {
			require.NoError(t, err, name)
			continue
		}
		var f *fault.Fault
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, c.field, f.Detail("field"), name)
	}
}
