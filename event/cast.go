package event

import "reflect"

// A Cast is one event that the server sends by itself.
type Cast struct {
	// Name is what the client listens for: "chat:message".
	Name string
	// Namespace is where the event is sent; "" is the main one. The server sets it.
	Namespace string
	// Payload is the type of the payload, for documentation.
	Payload reflect.Type
	// Reply is the type of what each client answers, for documentation; nil for a cast that is not
	// answered. See Question.
	Reply reflect.Type
	// Doc is one sentence: who receives it, and when.
	Doc string
	// IsFleeting means that nobody needs the event later: it is not logged, so a client whose node
	// was cut off from Redis misses it.
	IsFleeting bool
	// IsVolatile means that a client which is behind misses the event: see Volatile.
	IsVolatile bool
	// Schemas describe the payload in place of Payload, as In; else nil.
	Schemas *Schemas
}

// Fleeting returns the entry of an event that nobody needs later.
func (c Cast) Fleeting() Cast {
	c.IsFleeting = true
	return c
}

// Volatile returns the entry of an event that is only worth something at once, such as where
// somebody stands: as with Socket.IO's volatile flag, a client whose transport is busy does not
// get it. It is never logged, and never sent to a client that comes back.
func (c Cast) Volatile() Cast {
	c.IsFleeting, c.IsVolatile = true, true
	return c
}

// Sends makes an entry of a feature's table of casts: the server sends an event of this name with a
// payload of type T.
func Sends[T any](name, doc string) Cast {
	return Cast{Name: name, Payload: reflect.TypeFor[T](), Doc: doc}
}
