// Package throttle limits how often a subject may do something: named policies over exact sliding
// windows in Redis, shared by all nodes.
//
//	limiter, err := throttle.New(rdb, throttle.Defaults(false), throttle.Config{})
//	decision, err := limiter.Check(ctx, "chat", throttle.Subject{User: userID})
//
// # Promise
//
// For one subject, a policy admits at most Limit events in any span (t, t+Window] of Redis's clock,
// whatever the number of nodes and the state of their clocks. After RetryAfter an event is
// admitted, unless another event of the same subject came first. Several policies are spent all or
// none.
//
// # Three sources of a decision
//
// Decision.Source says which of them decided:
//
//   - redis: one script call, merged with the events of other callers.
//   - memory: this process remembers a refusal until it ends, so a flood costs Redis nothing. The
//     memory is bounded; when it has forgotten a refusal, Redis is asked again.
//   - local: Redis did not answer within Config.Budget. A window in this process takes over, by the
//     same rule, for every event until Redis answers a probe again (every Config.ProbeEvery). A
//     Redis that fails never causes a refusal by itself.
//
// # Changes
//
// Limits may change at any time (SetPolicies, Override). Windows stay, and an admission counts for
// as long as the window that was in force at its time. After Block, Reward or Reset a message makes
// the other nodes that run Run forget the refusal that they remember for the subject. If the
// message is lost, such a node refuses the subject until the remembered refusal ends.
//
// # What is not promised
//
// When decisions change over from Redis to the local window or back, each of the two may admit up
// to the limit. While Redis is gone, each node has a window of its own. It admits the limit divided
// by the number of nodes before Redis went away, and at least one event. When a failover of Redis
// loses writes, those admissions are lost. When Redis's clock goes back by more than a window,
// windows start anew.
//
// On a Redis Cluster the windows of one event lie on several servers: each is spent, and given back
// when another refuses. Between the two, for one round trip, another event of the same subject may
// be refused that should have been admitted; no event is admitted that should have been refused.
package throttle
