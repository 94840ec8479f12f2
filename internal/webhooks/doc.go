// Package webhooks tells a program of the game what happens: who connects and disconnects, which
// sessions end, what is reported, fought, traded and minted.
//
// What happens is written into a stream in Redis (Outbox), by the script that makes it happen where
// there is one, so that nothing is lost between the two. The nodes are one consumer group. One of
// them at a time, which has a lease, reads the stream and posts each event, signed, to the receiver
// (Dispatcher). An event waits until the earlier ones of all its players are delivered. It is
// removed when the receiver has answered 2xx; so it is delivered at least once, also when nodes,
// the receiver or Redis's connections die, and a receiver knows repeats by the event's id.
//
//	waiting    in the stream; known to the node with the lease
//	delivered  the receiver answered 2xx; removed before the next event of its players is posted
//	failed     anything else; posted again after Config.Retry, then four times as long each time
//	parked     failed ten times, or was refused twice while the receiver took others and holds up too
//	           many; it stays for Replay, and the next events of its players go on
//
// Bounds: Outbox.Max events wait, beyond which new ones are dropped and counted; 10,000 are parked,
// beyond which the oldest go; a node has the order of all that wait in memory, the contents of
// 10,000, and 32 posts under way, at most half of them of events that failed before.
//
// An event that Redis refuses stops nothing: it is counted. See Outbox.Write.
//
// Connections are told by the node that has them (Connections). What was told of their beginning is
// kept in Redis until their end is told, so that another node tells the end when that node dies.
package webhooks
