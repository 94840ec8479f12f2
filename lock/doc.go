// Package lock provides distributed locks: of all processes that share a Redis, one at a time holds
// a name. A lock that is held is a lease. It ends by itself when its holder dies, and it carries a
// fencing token.
//
//	locks := lock.New(lock.Config{}, client)
//	defer locks.Close()
//
//	settle := func(ctx context.Context, l *lock.Lease) error {
//		// The store must refuse a fence that is lower than one it has seen.
//		return store.Settle(ctx, l.Fence())
//	}
//	err := locks.Do(ctx, "trade:ann:bob", lock.Options{}, settle)
//
// [Manager.Do] is what most callers need. [Manager.DoAll] holds several locks, [Manager.Acquire]
// returns the lease itself, and [Manager.TryAcquire] does not wait for another holder. The package
// builds on redsync, with Lua scripts of its own.
//
// # What a lease promises
//
//   - Until the time of [Lease.Until], nobody else acquires the same name, as long as Redis
//     keeps its data and all clocks run at about the same speed.
//   - [Lease.Fence] is higher than the fence of every earlier lease of the same name, also
//     after a restart of this process. Redis keeps the counter for a week after the last lease
//     was acquired or extended. When the counter has expired, or Redis has lost it, it starts
//     again at the current time in milliseconds. That is higher too, as long as the clock of
//     Redis's machine does not go back and the name was not acquired more than a thousand
//     times a second on average.
//   - The context of [Lease.Context] ends as soon as the loss of the lease is known, when Until
//     is over, or when MaxHold is over. context.Cause tells which. This does not depend on
//     Redis: it happens on time also while an extension waits for an answer.
//   - [Lease.Release] frees this lease or nothing, never the lock of another holder. Neither
//     Release nor [Lease.Extend] takes longer than Config.Timeout, whatever the client does.
//   - An answer that arrives too late is undone: the lock that an abandoned attempt got after
//     all, and the extension of a lease that has ended.
//   - If an answer is lost and the client sends the command again, the caller does not wait for
//     a lock that its own first command took.
//   - ErrTaken and ErrTimeout mean that there is another holder, as Redis or this process
//     knows. If Redis did not answer, the error is ErrUnavailable.
//
// # What it does not promise
//
//   - That nobody else works at the same time. A process that is stopped (SIGSTOP, a paused
//     virtual machine, a long garbage collection) past the end of its lease continues as if it
//     held it, until it looks at the context. Only the fence, checked where the work takes
//     effect, prevents harm.
//   - Anything across a failover of a single Redis: the replica may know neither the lease nor
//     the fence. A quorum of independent servers (New with several clients) survives the loss
//     of a minority, unless these come back without their data within one TTL.
//   - Anything across a move to another server with other data: as after a failover, a holder and
//     another caller may both hold the name until the end of the former's lease.
//   - Fairness between processes. Within a process, callers get the lock in the order in which
//     they asked, and a release wakes the next one. Between processes, a release wakes all that
//     wait, and the first to ask gets the lock. Because a message may be lost, each also asks
//     every 100 to 200 ms.
//   - Reentrancy: a holder that acquires the same name again waits for itself.
//
// So locks save work, and correctness comes from scripts and fences.
//
// # When Redis is away or moves
//
// This is what each sees where one Redis keeps the locks. "At its end" is the time of Lease.Until.
//
//   - Redis does not answer (down, hanging, refusing all): the holder works on until its lease
//     ends at its end, and its context then says ErrLost; a waiter gets ErrUnavailable after
//     Config.Timeout and does not wait for Options.Wait; Release returns an error within
//     Config.Timeout, and the lock expires by itself.
//   - Redis restarts without its data, or another server without the lock answers from now on (a
//     move, a failover that lost it): the holder's next extension, within a third of the TTL, ends
//     its context with ErrLost; a waiter gets the lock, with a higher fence; Release returns
//     ErrLost and frees nothing of the new holder.
//   - A replica that has the lock is promoted: nothing changes for holder, waiter and Release.
//
// # Clients
//
// Clients with any settings work. A client that ignores contexts (redis.Options without
// ContextTimeoutEnabled) occupies a goroutine and a connection until its own timeouts for each call
// that was given up, and Close waits for these. So set ContextTimeoutEnabled, timeouts of half a
// second, and MaxRetries to 1.
package lock
