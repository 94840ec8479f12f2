package contract

import "strings"

// AsyncAPI returns the contract as an AsyncAPI 3.0 document. Three channels stand for a namespace:
// what clients ask, how it is acknowledged, and what is cast to them; a fourth one, where there are
// questions, for what clients answer. The channels of another namespace than the main one, /quests,
// end with its name: asks-quests. Beyond the standard, an operation has x-limits, x-roles and
// x-codes, and the document has x-policies.
func (c *Contract) AsyncAPI() []byte {
	channels, operations := map[string]any{}, map[string]any{}
	namespaces := c.listNamespaces()
	about := "Socket.IO 4 (Engine.IO 4, protocol 5), path /socket.io/, namespace /. Every event takes one payload object at most, and an acknowledgement."
	if len(namespaces) > 1 {
		names := make([]string, len(namespaces))
		for i, n := range namespaces {
			names[i] = n.name
		}
		about = strings.Replace(about, "namespace /.", "namespaces "+strings.Join(names, " ")+".", 1)
	}
	for _, n := range namespaces {
		n.addChannels(channels, operations)
	}
	schemas := map[string]any{refusalName: c.refusalSchema()}
	for name, s := range c.types.schemas {
		schemas[name] = s
	}
	version := c.version
	if version == "" {
		version = "4" // of Socket.IO, where the server has no version
	}
	return encodeIndented(struct {
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
			"description": about,
		},
		"application/json",
		channels,
		operations,
		map[string]any{"schemas": schemas},
		c.policies,
	})
}

// addChannels adds the channels of a namespace, and the operations of its own events.
func (n *namespaceEvents) addChannels(channels, operations map[string]any) {
	asks, answers, casts, replies := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	channelOf := func(kind string) string {
		if n.isMain() {
			return kind
		}
		return kind + "-" + strings.TrimPrefix(n.name, "/")
	}
	for _, q := range n.requests {
		key := operationKey(q.name)
		asks[key] = message{Name: q.name, Summary: firstSentence(q.doc), Payload: q.in}
		answers[key] = message{Name: q.name, Title: "The answer to " + q.name, Payload: answerSchema(q)}
		if q.namespace == "" && !n.isMain() {
			continue // the operation is that of the main namespace
		}
		operations[key] = operation{
			Action: "receive", Channel: referenceTo("channels", channelOf("asks")),
			Summary: firstSentence(q.doc), Description: otherSentences(q), Tags: featureTags(q.name),
			Messages: []link{referenceTo("channels", channelOf("asks"), "messages", key)},
			Reply:    &reply{referenceTo("channels", channelOf("answers")), []link{referenceTo("channels", channelOf("answers"), "messages", key)}},
			Limits:   q.limits, Roles: q.roles, Codes: q.codes,
		}
	}
	for _, s := range n.casts {
		key := operationKey(s.name)
		casts[key] = message{Name: s.name, Summary: s.sentences(), Payload: s.payload}
		if s.namespace == "" && !n.isMain() {
			continue
		}
		sent := operation{
			Action: "send", Channel: referenceTo("channels", channelOf("casts")), Summary: s.sentences(), Tags: featureTags(s.name),
			Messages: []link{referenceTo("channels", channelOf("casts"), "messages", key)},
		}
		if s.reply != nil {
			replies[key] = message{Name: s.name, Title: "What a client answers to " + s.name, Payload: s.reply}
			sent.Reply = &reply{referenceTo("channels", channelOf("replies")), []link{referenceTo("channels", channelOf("replies"), "messages", key)}}
		}
		operations["on."+key] = sent
	}
	channels[channelOf("asks")] = channel{n.name, "What clients send.", asks}
	channels[channelOf("answers")] = channel{nil, "The acknowledgement of each: one object, {ok: true, data} or {ok: false, error}.", answers}
	channels[channelOf("casts")] = channel{n.name, "What the server sends by itself.", casts}
	if len(replies) > 0 {
		channels[channelOf("replies")] = channel{nil, "What clients answer to questions of the server: the acknowledgement's one value.", replies}
	}
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

func referenceTo(path ...string) link { return link{"#/" + strings.Join(path, "/")} }

func featureTags(event string) []map[string]string {
	return []map[string]string{{"name": featureOf(event)}}
}

// operationKey writes an event's name where a colon is not allowed; eventName reads it.
func operationKey(event string) string { return strings.ReplaceAll(event, ":", ".") }

func eventOfOperation(key string) string { return strings.ReplaceAll(key, ".", ":") }

// answerSchema describes the envelope of an acknowledgement.
func answerSchema(q request) *schema {
	data := q.out
	if data == nil {
		data = &schema{Type: "object"}
	}
	code := property{"code", &schema{Type: "string", Enum: q.codes}}
	return &schema{OneOf: []*schema{
		{
			Type: "object", Required: []string{"ok", "data"},
			Properties: properties{{"ok", &schema{Type: "boolean", Const: true}}, {"data", data}},
		},
		{
			Type: "object", Required: []string{"ok", "error"},
			Properties: properties{{"ok", &schema{Type: "boolean", Const: false}}, {"error", &schema{
				Type: "object", Properties: properties{code, {"message", &schema{Type: "string"}}}, Required: []string{"code", "message"},
			}}},
		},
	}}
}

// refusalSchema describes the error object, whatever its code.
func (c *Contract) refusalSchema() *schema {
	codes := make([]string, 0, len(c.comments.Faults))
	for _, known := range c.sortedCodes() {
		codes = append(codes, known.code)
	}
	return &schema{
		Description: "Why something is refused. Details of the code stand beside code and message.", Type: "object",
		Properties: properties{
			{"code", &schema{Type: "string", Enum: codes}},
			{"message", &schema{Type: "string", Description: "for people"}},
		},
		Required: []string{"code", "message"},
	}
}

const refusedWith = "Refused with "

// otherSentences returns what there is to say about an event beyond its first sentence.
func otherSentences(q request) string {
	text := strings.TrimSpace(strings.TrimPrefix(q.doc, firstSentence(q.doc)))
	if q.refusals != "" {
		text = strings.TrimSpace(text + " " + refusedWith + q.refusals)
	}
	return text
}

func firstSentence(text string) string {
	before, _, found := strings.Cut(text, ". ")
	if found {
		return before + "."
	}
	return text
}
