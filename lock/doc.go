// Package lock lets one at a time, over all nodes, do something: leases in Redis, on redsync.
//
//	err := locks.Do(ctx, "trade:ann:bob", lock.Options{}, func(ctx context.Context, l *lock.Lease) error {
//		return store.Settle(ctx, l.Fence()) // which refuses a fence lower than one it has seen
//	})
//
// What a lease promises:
//
//   - While Until has not come, nobody else acquires the same name, as long as Redis keeps
//     what it was told and clocks run at about the same speed.
//   - Fence is higher than that of every earlier lease of the same name, across restarts of
//     ours; and of Redis without its data too, as long as the clock of its machine does not
//     go back: a counter that is gone starts again at the time in ms. It goes after a week
//     without use.
//   - Context ends at once when the loss of the lease is known, when Until has come, or when
//     MaxHold is over; context.Cause tells which.
//   - Release frees this lease or nothing, never somebody else's.
//
// What it does not promise:
//
//   - That nobody else is at it. A process that stands still (SIGSTOP, a paused machine, a
//     long collection) past its lease goes on as if it held it, until its next look at the
//     context. Only the fence, checked where the work is made to count, keeps it from harm.
//   - Anything over a failover of a single Redis: the replica may not have heard of the lease,
//     nor of the fence. A quorum of independent servers (New with several clients) stands the
//     loss of a minority, when these do not come back with their data lost within a TTL.
//   - Fairness between nodes: inside a process waiters are served in order, and the next is
//     woken by the release; over nodes all that wait are woken by a message, and whoever asks
//     first is next. A message may be lost: who waits asks every 100 to 200 ms too.
//   - Reentrancy: who acquires a name again while holding it waits for itself.
//
// So a lock saves work. Correctness rests on scripts and fences.
package lock
