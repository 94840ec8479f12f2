// Package engineio is an Engine.IO 4 server: polling, websocket and the upgrade between
// them, built so that nothing is lost or reordered while a connection lives, and so that
// nothing a client does can grow without bound.
//
// # Key invariants
//
//   - A connection ends once: the goroutine that ends it tells the handler.
//   - Inbound: Handler.Message is called by one goroutine at a time, in the order of the
//     wire. While it blocks, nothing more is read: TCP slows the sender, a POST waits.
//   - Outbound: one queue in order, bounded in bytes. It stays with the connection when the
//     transport changes at the upgrade.
//   - An idle websocket costs one goroutine without a buffer, and one timer.
//   - Conn's methods may be called from any goroutine.
//
// The protocol is described at https://socket.io/docs/v4/engine-io-protocol/.
package engineio
