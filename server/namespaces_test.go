package server

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
)

// plain is a feature of some events and casts.
type plain struct{ events, casts []string }

func (p plain) Routes() (routes []event.Route) {
	for _, name := range p.events {
		routes = append(routes, event.On(name, func(context.Context, event.Player, event.None) (event.None, error) { return event.None{}, nil }))
	}
	return routes
}

func (p plain) Casts() (casts []event.Cast) {
	for _, name := range p.casts {
		casts = append(casts, event.Sends[map[string]int](name, "Somebody did something."))
	}
	return casts
}

// placed is a feature with a namespace of its own.
type placed struct {
	plain
	namespace string
}

func (p placed) Namespace() string { return p.namespace }

func at(namespace string, events ...string) Feature { return placed{plain{events: events}, namespace} }

func TestNamespacesThatCanNotWorkAreRefused(t *testing.T) {
	t.Parallel()
	var many []Feature
	for i := range 17 {
		many = append(many, at(fmt.Sprint("/n", i)))
	}
	long := "/" + strings.Repeat("n", 33)
	for want, all := range map[string][]Feature{
		`"" is no namespace`:                                                     {at("")},
		`"quests" is no namespace`:                                               {at("quests")},
		`"/a/b" is no namespace`:                                                 {at("/a/b")},
		`"/a,b" is no namespace`:                                                 {at("/a,b")},
		`"/a#" is no namespace`:                                                  {at("/a#")},
		`"/ä" is no namespace`:                                                   {at("/ä")},
		`"/a\n" is no namespace`:                                                 {at("/a\n")},
		`"` + long + `" is no`:                                                   {at(long)},
		`"/" is the main namespace`:                                              {at("/")},
		`"/admin" is that of operator`:                                           {at("/admin")},
		"17 namespaces: at most 16":                                              many,
		"event a:b is served twice, in /q and in /q":                             {at("/q", "a:b"), at("/q", "a:b")},
		"event a:b is served twice, in / and in /q":                              {plain{events: []string{"a:b"}}, at("/q", "a:b")},
		"event a:b is served twice, in / and in /: ":                             {plain{events: []string{"a:b"}}, plain{events: []string{"a:b"}}},
		"event chat:join is served twice, in / and in /q":                        {at("/q", "chat:join")},
		"event session:ping: the gateway serves it itself, in each namespace":    {at("/q", "session:ping")},
		"cast a:c is sent in / and in /q":                                        {plain{casts: []string{"a:c"}}, placed{plain{casts: []string{"a:c"}}, "/q"}},
		"cast session: the gateway sends or serves an event of that name itself": {placed{plain{casts: []string{"session"}}, "/q"}},
	} {
		_, err := Contract(Config{Features: all}, "markdown")
		require.ErrorContains(t, err, want)
	}
	_, err := Contract(Config{Features: append(many[:15], at("/"+strings.Repeat("n", 32), "a:b"), at("/n0", "a:c"))}, "markdown")
	require.NoError(t, err, "16 namespaces, of which one has two features")
}

func TestTheContractNamesTheNamespaceOfEachEvent(t *testing.T) {
	t.Parallel()
	cfg := Config{Features: []Feature{placed{plain{[]string{"quest:take"}, []string{"quest:taken"}}, "/quests"}}}
	for form, wanted := range map[string][]string{
		"markdown": {
			"| `/quests` | `quest:take` | `quest:taken` |", "Each namespace has `error` `gateway:closing` `gateway:status` `limits` `session`",
			"Payload none, data `{}`. In the namespace `/quests`.", "Somebody did something. In `/quests`. |",
		},
		"typescript": {
			"  '/quests': {\n    'quest:take': (ack: (answer: Answer<Nothing, SharedCode>) => void) => void;\n  } & Pick<ClientToServerEvents, 'session:character' | 'session:logout' | 'session:ping' | 'session:time'>;",
			"    'quest:taken': (payload: Record<string, number>, offset?: string) => void;\n  } & Pick<ServerToClientEvents, 'error' |", "'ORIGIN_REFUSED' | 'OTHER_SESSION' | 'UNAVAILABLE';",
		},
		"asyncapi": {`"address": "/quests"`, `"#/channels/asks-quests/messages/quest.take"`, `namespaces / /quests.`},
	} {
		text, err := Contract(cfg, form)
		require.NoError(t, err)
		for _, want := range wanted {
			require.True(t, strings.Contains(string(text), want), "%s: %s", form, want) // Contains would print all
		}
	}
	main, err := Contract(Config{}, "typescript")
	require.NoError(t, err)
	require.False(t, strings.Contains(string(main), "EventsOf") || strings.Contains(string(main), "'OTHER_SESSION';"))
}
