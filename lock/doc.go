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
//     ours. Its counter goes a week after the last lease was acquired or extended. A counter that
//     is gone, or that Redis lost with its data, starts again at the time in ms: higher too, as long as
//     the clock of Redis's machine does not go back, and the name was not taken more than a
//     thousand times a second ever since it began.
//   - Context ends at once when the loss of the lease is known, when Until has come, or when
//     MaxHold is over; context.Cause tells which. Whether Redis answers does not matter, nor
//     whether an extension, the watchdog's or the caller's own, waits for it.
//   - Release frees this lease or nothing, never somebody else's. Neither it nor Extend takes
//     longer than Config.Try, whatever the client does.
//   - What is answered too late to count is undone: a try that was given up, an extension of a
//     lease that has ended. An answer that was lost, so that the client asks again, makes
//     nobody wait for their own ghost.
//   - LOCKED (ErrTaken, ErrTimeout) means that Redis has said that somebody has the name, or
//     that one of this process has it. When Redis said nothing it is UNAVAILABLE.
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
//
// The clients may be of any settings. One that does not heed contexts (redis.Options without
// ContextTimeoutEnabled) keeps a goroutine and a connection until its own timeouts for each
// question that was given up, and Close waits for those. With it, timeouts of half a second
// and MaxRetries 1 that is soon.
package lock
