// Package loadtest is a load generator that checks the truth. It speaks docs/contract.md over raw websockets, to any
// server that does so too, and counts what a server must never do.
//
// # What a run without faults proves
//
// While the connections lived:
//
//   - Each event was answered once, in the order of sending: acknowledgement ids are consecutive, and a missing, a
//     repeated or an overtaken one is seen.
//   - Each chat message that was not refused reached every member of its room once, in its speaker's order, and came
//     from where it says: a message carries its speaker, its number and a CRC-32C of itself, and must name that
//     speaker's user and that room. One that was refused reached nobody.
//   - Each strike at the training dummy was told in one combat:update, with versions without holes (combat, mixed; only against a
//     server that sends `session`, as the contract wants).
//   - Everyone owns what the answers say, the coins of all together are as many as before, and a repeated idempotency key moved
//     nothing (trade; repeats only against a server that sends `session`).
//   - Every player that was dropped came back and was answered (storm); every connect was answered and every goodbye
//     closed the connection (connect).
//   - No answer said INTERNAL, INVALID or UNKNOWN_EVENT: what we ask is valid.
//   - No `session` named somebody else.
//
// Result.Faults counts what broke any of this, and a connection that the server ended. A refusal (RATE_LIMITED, LOCKED,
// UNAVAILABLE, HTTP 429 and 503) is an honest answer: it is counted, not held against the server.
//
// # What it does not prove
//
// Polling, upgrades, binary events and other nodes are not its subject, nor is a field of an answer that it does not
// name above. A connection that ended is one fault; what was on its way then is not counted as lost.
//
// # How it measures
//
// In an open loop (Config.Rate) latency counts from when an event was due, so a server that stalls is charged for all
// that waited; what was due and could not be sent because Config.Inflight was used up is Result.Behind. In a closed loop
// it counts from sending. Rates and latencies are of the measured time only, without ramp and warm-up; the truth is of
// everything.
//
// Invariants: one goroutine reads a connection and alone owns its streams; client.mu is held for writing and for the window
// of events on their way; a tally's mu is held while a chunk of bytes is judged, and no other lock is taken
// meanwhile. A run ends: every wait has a deadline, and the whole has one too.
package loadtest
