package event

import "reflect"

// A Cast is one event that the server sends to clients by itself.
type Cast struct {
	// Name is what the client listens for: "chat:message".
	Name string
	// Payload is the type of what comes with it, for documentation.
	Payload reflect.Type
	// Doc is one sentence: who is sent it, and when.
	Doc string
}

// Sends makes an entry of a feature's table of casts.
func Sends[T any](name, doc string) Cast {
	return Cast{Name: name, Payload: reflect.TypeFor[T](), Doc: doc}
}
