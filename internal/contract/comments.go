package contract

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/aeturnis/realtime/event"
)

// Module is the import path of this project's root, with a slash behind it.
const Module = "github.com/aeturnis/realtime/"

// Comments are what the source says about the contract.
type Comments struct {
	// Types are the comments of payload types, by the type's name in the contract: "ChatDraft".
	Types map[string]*TypeComment
	// Handlers are the comments of functions that serve events, by the function's Go name without
	// the module: "chat.(*Service).Join".
	Handlers map[string]string
	// Events are the same comments by the event's name: "chat:join". They are used for events
	// whose handler is not in Handlers.
	Events map[string]string
	// Faults are the messages of faults, by code.
	Faults map[string]string
}

// TypeComment is what the source says about one type.
type TypeComment struct {
	Doc    string
	Fields map[string]string // by Go name, and by JSON name
	Values []string          // the constants of a named string type
}

// aboutType returns the comment of a type, written for clients.
func (c *Comments) aboutType(t reflect.Type) string {
	about := c.Types[contractTypeName(t)]
	if about == nil {
		return ""
	}
	return withJSONNames(t, withoutSubject(t.Name(), about.Doc))
}

// aboutField returns the comment of a field, written for clients. owner is the type whose object
// the field is in; it differs from declaring where a struct is embedded.
func (c *Comments) aboutField(owner, declaring reflect.Type, field, jsonName string) string {
	for _, t := range []reflect.Type{owner, declaring} {
		if about := c.Types[contractTypeName(t)]; about != nil {
			if doc := about.Fields[field]; doc != "" {
				return withJSONNames(declaring, withoutSubject(field, doc))
			}
			if doc := about.Fields[jsonName]; doc != "" {
				return doc
			}
		}
	}
	return ""
}

// constantsOf returns the constants of a named string type.
func (c *Comments) constantsOf(t reflect.Type) []string {
	if t.PkgPath() == "" {
		return nil
	}
	if about := c.Types[contractTypeName(t)]; about != nil {
		return about.Values
	}
	return nil
}

// aboutEvent returns the comment of the function that serves an event, written for clients.
func (c *Comments) aboutEvent(r event.Route) string {
	name := strings.TrimPrefix(r.Handler, Module)
	if doc := c.Handlers[name]; doc != "" {
		return withoutSubject(name[strings.LastIndexByte(name, '.')+1:], doc)
	}
	return c.Events[r.Name]
}

var codePattern = regexp.MustCompile(`\b[A-Z]{3,}(_[A-Z]+)*\b`)

// codesIn returns the known codes that a comment names.
func (c *Comments) codesIn(doc string) []string {
	found := codePattern.FindAllString(doc, -1)
	return slices.DeleteFunc(found, func(code string) bool { _, known := c.Faults[code]; return !known })
}

// withJSONNames replaces the Go fields that a comment names by what clients call them: MaxHP
// becomes maxHp.
func withJSONNames(t reflect.Type, doc string) string {
	if t.Kind() != reflect.Struct {
		return doc
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" && innerCapital.MatchString(f.Name) {
			doc = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(doc, name)
		}
	}
	return doc
}

// innerCapital finds names that are no English words: those with a capital letter inside.
var innerCapital = regexp.MustCompile(`[a-z][A-Z]`)

// withoutSubject removes the name with which a Go comment begins: "Join puts" becomes "Puts",
// "Draft is what" becomes "What".
func withoutSubject(name, doc string) string {
	for _, article := range []string{"A ", "An ", ""} {
		rest, ok := strings.CutPrefix(doc, article+name+" ")
		if !ok {
			continue
		}
		for _, verb := range []string{"is ", "are "} {
			rest = strings.TrimPrefix(rest, verb)
		}
		return capitalizeFirst(rest)
	}
	return doc
}
