// Package redisx is the project's one way of working with Redis, on top of go-redis. It knows
// nothing of features, keys or settings. Every package that uses Redis builds on these parts:
//
// # Scripts
//
// A [Script] is a Lua script that is sent by its hash. When the server does not know it yet
// (NOSCRIPT), it is sent once more with its source. [Script.Do] runs one script, [RunScripts] runs
// many in one pipeline, [RunScriptsWith] adds other commands to that pipeline, and [Script.DoThen]
// lets another command follow over the same connection (WAIT).
//
//	var greetScript = redisx.NewScript(greetLua)
//
//	n, err := greetScript.Do(ctx, rdb, []string{key}, name).Int()
//
// DANGER: go-redis repeats a command when the connection breaks before the answer has come, so a
// script may run twice. If that is not the same as running it once, use the variant from
// [Script.WithoutRetry].
//
// # Batches and merged calls
//
// A [Batcher] gathers the requests of many goroutines: what is asked for while a batch is under way
// goes with the next one. A [ScriptBatcher] does this for scripts. On a single server it also
// merges the calls of a script that allows it ([NewMergingScript]) into one command, which spares
// Redis the fixed cost of a call.
//
// # Subscriptions
//
// [Subscribe] receives the messages of one channel until its context ends. It subscribes again
// whenever the subscription was refused or lost. Each time the subscription is in force it calls
// OnUp, so that the caller can catch up on what it missed, and it reports each outage.
//
// # Topology
//
// [IsCluster], [SingleServer], [ClusterOf], [ForEachMaster], [ForEachNode] and [MasterForKey] are
// the only places that ask what kind of client they were given.
//
// # Errors
//
// [Unavailable] tells whether an error means that Redis cannot be used now, [UnavailableReason]
// says why in a few words, and [FaultFor] turns it into the fault that a player gets.
//
// # Signals
//
// A [Signal] wakes the one goroutine that waits for it, however often it was notified.
package redisx
