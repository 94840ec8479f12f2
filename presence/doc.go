// Package presence knows who is online, who is in a channel, and when a user was last online, on
// all nodes.
//
// # Users, not devices
//
// A scope is a channel, or the game as a whole. A node counts the connections of each user in each
// scope, and updates Redis only for the first and the last of them. Redis counts the nodes. So a
// user joins with the first device on any node, and leaves with the last. The node that made this
// change broadcasts presence:joined or presence:left, once.
//
// # Once a second
//
// A channel is told of one user at most once a second, over all nodes. The first change is told at
// once. What changes within the second after it is told as one state at its end, unless that is the
// state that was told last. The scripts decide this (notify.lua). The node whose call left
// something pending settles it in time (settle.go), and the node that sweeps a dead node takes its
// settlements over.
//
// # Short disconnects
//
// A user who leaves a channel by chat:leave is gone at once. A user whose connection ends stays
// present for Config.Grace: a client that comes back within it, on any node, was never gone, and
// nothing is broadcast.
//
// # Crowds
//
// In a channel with more than Config.Crowd users, single joins and leaves are not broadcast: the
// cost would grow with the square of their number. presence:count and presence:list still answer.
//
// # Crashes
//
// A node has a lease in Redis, which it renews every eighth of Config.Lease. When the lease ends,
// the other nodes together take out the users of that node, each exactly once. So the users of a
// dead node stay present for Config.Lease at most. When all nodes die, the keys expire:
// online:users within twice the lease. A node that was taken for dead comes back under a new name
// and adds its users again.
//
// # Redis
//
// Nothing here waits for Redis, except the questions of players. Each of these asks Redis alone, in
// one round trip, and no other node. What happens while Redis does not answer is updated when it
// answers again; until then questions are UNAVAILABLE. All keys of a scope are in one slot of a
// Cluster, and each script works on one scope.
package presence
