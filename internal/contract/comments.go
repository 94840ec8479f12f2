package contract

import (
	_ "embed"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

//go:embed comments.json
var gathered []byte

const module = "github.com/aeturnis/realtime/"

// comments are what the source says about the contract. Names are those of Go without the module:
// "chat.Draft", "chat.(*Service).Join".
type comments struct {
	// Types by name.
	Types map[string]typeComment `json:"types"`
	// Handlers are comments of the functions that serve events, by name.
	Handlers map[string]string `json:"handlers"`
	// Faults are messages by code.
	Faults map[string]string `json:"faults"`
}

type typeComment struct {
	Doc    string            `json:"doc,omitzero"`
	Fields map[string]string `json:"fields,omitzero"`
	Values []string          `json:"values,omitzero"` // of a named string type
}

func readComments() (c comments) {
	if err := json.Unmarshal(gathered, &c); err != nil {
		panic(fmt.Sprintf("contract: comments.json: %v", err))
	}
	return c
}

func goName(t reflect.Type) string { return strings.TrimPrefix(t.PkgPath(), module) + "." + t.Name() }

func (c comments) typ(t reflect.Type) string {
	return foreign(t, subjectless(t.Name(), c.Types[goName(t)].Doc))
}

func (c comments) field(t reflect.Type, name string) string {
	return foreign(t, subjectless(name, c.Types[goName(t)].Fields[name]))
}

// foreign writes the fields that a comment names as clients know them: MaxHP as maxHp.
func foreign(t reflect.Type, doc string) string {
	if t.Kind() != reflect.Struct {
		return doc
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" && inner.MatchString(f.Name) {
			doc = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(doc, name)
		}
	}
	return doc
}

// inner finds names that are no English words: those with a capital inside.
var inner = regexp.MustCompile(`[a-z][A-Z]`)

func (c comments) values(t reflect.Type) []string {
	if t.PkgPath() == "" {
		return nil
	}
	return c.Types[goName(t)].Values
}

func (c comments) handler(name string) string {
	name = strings.TrimPrefix(name, module)
	return subjectless(name[strings.LastIndexByte(name, '.')+1:], c.Handlers[name])
}

var word = regexp.MustCompile(`\b[A-Z]{3,}(_[A-Z]+)*\b`)

// codes are the known codes that a comment names.
func (c comments) codes(doc string) []string {
	found := word.FindAllString(doc, -1)
	return slices.DeleteFunc(found, func(code string) bool { _, known := c.Faults[code]; return !known })
}

// subjectless takes the name away with which a Go comment begins: "Join puts" is "Puts", "Draft is
// what" is "What".
func subjectless(name, doc string) string {
	for _, article := range []string{"A ", "An ", ""} {
		rest, ok := strings.CutPrefix(doc, article+name+" ")
		if !ok {
			continue
		}
		for _, verb := range []string{"is ", "are "} {
			rest = strings.TrimPrefix(rest, verb)
		}
		return upper(rest)
	}
	return doc
}
