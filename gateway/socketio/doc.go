// Package socketio is what we plug into zishang520/socket.io: a strict parser, an ordered inbound
// path, an adapter that frames a broadcast once, and the connection to our Engine.IO server. The
// library keeps its server, namespaces, middleware, sockets and rooms API.
//
// # The life of a packet
//
//	engineio reads a message → link parses it, on the reading goroutine → the link's queue
//	→ one goroutine for each connection, which lives only while something waits → Receiver
//
// # Key invariants
//
//   - A Receiver is told what happens to a connection one thing at a time, in the order of the
//     wire: Admit, Connected, Event…, Disconnected.
//   - Connected is called before the first event, and Disconnected exactly once after the last,
//     however the connection ends.
//   - The library is told of a connection when its first CONNECT was admitted. It never sees
//     events: they go from the parser to the Receiver.
//   - A malformed packet closes its connection, and nothing else.
//
// # Several servers as one
//
// With Config.Cluster, all servers that share a Redis are one, ours and Node's with
// @socket.io/redis-adapter. The adapter that the library sees is then a clusterNamespace, which has
// the rooms of this node:
//
//	Cast, Emit → publishEvent packs JSON as msgpack (internal/jsonpack) → the queue of
//	internal/redisbus, bounded in bytes → PUBLISH → onBroadcast on each node unpacks it into
//	one frame → the members there
//
// A node subscribes to the channel for all, to requests and answers, and to the channel of each
// room (and socket) that it has. A room that is new on a node receives the casts of other nodes one
// round trip after its first Join; Namespace.Heard waits for that.
//
// On a Redis Cluster a room's messages go over sharded channels. A message may ask how many members
// it reaches: see Namespace.CastCount.
//
// Messages reach a node at most once, those of one sender in their order. What Redis does not take
// is dropped and counted; nothing waits for Redis.
//
// A request waits for our nodes by name, as long as their heartbeats come, and for Node's by
// number. It ends with the answers that came. A partial result is no error; it is counted, and
// reported where the result has room for it (Namespace.Members).
package socketio
