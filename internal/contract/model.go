package contract

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aeturnis/realtime/event"
)

// Policy is one limit, as players are told of it.
type Policy struct {
	Name     string `json:"name"`
	Limit    int    `json:"limit"`
	WindowMs int64  `json:"windowMs"`
	Scope    string `json:"scope"`
}

// Config is what a server has.
type Config struct {
	Routes   []event.Route
	Casts    []event.Cast
	Policies []Policy
	// Everywhere are the names of those events that each namespace has, not only its own.
	Everywhere []string
	// ConnectCodes are those with which a program of the game refuses clients, and their messages.
	ConnectCodes map[string]string
	Version      string    // of the server; "" is left out
	Comments     *Comments // nil: nothing is documented
}

// A Contract is what one server's clients may rely on. It does not change.
type Contract struct {
	version  string
	requests []request
	casts    []cast
	policies []Policy
	types    *typeTable
	comments *Comments

	connectCodes []string // beside the gateway's own, sorted
	everywhere   []string // the events that each namespace has
}

// A request is an event that clients send.
type request struct {
	name      string
	namespace string // of a feature's own; "" is the main one
	doc       string // sentences
	refusals  string // the sentence that names its codes, as the source has it
	in        *schema
	out       *schema
	codes     []string // all that it can be refused with, sorted
	limits    []string
	roles     []string
}

// A cast is an event that the server sends.
type cast struct {
	name, doc string
	namespace string // of a feature's own; "" is the main one
	payload   *schema
	reply     *schema // what clients answer; nil for a cast that is not answered
	hasOffset bool    // where recovery is on, the offset follows the payload

	isVolatile bool
}

// sentences returns what there is to say about a cast.
func (s cast) sentences() string {
	text := s.doc
	if s.isVolatile {
		text += " A client that is behind misses it (volatile)."
	}
	return text
}

// A namespaceEvents has the events of one namespace, those that each one has too.
type namespaceEvents struct {
	name     string // "/" is the main one
	requests []request
	casts    []cast
}

// isMain reports whether this is the main namespace.
func (n *namespaceEvents) isMain() bool { return n.name == mainNamespace }

const mainNamespace = "/"

// listNamespaces returns the events by namespace, the main one first.
func (c *Contract) listNamespaces() []namespaceEvents {
	names := map[string]bool{}
	for _, q := range c.requests {
		names[q.namespace] = true
	}
	for _, s := range c.casts {
		names[s.namespace] = true
	}
	delete(names, "")
	all := []namespaceEvents{{name: mainNamespace}}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, namespaceEvents{name: name})
	}
	for i := range all {
		isIn := func(name, namespace string) bool {
			return namespace == all[i].name || namespace == "" && (all[i].isMain() || slices.Contains(c.everywhere, name))
		}
		for _, q := range c.requests {
			if isIn(q.name, q.namespace) {
				all[i].requests = append(all[i].requests, q)
			}
		}
		for _, s := range c.casts {
			if isIn(s.name, s.namespace) {
				all[i].casts = append(all[i].casts, s)
			}
		}
	}
	return all
}

// sharedCodes are the codes that every event can be refused with. RATE_LIMITED is one of them even
// without a limit: a client that sends too many events that nobody understands gets it.
var sharedCodes = []string{
	"INTERNAL", "INVALID", "PAYLOAD_TOO_LARGE", "RATE_LIMITED", "TIMEOUT", "UNAUTHENTICATED", "UNAVAILABLE",
}

// New reads the tables. It panics when JSON Schema can not describe the type of a payload.
func New(cfg Config) *Contract {
	comments := cfg.Comments
	if comments == nil {
		comments = &Comments{}
	}
	c := &Contract{version: cfg.Version, policies: cfg.Policies, comments: comments, types: newTypeTable(comments), everywhere: cfg.Everywhere}
	for _, r := range cfg.Routes {
		if r.Schemas != nil {
			c.requests = append(c.requests, c.describeExternal(r))
			continue
		}
		c.requests = append(c.requests, c.describeRoute(r))
	}
	for _, s := range cfg.Casts {
		if s.Schemas != nil {
			c.casts = append(c.casts, cast{name: s.Name, doc: s.Doc, payload: c.types.schemaOfDocument(s.Schemas, s.Schemas.In), hasOffset: true})
			continue
		}
		c.casts = append(c.casts, c.describeCast(s))
	}
	slices.SortFunc(c.requests, func(a, b request) int { return cmp.Compare(a.name, b.name) })
	c.connectCodes = slices.Sorted(maps.Keys(cfg.ConnectCodes))
	c.addCodes(cfg.ConnectCodes)
	slices.SortFunc(c.casts, func(a, b cast) int { return cmp.Compare(a.name, b.name) })
	return c
}

func (c *Contract) describeRoute(r event.Route) request {
	doc := c.comments.aboutEvent(r)
	q := request{name: r.Name, namespace: r.Namespace, limits: r.Limits, roles: r.Roles, codes: slices.Clone(sharedCodes)}
	q.doc, q.refusals = splitRefusals(doc)
	q.codes = append(q.codes, c.comments.codesIn(doc)...)
	if len(r.Roles) > 0 {
		q.codes = append(q.codes, "FORBIDDEN")
	}
	slices.Sort(q.codes)
	q.codes = slices.Compact(q.codes)
	if !hasNoContent(r.In) {
		q.in = c.types.schemaOf(r.In)
		c.types.forbidUnknownFields(q.in)
	}
	if !hasNoContent(r.Out) {
		q.out = c.types.schemaOf(r.Out)
	}
	return q
}

func (c *Contract) describeCast(s event.Cast) cast {
	described := cast{name: s.Name, namespace: s.Namespace, doc: s.Doc, payload: c.types.schemaOf(s.Payload), hasOffset: !s.IsFleeting, isVolatile: s.IsVolatile}
	if s.Reply != nil {
		described.reply = &schema{Type: "object", Additional: false}
		if !hasNoContent(s.Reply) {
			described.reply = c.types.schemaOf(s.Reply)
			c.types.forbidUnknownFields(described.reply)
		}
	}
	return described
}

func hasNoContent(t reflect.Type) bool { return t == reflect.TypeFor[event.None]() }

// refusalSigns are the words with which a comment begins to list the codes of refusals.
var refusalSigns = []string{"Errors: ", "Codes: "}

// splitRefusals splits a comment into what happens and how the event is refused.
func splitRefusals(doc string) (what, refusals string) {
	for _, sign := range refusalSigns {
		if before, after, ok := strings.Cut(doc, sign); ok {
			return strings.TrimSpace(before), strings.TrimSpace(after)
		}
	}
	return doc, ""
}

// featureOf returns the part of an event's name before the colon.
func featureOf(event string) string {
	name, _, _ := strings.Cut(event, ":")
	return name
}
