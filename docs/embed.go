// Package docs holds the documents about the gateway, and embeds those that are generated.
package docs

import _ "embed" // for the documents below

// The contract with clients, as `make generate` wrote it.
var (
	// AsyncAPI is asyncapi.json: every event and every type as an AsyncAPI 3.0 document.
	//
	//go:embed asyncapi.json
	AsyncAPI []byte
	// TypeScript is events.d.ts: the events as types for socket.io-client.
	//
	//go:embed events.d.ts
	TypeScript []byte
	// Markdown is EVENTS.md: the events for people.
	//
	//go:embed EVENTS.md
	Markdown []byte
	// OpenAPI is openapi.json: the calls of the server API as an OpenAPI 3.1 document.
	//
	//go:embed openapi.json
	OpenAPI []byte
)
