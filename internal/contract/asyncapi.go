package contract

import "strings"

// AsyncAPI is the contract as an AsyncAPI 3.0 document. Three channels stand for the one
// namespace: what clients ask, how it is acknowledged, what is cast to them. Beyond the standard,
// an operation has x-limits, x-roles and x-codes, and the document x-policies.
func (c *Contract) AsyncAPI() []byte {
	asks, answers, casts := map[string]any{}, map[string]any{}, map[string]any{}
	operations := map[string]any{}
	for _, a := range c.asks {
		key := dotted(a.name)
		asks[key] = message{Name: a.name, Summary: first(a.doc), Payload: a.in}
		answers[key] = message{Name: a.name, Title: "The answer to " + a.name, Payload: answer(a)}
		operations[key] = operation{
			Action: "receive", Channel: ref("channels", "asks"), Summary: first(a.doc), Description: describe(a), Tags: tags(a.name),
			Messages: []link{ref("channels", "asks", "messages", key)},
			Reply:    &reply{ref("channels", "answers"), []link{ref("channels", "answers", "messages", key)}},
			Limits:   a.limits, Roles: a.roles, Codes: a.codes,
		}
	}
	for _, s := range c.casts {
		key := dotted(s.name)
		casts[key] = message{Name: s.name, Summary: s.doc, Payload: s.payload}
		operations["on."+key] = operation{
			Action: "send", Channel: ref("channels", "casts"), Summary: s.doc, Tags: tags(s.name),
			Messages: []link{ref("channels", "casts", "messages", key)},
		}
	}
	schemas := map[string]any{refusal: c.refusal()}
	for name, s := range c.types.named {
		schemas[name] = s
	}
	version := c.version
	if version == "" {
		version = "4" // of Socket.IO, when the server has none
	}
	return encode(struct {
		AsyncAPI   string         `json:"asyncapi"`
		Info       map[string]any `json:"info"`
		Type       string         `json:"defaultContentType"`
		Channels   map[string]any `json:"channels"`
		Operations map[string]any `json:"operations"`
		Components map[string]any `json:"components"`
		Policies   []Policy       `json:"x-policies"`
	}{
		"3.0.0",
		map[string]any{
			"title": "Realtime gateway", "version": version,
			"description": "Socket.IO 4 (Engine.IO 4, protocol 5), path /socket.io/, namespace /. Every event takes one payload object at most, and an acknowledgement.",
		},
		"application/json",
		map[string]any{
			"asks":    channel{"/", "What clients send.", asks},
			"answers": channel{nil, "The acknowledgement of each: one object, {ok: true, data} or {ok: false, error}.", answers},
			"casts":   channel{"/", "What the server sends by itself.", casts},
		},
		operations,
		map[string]any{"schemas": schemas},
		c.policies,
	})
}

type channel struct {
	Address     any            `json:"address"`
	Description string         `json:"description"`
	Messages    map[string]any `json:"messages"`
}

type message struct {
	Name    string  `json:"name"`
	Title   string  `json:"title,omitzero"`
	Summary string  `json:"summary,omitzero"`
	Payload *schema `json:"payload,omitzero"`
}

type operation struct {
	Action      string              `json:"action"`
	Channel     link                `json:"channel"`
	Summary     string              `json:"summary,omitzero"`
	Description string              `json:"description,omitzero"`
	Tags        []map[string]string `json:"tags"`
	Messages    []link              `json:"messages"`
	Reply       *reply              `json:"reply,omitzero"`
	Limits      []string            `json:"x-limits,omitzero"`
	Roles       []string            `json:"x-roles,omitzero"`
	Codes       []string            `json:"x-codes,omitzero"`
}

type reply struct {
	Channel  link   `json:"channel"`
	Messages []link `json:"messages"`
}

type link struct {
	Ref string `json:"$ref"`
}

func ref(path ...string) link { return link{"#/" + strings.Join(path, "/")} }

func tags(event string) []map[string]string { return []map[string]string{{"name": feature(event)}} }

// dotted is an event's name where a colon is not allowed.
func dotted(event string) string { return strings.ReplaceAll(event, ":", ".") }

// answer is the envelope of an acknowledgement.
func answer(a ask) *schema {
	data := a.out
	if data == nil {
		data = &schema{Type: "object"}
	}
	code := property{"code", &schema{Type: "string", Enum: a.codes}}
	return &schema{OneOf: []*schema{
		{Type: "object", Properties: properties{{"ok", &schema{Type: "boolean", Const: true}}, {"data", data}}, Required: []string{"ok", "data"}},
		{
			Type: "object", Required: []string{"ok", "error"},
			Properties: properties{{"ok", &schema{Type: "boolean", Const: false}}, {"error", &schema{
				Type: "object", Properties: properties{code, {"message", &schema{Type: "string"}}}, Required: []string{"code", "message"},
			}}},
		},
	}}
}

// refusal is the error object, whatever its code.
func (c *Contract) refusal() *schema {
	codes := make([]string, 0, len(c.comments.Faults))
	for _, code := range c.codes() {
		codes = append(codes, code.name)
	}
	return &schema{
		Description: "Why something is refused. Details of the code stand beside code and message.", Type: "object",
		Properties: properties{{"code", &schema{Type: "string", Enum: codes}}, {"message", &schema{Type: "string", Description: "for people"}}},
		Required:   []string{"code", "message"},
	}
}

// describe is what there is to say of an event beyond its first sentence.
func describe(a ask) string {
	text := strings.TrimSpace(strings.TrimPrefix(a.doc, first(a.doc)))
	if a.refusals != "" {
		text = strings.TrimSpace(text + " Refused with " + a.refusals)
	}
	return text
}

// first is a text's first sentence.
func first(text string) string {
	before, _, found := strings.Cut(text, ". ")
	if found {
		return before + "."
	}
	return text
}
