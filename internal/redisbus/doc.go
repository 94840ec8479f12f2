// Package redisbus carries messages between processes over Redis pub/sub: on one server, behind
// Sentinel, or on a Redis Cluster. It knows nothing of what the messages mean: each channel has an
// owner, an opaque value that the user gives with the subscription and gets back with each message.
//
// # What it promises
//
//   - Messages of one process reach a channel in the order of its calls of Publish.
//   - A message arrives at most once. What Redis does not take is dropped and counted; nothing is
//     sent twice.
//   - Publish and Subscribe never wait for Redis. What waits to be published is bounded in bytes
//     (Config.QueueBytes); what comes beyond is dropped.
//   - A subscription is renewed by itself after a lost connection, a failover or a moved slot. What
//     is published before Redis has confirmed it again is not received.
//
// # Two kinds of channels
//
// A message to a classic channel reaches every node of a Redis Cluster, and costs each of them
// work. A message to a sharded channel (Redis 7.0) stays on the shard of its slot.
// A Channel with IsSharded is subscribed both ways on a Cluster, so that the publisher may choose.
//
// # Who runs
//
// Start starts three goroutines: one publishes, one reads what arrives, one brings Redis's
// subscriptions in line with what is wanted. On a Cluster two more do the last two for sharded
// channels, with a reader for each shard. Close returns when all have ended.
package redisbus
