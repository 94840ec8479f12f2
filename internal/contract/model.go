package contract

import (
	"cmp"
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
	Version  string // of the server; "" is left out
}

// A Contract is what one server's clients may rely on. It does not change.
type Contract struct {
	version  string
	asks     []ask
	casts    []cast
	policies []Policy
	types    *types
	comments comments
}

// An ask is an event that clients send.
type ask struct {
	name     string
	doc      string // sentences
	refusals string // the sentence that names its codes, as the source has it
	in       *schema
	out      *schema
	codes    []string // all that it can be refused with, sorted
	limits   []string
	roles    []string
}

// A cast is an event that the server sends.
type cast struct {
	name, doc string
	payload   *schema
}

// shared are the codes that every event can be refused with. RATE_LIMITED is one of them, limit or
// not: who sends what nobody understands, too often, is told that.
var shared = []string{"INTERNAL", "INVALID", "PAYLOAD_TOO_LARGE", "RATE_LIMITED", "TIMEOUT", "UNAUTHENTICATED", "UNAVAILABLE"}

// New reads the tables. It panics when a payload has a type that JSON Schema has no word for.
func New(cfg Config) *Contract {
	known := readComments()
	c := &Contract{version: cfg.Version, policies: cfg.Policies, comments: known, types: newTypes(known)}
	for _, r := range cfg.Routes {
		c.asks = append(c.asks, c.ask(r))
	}
	for _, s := range cfg.Casts {
		c.casts = append(c.casts, cast{s.Name, s.Doc, c.types.of(s.Payload)})
	}
	slices.SortFunc(c.asks, func(a, b ask) int { return cmp.Compare(a.name, b.name) })
	slices.SortFunc(c.casts, func(a, b cast) int { return cmp.Compare(a.name, b.name) })
	return c
}

func (c *Contract) ask(r event.Route) ask {
	doc := c.comments.handler(r.Handler)
	a := ask{name: r.Name, limits: r.Limits, roles: r.Roles, codes: slices.Clone(shared)}
	a.doc, a.refusals = split(doc)
	a.codes = append(a.codes, c.comments.codes(doc)...)
	if len(r.Roles) > 0 {
		a.codes = append(a.codes, "FORBIDDEN")
	}
	slices.Sort(a.codes)
	a.codes = slices.Compact(a.codes)
	if !isNone(r.In) {
		a.in = c.types.of(r.In)
		c.types.close(a.in)
	}
	if !isNone(r.Out) {
		a.out = c.types.of(r.Out)
	}
	return a
}

func isNone(t reflect.Type) bool { return t == reflect.TypeFor[event.None]() }

// split parts a comment into what happens and how it is refused.
func split(doc string) (what, refusals string) {
	for _, sign := range []string{"Errors: ", "Codes: "} {
		if before, after, ok := strings.Cut(doc, sign); ok {
			return strings.TrimSpace(before), strings.TrimSpace(after)
		}
	}
	return doc, ""
}

// feature is the part of an event's name before the colon.
func feature(event string) string {
	name, _, _ := strings.Cut(event, ":")
	return name
}
