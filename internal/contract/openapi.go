package contract

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aeturnis/realtime/fault"
)

// An APICall is one call of the server API.
type APICall struct {
	Name, Method, Path string
	Scope              string // "" needs none
	In, Out            reflect.Type
	Handler            string // the Go function, whose comment documents the call
	Doc                string // in place of that comment
	HasEffect          bool   // it takes an idempotency key
}

// An API is the server API, as programs may rely on it.
type API struct {
	calls    []apiCall
	types    *typeTable
	comments *Comments
}

type apiCall struct {
	APICall
	doc     string
	codes   []string
	in, out *schema
}

// Codes that every call can be refused with, and those that every call with an effect can be
// refused with as well.
var (
	sharedCallCodes = []string{"FORBIDDEN", "INTERNAL", "INVALID", "RATE_LIMITED", "TIMEOUT", "UNAUTHENTICATED", "UNAVAILABLE"}
	effectCodes     = []string{"CONFLICT", "LOCKED", "PAYLOAD_TOO_LARGE"}
)

// NewAPI describes calls.
func NewAPI(calls []APICall, comments *Comments) *API {
	a := &API{types: newTypeTable(comments), comments: comments}
	for _, c := range calls {
		doc := c.Doc
		if doc == "" {
			handler := strings.TrimPrefix(c.Handler, Module)
			doc = withoutSubject(handler[strings.LastIndexByte(handler, '.')+1:], comments.Handlers[handler])
		}
		described := apiCall{APICall: c, doc: doc, codes: append(comments.codesIn(doc), sharedCallCodes...), in: a.types.schemaOf(c.In), out: a.types.schemaOf(c.Out)}
		if c.HasEffect {
			described.codes = append(described.codes, effectCodes...)
		}
		slices.Sort(described.codes)
		described.codes = slices.Compact(described.codes)
		described.doc, _, _ = strings.Cut(doc, " Errors: ")
		a.types.forbidUnknownFields(described.in)
		a.calls = append(a.calls, described)
	}
	return a
}

type object = map[string]any

// OpenAPI returns the calls as an OpenAPI 3.1 document.
func (a *API) OpenAPI() []byte {
	paths, tags := object{}, []object{}
	for _, c := range a.calls {
		item, _ := paths[c.Path].(object)
		if item == nil {
			item = object{}
		}
		item[strings.ToLower(c.Method)] = a.operationOf(c)
		paths[c.Path] = item
		tag := object{"name": c.tag(), "description": "Calls of the scope " + c.tag() + "."}
		if c.Scope == "" {
			tag["description"] = "Several calls at once; each needs its own scope."
		}
		if !slices.ContainsFunc(tags, func(t object) bool { return t["name"] == tag["name"] }) {
			tags = append(tags, tag)
		}
	}
	schemas := object{
		refusalName: &schema{
			Description: "Why a call of a batch is refused. Details of the code stand beside code and message.", Type: "object", Required: []string{"code", "message"},
			Properties: properties{{"code", &schema{Type: "string"}}, {"message", &schema{Type: "string"}}},
		},
		"Problem": &schema{
			Description: "Why a call is refused (RFC 9457). Details of the code stand beside it.", Type: "object", Required: []string{"type", "title", "status", "code"},
			Properties: properties{
				{"type", &schema{Type: "string"}},
				{"title", &schema{Type: "string", Description: "for people"}},
				{"status", &schema{Type: "integer"}},
				{"code", &schema{Type: "string"}},
				{"field", &schema{Type: "string", Description: "of INVALID"}},
				{"reason", &schema{Type: "string"}},
				{"retryAfterMs", &schema{Type: "integer"}},
			},
		},
	}
	for name := range a.referredTypes() {
		schemas[name] = a.types.schemas[name]
	}
	return encodeIndented(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Realtime gateway: server API", "version": "1", "license": object{"name": "MIT", "identifier": "MIT"},
			"description": "What programs of the game do to players. docs/server-api.md has the rules that all calls share.",
		},
		"servers":  []object{{"url": "/", "description": "The address of --api-addr."}},
		"security": []object{{"key": []string{}}},
		"tags":     tags, "paths": paths,
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"key": object{"type": "http", "scheme": "bearer", "description": "A key of --api-keys-file."}},
		},
	})
}

