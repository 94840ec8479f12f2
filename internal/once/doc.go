// Package once does an event once for each idempotency key. A client that did not hear the answer
// sends the event again with the same key, and gets the answer of the first time (event.Route.Once
// has the rules).
//
// A Keeper keeps a record of each such event in Redis. Keeper.Do looks at the record and claims it,
// serves the event, and records the answer. The look costs no round trip of its own where the event
// has a limit in Redis: the script of the limit looks and claims (package throttle has it, made of
// Functions). The answer is written in the background, many together, so that the player does not
// wait for that. While Redis can not be used, and for answers that Redis does not have yet, this
// node's memory stands in, for 8,192 events or 32 MiB of answers.
//
// # Death between effect and answer
//
// A node may die after the effect and before the answer is recorded. The record is then a claim
// whose holder is dead, and the next repeat takes it over:
//
//   - A feature whose effect is one script lets the script check the claim and write the answer
//     (Functions, once_check and once_answer). A record without an answer then means that nothing
//     was done, and a script of the dead holder that comes late finds that it lost the claim.
//   - A feature whose script also looks for the record needs no claim (event.InOneScript), and may
//     write a reference to the answer instead of the answer (record.DoneText, event.Outcome).
//   - A feature that can tell by the key whether the event was done is asked (event.Outcome).
//   - Any other event is done at most once: the repeat is refused as TIMEOUT.
//
// # In this package
//
//   - keeper.go has the Keeper, and the life of one event with a key.
//   - records.go looks at records in Redis; writer.go writes them in the background.
//   - memory.go has what this node knows by itself: events under way, and answers.
//   - script.go is for features whose scripts write the answer.
package once
