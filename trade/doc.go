// Package trade moves what characters own: gifts now, trades between two later.
//
// # What an ok means
//
// A gift is one Lua script: quantities are checked, goods move, the trade, its ledger entry and
// the record of the caller's idempotency key are written, all or nothing. It runs inside the lock
// trade:<a>:<b> (user ids sorted), which saves work; correctness does not rest on it. A holder
// whose fence is older than one that already committed for the pair is refused with LOCKED.
//
// An idempotency key belongs to its caller and is kept for Config.Keep: the same key with the
// same body gives the same answer and moves nothing; with another body it is CONFLICT. Only
// completed gifts are remembered: a refusal moved nothing, so its key may be used again. When an
// answer is UNAVAILABLE, TIMEOUT or missing, the outcome is open: ask again with the same key.
// A repeat does not tell trade:completed again.
//
// # Amounts
//
// Amounts are whole numbers from 0 to Max. An inventory field that reaches 0 is removed. An item
// id is known once it was minted, or while the giver holds some of it.
//
// # The ledger
//
// Everything that ever came into being or changed hands is an entry of one stream, see Entry.
// Entries are hash-chained; the ledger and its index are kept for ever. Audit replays the ledger
// and compares every inventory with it, also while trades go on.
//
// # Keys
//
//	char:<id>:inventory      item:<itemId> → qty, gold → amount
//	trade:<id>               hash, see Trade; kept for Config.Keep
//	trade:fence:<a>:<b>      highest fence that committed for the pair; kept for an hour
//	temp:trade:<hash>        "<tradeId> <body hash>", the record of an idempotency key
//	{trade:ledger}           stream of entries
//	{trade:ledger}:index     trade or mint id → stream id; head → "<seq>:<hash>" of the newest entry
//	{trade:ledger}:items     set of every item id that was ever minted
//
// One script on all of these needs one Redis server (or a Sentinel set): Redis Cluster and Ring
// clients are refused, see Service.Check.
package trade
