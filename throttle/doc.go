// Package throttle says how often somebody may do something: named policies over exact
// sliding windows in Redis, shared by all nodes.
//
// Promise: of one subject, a policy admits at most Limit in any span (t, t+Window] of
// Redis's clock, whatever the number of nodes and the state of their clocks; and after
// RetryAfter one is admitted, unless somebody else of the same subject was quicker. Several
// policies are spent all or none.
//
// A decision takes one of three ways, and says which (Decision.Source):
//
//   - redis: one script call, together with the events of other callers.
//   - memory: a refusal is remembered in this process until it ends, so a flood costs Redis
//     nothing. The memory is bounded; what it forgets is asked of Redis again.
//   - local: Redis did not answer within Config.Budget. A window in this process takes over,
//     by the same rule, for every call until Redis answers a probe again (every
//     Config.ProbeEvery). A store that fails never refuses by itself.
//
// Limits may change at any time (SetPolicies, Override): windows stay, and what was admitted
// counts for as long as the window in force at its time. A block, and what Reward and Reset
// give back, reach the memory of other nodes that run Run by a message; one that is lost
// costs its subject the rest of a remembered refusal.
//
// What it does not promise: at a changeover between Redis and the local window, each may
// admit up to the limit; with Redis gone, each node has a window of its own
// and admits the limit divided by the nodes that there were, and at least one event; a Redis that
// loses writes in a failover has lost those admissions; when Redis's clock goes back by
// more than a window, windows start anew. On a Redis Cluster the windows of one event lie
// on several servers: each is spent, and given back when another refuses. Between the two,
// for one round trip, somebody else of the same subject may be refused who needed not be;
// nobody is admitted who should not be.
package throttle
