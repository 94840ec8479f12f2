// Package loadtest is a load generator that checks every answer and delivery. It speaks the
// protocol of docs/contract.md over raw websockets to any server that implements it, and counts
// everything that such a server must never do.
//
// # What a run without faults proves
//
// While the connections lived:
//
//   - Each event was answered once, in the order of sending. Acknowledgement ids are consecutive,
//     so a missing, a repeated or a reordered one is noticed.
//   - Each chat message that was not refused reached every member of its room once, in its
//     speaker's order, and from its real speaker and room. A message carries its speaker's index,
//     its number and a CRC-32C of itself; the delivery must name that speaker's user and that room.
//     A message that was refused reached nobody.
//   - Each strike at the training dummy was announced in one combat:update, and the versions had no
//     gaps (combat and mixed, only against a server that sends `session`, as the contract demands).
//   - Every player owns what the answers imply, the number of all coins is unchanged, and a
//     repeated idempotency key moved nothing (trade; keys are repeated only against a server that
//     sends `session`).
//   - In recovery, a run in which somebody else disturbs the servers or Redis, each message that
//     was answered with ok reached every member that stayed connected once, and all members of a
//     room in the same order. A message whose answer said `local: true` may have another order.
//     What a member missed after `gateway:status {missed: true}` is counted, and it is no fault.
//     With Config.Reconnect a connection may end, and no client that returns and is told that it is
//     recovered has missed or heard again what was acknowledged meanwhile.
//   - Every player that was dropped returned and was answered (storm). Every connect was answered,
//     and every goodbye closed the connection (connect).
//   - No answer had the code INTERNAL, INVALID or UNKNOWN_EVENT, because every event is valid.
//   - No `session` named another player.
//
// Result.Faults counts what broke any of these rules, and each connection that the server ended. A
// refusal (RATE_LIMITED, LOCKED, UNAVAILABLE, HTTP 429 and 503) is a correct answer: it is counted,
// but it is not a fault.
//
// # What it does not prove
//
// A run does not test polling, upgrades or binary events, and it does not check fields of an answer
// that are not named above. A connection that ended is one fault; the events that were open then do
// not count as lost.
//
// # How it measures
//
// In an open loop (Config.Rate) latency is measured from the time at which an event was due, so the
// delay of a server that stalls counts for every event that had to wait. Result.Behind counts the
// events that were due and could not be sent because Config.Inflight was reached. In a closed loop
// latency is measured from the time of sending. Rates and latencies cover the measured time only,
// without ramp and warm-up; faults are counted in the whole run.
//
// In recovery an event is finished when it is answered, and the latency of a delivery is measured
// from the time that its text names, so that a delivery after an outage counts too.
//
// Invariants: one goroutine reads a connection, and it alone owns the connection's
// sequenceTrackers. client.mu is held for writing and for changes of the open events. A tally's mu
// is held while received bytes are checked, and no other lock is taken meanwhile but a roomOrder's.
// Every wait of a run has a deadline, and the whole run has one too.
package loadtest
