// Package nodecall lets an operator's command ask the nodes that serve.
//
// A node that runs a Server says so in a zset, and listens on one pub/sub channel. Ask publishes a
// question there, and collects the answers on a channel of its own until every listed node has
// answered, or a second is over. The nodes that did not answer are named: they hang, are cut off
// from Redis, or died within the last minute. Channels have no database, so that a question is
// asked stands in a key beside, and the nodes of another database of the same Redis do not answer.
//
// Every program that may publish on the channel can ask: a program that may write to this Redis can
// do everything else as well. No answer holds the id of a session.
package nodecall
