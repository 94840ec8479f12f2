// Package chaos holds the tests that trade through real gateways, each a process of its own, on one
// Redis server and on a Redis Cluster, while
//
//   - gateways are killed before and after each of their commands to Redis that concern trades and
//     their locks, and stopped there for longer than a lease lasts (REALTIME_CRASH_AT, a hook that
//     the build tag crashhook adds);
//   - Redis is restarted with its append-only file, and the connections to it are cut, reset,
//     delayed, brought in pieces or silenced (toxiproxy);
//   - both partners accept and cancel at once, and one key is sent to two gateways;
//   - the official client sends events with idempotency keys, with its retries, while Redis is
//     paused, links are cut and gateways die: each has its effect once, and gets the true
//     answer;
//   - members of three gateways, with the official client and raw ones, talk in the same
//     channels and whisper: all hear what was acknowledged, once, and the histories have it,
//     whatever befalls Redis and the gateways meanwhile. A fault is one row of a table;
//   - members lose their connections and come back with the state that they have, 12,500 times for
//     each fault: links are cut, tabs frozen, gateways drained, killed and restarted in turn, Redis
//     killed and failed over in the gap. The same judge compares what each heard with what was
//     acknowledged: nobody who is told `recovered` lacks anything.
//
// After each kill and each stop, and at the end of a storm of all of these, everything must be
// settled within five seconds, the audit clean, every ok that a client saw in the ledger with its
// goods, no refusal in it, and what was not answered told by asking again. The same checks are held
// against gateways with bugs in their scripts, and must catch them.
//
//	make chaos                 all of it, about half an hour
//	go test ./internal/chaos   a short run
package chaos
