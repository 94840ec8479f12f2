// Package castlog is the log of what is cast to rooms: everybody hears what was acknowledged, in
// one order.
//
// On one Redis server a single script gives each cast the next position, writes it into the log of
// each of its rooms and into the history, and publishes it with its position. So what a node has
// heard is a prefix of one order. A node that was deaf for a while reads the logs from the last
// position that it heard.
//
// Casts of a node have sequence numbers without gaps. The server keeps the newest one of each node,
// and passes over a cast that it has already: after an unknown outcome the node sends the same
// casts again, and to a server that has forgotten those that it lacks.
//
//   - append.lua and read.lua are the scripts; history.lua has the functions about histories.
//   - log.go takes casts and keeps them until they are heard and safe.
//   - sender.go sends them, one script call at a time.
//   - tail.go has the end of a message: what identifies the cast, and its position.
//   - heard.go knows what this node has heard, and read.go reads what it missed.
//
// Redis keys: those that begin with "{<prefix>:log}:".
package castlog
