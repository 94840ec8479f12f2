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
//
// # Several servers as one
//
// With Config.Cluster, servers that share a Redis are one, ours and Node's with
// @socket.io/redis-adapter alike. The adapter that the library sees is then a
// clusterNamespace around the rooms of this node:
//
//	Cast, Emit → tell: JSON packed as msgpack → publisher's queue (bounded in bytes) → one
//	goroutine, pipelines → PUBLISH → subscriber's goroutine → unpacked into one frame → the
//	members here
//
// A node subscribes to the channel for all, to requests and answers, and to each room (and
// socket) that it has. A room that is new here hears the others a round trip after its first
// Join; Namespace.Heard waits for that.
//
// On a Redis Cluster a room's messages are sharded: see shards. A message may ask how many it
// reaches: see Namespace.CastCount.
//
// Messages reach a node at most once, those of one sender in their order. What Redis did not
// take is dropped and counted; nobody waits for Redis.
//
// Requests wait for our nodes by name, as long as their heartbeats are heard, and for Node's
// by number. They end with what there is: a partial result is counted, and told where the
// result has room for it (Namespace.Members), but is no error.
package socketio