// referredTypes returns the names of the types that the bodies of calls and answers refer to, also
// by way of others. The input of a GET is in its parameters.
func (a *API) referredTypes() map[string]bool {
	found := map[string]bool{}
	var add func(s *schema)
	add = func(s *schema) {
		if s == nil {
			return
		}
		if name, isRef := strings.CutPrefix(s.Ref, refBase); isRef && !found[name] && a.types.schemas[name] != nil {
			found[name] = true
			add(a.types.schemas[name])
		}
		add(s.Items)
		if inner, ok := s.Additional.(*schema); ok {
			add(inner)
		}
		for _, one := range s.OneOf {
			add(one)
		}
		for _, p := range s.Properties {
			add(p.schema)
		}
	}
	for _, c := range a.calls {
		add(c.out)
		if c.HasEffect {
			add(c.in)
			continue
		}
		for _, p := range a.types.schemas[strings.TrimPrefix(c.in.Ref, refBase)].Properties {
			add(p.schema)
		}
	}
	return found
}

// tag returns the group of a call in the documents.
func (c apiCall) tag() string {
	if c.Scope == "" {
		return "batch"
	}
	return c.Scope
}

// operationOf describes one call.
func (a *API) operationOf(c apiCall) object {
	operation := object{
		"operationId": c.Name, "summary": strings.TrimSuffix(firstSentence(c.doc), "."), "description": c.doc, "tags": []string{c.tag()},
		"responses": a.responsesOf(c),
	}
	var parameters []object
	if c.HasEffect {
		operation["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": c.in}}}
		parameters = append(parameters, object{
			"name": "Idempotency-Key", "in": "header", "schema": object{"type": "string", "minLength": 1, "maxLength": 64},
			"description": "1 to 64 printable characters. A repeat with the same key and the same payload gets the first answer; with another payload it is CONFLICT.",
		})
	} else {
		in := a.types.schemas[strings.TrimPrefix(c.in.Ref, refBase)]
		for _, p := range in.Properties {
			field := *p.schema
			description := field.Description
			field.Description = ""
			parameter := object{"name": p.name, "in": "query", "required": slices.Contains(in.Required, p.name), "schema": &field}
			if description != "" {
				parameter["description"] = description
			}
			parameters = append(parameters, parameter)
		}
	}
	if parameters != nil {
		operation["parameters"] = parameters
	}
	return operation
}

// responsesOf describes the answers to a call: that which is ok, and the refusals by status.
func (a *API) responsesOf(c apiCall) object {
	responses := object{"200": object{"description": "Done.", "content": object{"application/json": object{"schema": c.out}}}}
	byStatus := map[int][]string{}
	for _, code := range c.codes {
		status := (&fault.Fault{Code: code}).Status()
		byStatus[status] = append(byStatus[status], code)
	}
	for status, codes := range byStatus {
		responses[strconv.Itoa(status)] = object{
			"description": strings.Join(codes, ", "),
			"content":     object{"application/problem+json": object{"schema": &schema{Ref: refBase + "Problem"}}},
		}
	}
	return responses
}

// Markdown returns the calls for people, behind an introduction: docs/server-api.md.
func (a *API) Markdown(introduction string) []byte {
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("\n## Calls\n\n| call | request | scope |\n|---|---|---|\n")
	for _, c := range a.calls {
		fmt.Fprintf(&b, "| [`%s`](#%s) | `%s %s` | %s |\n", c.Name, strings.ReplaceAll(c.Name, ".", ""), c.Method, c.Path, c.tag())
	}
	for _, c := range a.calls {
		fmt.Fprintf(&b, "\n### %s\n\n`%s %s`. %s\n", c.Name, c.Method, c.Path, c.doc)
		own := slices.DeleteFunc(slices.Clone(c.codes), func(code string) bool {
			return slices.Contains(sharedCallCodes, code) || c.HasEffect && slices.Contains(effectCodes, code)
		})
		if len(own) > 0 {
			fmt.Fprintf(&b, "\nRefused with %s beside what every call can be refused with.\n", inBackticks(own))
		}
		if in := a.types.schemas[strings.TrimPrefix(c.in.Ref, refBase)]; len(in.Properties) > 0 {
			writeFields(&b, in)
		}
		fmt.Fprintf(&b, "\nAnswer: %s.\n", shortType(c.out, "`{}`"))
	}
	b.WriteString("\n## Types\n")
	for _, name := range a.types.sortedNames() {
		s := a.types.schemas[name]
		fmt.Fprintf(&b, "\n### type %s\n", name)
		if s.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", s.Description)
		}
		writeFields(&b, s)
	}
	methods := http.MethodGet + " reads, and " + http.MethodPost + " has an effect"
	fmt.Fprintf(&b, "\n## Codes\n\n%s. A refusal is `application/problem+json`; of every call with %s, and of every call with an effect with %s.\n",
		methods, inBackticks(sharedCallCodes), inBackticks(effectCodes))
	return []byte(b.String())
}
