// Package contract writes down what clients may rely on, from what the server really has: the
// tables of routes and casts, the types of their payloads, and the comments beside those in the
// source. Three documents say the same: AsyncAPI for tools, TypeScript for games, Markdown for
// people.
//
// The command in generate reads the source once and writes the three documents into docs, where
// they are embedded. A running server builds its own contract, because its limits and its features
// may differ: it takes the comments from the embedded documents (ReadPublished), and everything
// else from its own tables.
//
//   - model.go collects events and types; schema.go turns a Go type into a JSON Schema.
//   - comments.go holds the comments; published.go reads them back from generated documents.
//   - asyncapi.go, typescript.go and markdown.go each write one document.
//   - features.txt lists the folders that hold features, one a line.
//
// What a payload accepts follows from its type and its `validate` tags: a property is required
// unless its `json` tag has omitempty or omitzero; `oneof` becomes an enum, and so do the constants
// of a named string type. Tags on types that are only sent are checked by nothing: they are
// documentation.
package contract
