package event_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

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
		"bad UTF-8":            {"{\"to\":\"\xff\"}", "to", "not UTF-8"},
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

// A route that is done once says how; a table that is wrong panics.
func TestOnceTables(t *testing.T) {
	t.Parallel()
	type keyed struct {
		Item string `json:"item"`
		Key  string `json:"idempotencyKey"`
	}
	type unkeyed struct {
		Key int `json:"idempotencyKey"`
	}
	handler := func(context.Context, event.Player, keyed) (event.None, error) { return event.None{}, nil }
	route := event.On("shop:buy", handler).Once()
	require.Equal(t, 2*time.Minute, route.OnceRule.Keep)
	require.Nil(t, event.On("shop:buy", handler).OnceRule)
	day := event.On("shop:buy", handler).Once(event.KeepFor(24*time.Hour), event.KeyLength(128))
	request, err := day.OnceRule.Identify(&event.Player{}, []byte(`{"item":"x"}`), strings.Repeat("k", 128))
	require.NoError(t, err)
	require.Len(t, request.Digest, 16)
	require.Equal(t, 24*time.Hour, day.OnceRule.Keep)
	for name, wrong := range map[string]func(){
		"no key in the payload": func() {
			event.On("shop:buy", func(context.Context, event.Player, unkeyed) (event.None, error) { return event.None{}, nil }).Once()
		},
		"no payload": func() {
			event.On("shop:buy", func(context.Context, event.Player, event.None) (event.None, error) { return event.None{}, nil }).Once()
		},
		"no such old name": func() { event.On("shop:buy", handler).Once(event.OldKeyName("id")) },
		"of another payload": func() {
			event.On("shop:buy", handler).Once(event.Beside(func(event.Player, unkeyed) string { return "x" }))
		},
		"instant":        func() { event.On("shop:buy", handler).Instant().Once() },
		"not made by On": func() { event.Route{Name: "shop:buy"}.Once() },
	} {
		require.Panics(t, wrong, name)
	}
}

func TestIdentifyAllocatesNothingWithoutAKey(t *testing.T) {
	type keyed struct {
		Text string `json:"text"`
		Key  string `json:"idempotencyKey"`
	}
	rule := event.On("shop:say", func(context.Context, event.Player, keyed) (event.None, error) { return event.None{}, nil }).Once().OnceRule
	p, raw := &event.Player{}, []byte(`{"text":"the quick brown fox jumps over the lazy dog"}`)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if request, err := rule.Identify(p, raw, ""); err != nil || request.Key != "" {
			t.Error(request, err)
		}
	}))
	request, err := rule.Identify(p, []byte(`{"text":"say \"idempotencyKey\":"}`), "")
	require.NoError(t, err)
	require.Empty(t, request.Key, "a text that looks like a key")
}
