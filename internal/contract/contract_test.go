package contract

import (
	"context"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
)

type base struct {
	ID string `json:"id"`
}

type line struct {
	Qty int64 `json:"qty" validate:"min=1,max=9"`
}

type order struct {
	base
	To     string            `json:"to" validate:"required,max=64,printascii"`
	Kind   string            `json:"kind,omitempty" validate:"oneof=a b"`
	Lines  []line            `json:"lines" validate:"max=20,dive"`
	Tags   []string          `json:"tags,omitzero" validate:"min=1,dive,max=8"`
	Next   *order            `json:"next,omitzero"`
	Notes  map[string]string `json:"notes"`
	Count  uint8             `json:"count"`
	Part   float64           `json:"part"`
	Done   bool              `json:"done"`
	Hidden string            `json:"-"`
	secret int
}

func routes() []event.Route {
	h := func(context.Context, event.Player, order) (order, error) { return order{secret: 1}, nil }
	none := func(context.Context, event.Player, event.None) (event.None, error) { return event.None{}, nil }
	return []event.Route{event.On("shop:order", h).Limit("trade").Role("admin"), event.On("shop:close", none)}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	is := New(Config{Routes: routes(), Casts: []event.Cast{event.Sends[map[string]line]("shop:sold", "Sold.")}})
	var doc struct {
		Components struct {
			Schemas map[string]jsontext.Value `json:"schemas"`
		} `json:"components"`
		Operations map[string]map[string]any `json:"operations"`
		Channels   map[string]any            `json:"channels"`
	}
	require.NoError(t, json.Unmarshal(is.AsyncAPI(), &doc))
	require.JSONEq(t, `{
		"type": "object", "additionalProperties": false,
		"required": ["id", "to", "lines", "notes", "count", "part", "done"],
		"properties": {
			"id":    {"type": "string"},
			"to":    {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[ -~]*$"},
			"kind":  {"type": "string", "enum": ["a", "b"]},
			"lines": {"type": "array", "maxItems": 20, "items": {"$ref": "#/components/schemas/ContractLine"}},
			"tags":  {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 8}},
			"next":  {"$ref": "#/components/schemas/ContractOrder"},
			"notes": {"type": "object", "additionalProperties": {"type": "string"}},
			"count": {"type": "integer", "minimum": 0},
			"part":  {"type": "number"},
			"done":  {"type": "boolean"}
		}
	}`, string(doc.Components.Schemas["ContractOrder"]))
	require.JSONEq(t, `{
		"type": "object", "additionalProperties": false, "required": ["qty"],
		"properties": {"qty": {"type": "integer", "minimum": 1, "maximum": 9}}
	}`, string(doc.Components.Schemas["ContractLine"]))

	require.Equal(t, []any{"trade"}, doc.Operations["shop.order"]["x-limits"])
	require.Equal(t, []any{"admin"}, doc.Operations["shop.order"]["x-roles"])
	require.Subset(t, doc.Operations["shop.order"]["x-codes"], []any{"RATE_LIMITED", "FORBIDDEN", "INVALID"})
	require.NotContains(t, doc.Operations["shop.close"]["x-codes"], "FORBIDDEN")
	require.Equal(t, "send", doc.Operations["on.shop.sold"]["action"])
}

func TestTypeScript(t *testing.T) {
	t.Parallel()
	is := string(New(Config{Routes: routes(), Casts: []event.Cast{event.Sends[[]line]("shop:sold", "Sold.")}}).TypeScript())
	for _, want := range []string{
		"export interface ContractOrder {\n  id: string;\n  /** (not empty, at most 64 characters) */\n  to: string;\n  kind?: 'a' | 'b';\n",
		"  next?: ContractOrder;\n  notes: Record<string, string>;\n  count: number;\n",
		"  'shop:close': (ack: (answer: Answer<Nothing, SharedCode>) => void) => void;\n",
		"  /** Limited by trade. For admin only. */\n  'shop:order': (payload: ContractOrder, ack: (answer: Answer<ContractOrder, SharedCode | 'FORBIDDEN'>) => void) => void;\n",
		"  /** Sold. */\n  'shop:sold': (payload: ContractLine[], offset?: string) => void;\n",
	} {
		require.Contains(t, is, want)
	}
}

// A struct that only embeds pointers is one of these types.
func TestAlternatives(t *testing.T) {
	t.Parallel()
	type Either struct {
		*order
		*line
	}
	h := func(context.Context, event.Player, event.None) (Either, error) { return Either{}, nil }
	c := New(Config{Routes: []event.Route{event.On("shop:find", h)}})
	require.Contains(t, string(c.TypeScript()), "Answer<ContractOrder | ContractLine, SharedCode>")
	require.Contains(t, string(c.Markdown()), "[ContractOrder](#type-contractorder) or [ContractLine](#type-contractline)")
	require.Contains(t, string(c.AsyncAPI()), `"oneOf": [`)
}

func TestWhatHasNoSchemaIsAnError(t *testing.T) {
	t.Parallel()
	for name, cast := range map[string]event.Cast{
		"a channel": event.Sends[chan int]("x:y", ""), "a function": event.Sends[struct{ F func() }]("x:y", ""),
	} {
		require.Panics(t, func() { New(Config{Casts: []event.Cast{cast}}) }, name)
	}
}

func TestCommentsAreWrittenForClients(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Draft is what a player says.": "What a player says.",
		"Draft names it.":              "Names it.",
		"A Draft is one.":              "One.",
		"Drafts are many.":             "Drafts are many.",
		"":                             "",
	} {
		require.Equal(t, want, withoutSubject("Draft", in))
	}
	what, refusals := splitRefusals("Does it. Errors: INVALID, NOT_FOUND.")
	require.Equal(t, "Does it.", what)
	require.Equal(t, "INVALID, NOT_FOUND.", refusals)
	known := Comments{Faults: map[string]string{"NOT_FOUND": "", "INVALID": ""}}
	require.Equal(t, []string{"INVALID", "NOT_FOUND"}, known.codesIn("An NPC is INVALID or NOT_FOUND."))
}
