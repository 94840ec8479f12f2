package contract

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/docs"
)

// PublishedComments returns the comments in the documents that this program was built with.
var PublishedComments = sync.OnceValue(func() *Comments {
	c, err := ReadPublished(docs.AsyncAPI, docs.TypeScript)
	if err != nil {
		panic(err) // the generator wrote them
	}
	return c
})

// ReadPublished returns the comments that two generated documents carry, so that a server can
// describe itself without its source. The messages of faults are in the TypeScript document only.
func ReadPublished(asyncAPI, typeScript []byte) (*Comments, error) {
	var published struct {
		Operations map[string]operation `json:"operations"`
		Components struct {
			Schemas map[string]publishedSchema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(asyncAPI, &published); err != nil {
		return nil, fmt.Errorf("contract: published document: %w", err)
	}
	c := &Comments{Types: map[string]*TypeComment{}, Events: map[string]string{}, Faults: map[string]string{}}
	for key, op := range published.Operations {
		if op.Action == "receive" {
			c.Events[eventOfOperation(key)] = op.originalComment()
		}
	}
	for name, s := range published.Components.Schemas {
		about := &TypeComment{Doc: s.Description, Fields: map[string]string{}, Values: s.Enum}
		for property, p := range s.Properties {
			about.Fields[property] = p.Description
		}
		c.Types[name] = about
	}
	for _, m := range errorCodeLine.FindAllSubmatch(typeScript, -1) {
		c.Faults[string(m[1])] = string(m[2])
	}
	return c, nil
}

type publishedSchema struct {
	Description string                     `json:"description"`
	Enum        []string                   `json:"enum"`
	Properties  map[string]publishedSchema `json:"properties"`
}

// errorCodeLine is one entry of the type ErrorCode.
var errorCodeLine = regexp.MustCompile(`(?m)^  \| '([A-Z_]+)' // (.*)$`)

// originalComment puts an operation's sentences together again, as splitRefusals takes them apart.
func (o operation) originalComment() string {
	before, refusals, found := strings.Cut(o.Description, refusedWith)
	doc := strings.TrimSpace(o.Summary + " " + strings.TrimSpace(before))
	if found {
		doc = strings.TrimSpace(doc + " " + refusalSigns[0] + refusals)
	}
	return doc
}
