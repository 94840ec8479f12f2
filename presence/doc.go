// Package presence knows who is online, who is in a channel, and when somebody was last
// seen, on all nodes.
//
// # Users, not devices
//
// A node counts the connections of each user in each place (a channel, or the game as a
// whole), and tells Redis only of the first and of the last. Redis counts the nodes. So a
// user joins with the first device anywhere and leaves with the last, and presence:joined
// and presence:left are cast by whoever's change was that one, once.
//
// # Flaps
//
// Who leaves a channel by chat:leave is gone at once. Whose connection ends stays present
// for Config.Grace: a client that comes back within it, to whatever node, was never gone,
// and nobody is told anything.
//
// # Crowds
//
// Joins and leaves are not told one by one in a channel with more than Config.Crowd users:
// that would cost the square of their number. presence:count and presence:list still tell.
//
// # Crashes
//
// A node has a lease in Redis, which it renews four times as often as it must. When the
// lease ends, the other nodes take the users out that it had, together: each user exactly
// once. So a dead node's users are present for Config.Lease at most. When all nodes die,
// the keys themselves expire: online:users within twice the lease. A node that was thought
// to be dead comes back under a new name and tells of its users anew.
//
// # Redis
//
// Nothing here waits for Redis but the questions of players, and these ask Redis alone,
// one round trip each, never another node. What happens while Redis is away is told when it
// is back; questions are UNAVAILABLE until then. All keys of one place are in one slot of a
// Cluster, and each script works on one place.
package presence
