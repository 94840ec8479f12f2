// Package serverapi is the server API: what programs of the game do to players by HTTP, beside the
// players' own events. It pushes events, closes and groups connections, and reads and changes what
// operators' commands read and change.
//
// Calls is the table of all calls, each a plain method of Service. The routes, the OpenAPI document
// (docs/openapi.json) and docs/server-api.md are made of it.
//
// A request passes these steps, in this order; the first that fails answers it with a fault as
// problem+json:
//
//  1. Its key is looked for (package apikeys), and must allow the call's scope.
//  2. The limit of the key is spent.
//  3. Its body, or its query, is decoded strictly and validated.
//  4. With an idempotency key, it is done once (package once), as events of players are.
//  5. The method is called, with a deadline. What it changed is in the audit log.
//
// A batch passes the first two steps once, and the others for each of its calls, in order.
package serverapi
