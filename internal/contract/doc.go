// Package contract writes down what clients may rely on, from what the server really has: the
// tables of routes and casts, the types of their payloads, and the comments beside those in the
// source. Three forms say the same: AsyncAPI for tools, TypeScript for games, Markdown for people.
//
//   - model.go collects events and types; schema.go turns a Go type into a JSON Schema.
//   - asyncapi.go, typescript.go and markdown.go each write one form.
//   - comments.json holds the comments; gather/ reads them from the source, `make generate` runs it.
//
// What a payload takes is what its type and its `validate` tags say: a property is required unless
// its tag has omitempty or omitzero; `oneof` becomes an enum, and so do the constants of a named
// string type. Tags beside what is only sent are not checked by anything: they are documentation.
package contract
