// Package socketio is what we plug into zishang520/socket.io: a strict parser, an ordered
// inbound path, an adapter whose broadcasts are framed once, and the glue to our Engine.IO
// server. The library keeps its server, namespaces, middleware, sockets and rooms API.
//
// # The life of a packet
//
//	engineio reads a message → link parses it, on the reading goroutine → the link's queue
//	→ one goroutine a connection, alive only while something waits → Receiver
//
// # Key invariants
//
//   - Whatever happens to one connection is told to its Receiver one thing at a time, in
//     the order of the wire: Admit, Connected, Event…, Disconnected.
//   - A Receiver's Connected runs before the first event, Disconnected exactly once after
//     the last, however the connection ends.
//   - The library is told of a connection when its first CONNECT was admitted, and never
//     sees events: they go from the parser to the Receiver.
//   - A malformed packet closes its connection, and nothing else.
package socketio
