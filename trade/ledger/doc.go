// Package ledger is the book of everything that characters ever got or gave, and its audit.
//
// The ledger is one Redis stream. An Entry of it says that goods came into being (a mint) or
// changed hands (a gift, a trade). The scripts that move goods write their entry in the same call,
// with the functions in Lua; package trade owns those scripts and imports this package, which knows
// nothing of trades beyond their ids.
//
// Entries are hash-chained: each names the hash of the one before. Ledger reads them, and Audit
// replays them from the first and compares every inventory with the result. Other programs read the
// stream with a consumer group, see the example in package trade.
//
// # Keys
//
//	{trade:ledger}           stream of entries
//	{trade:ledger}:index     trade or mint id → stream id; head → "<seq>:<hash>" of the newest entry
//	{trade:ledger}:items     set of every item id that was ever minted
//
// Audit also reads char:<id>:inventory and the fields status, ref, endedAt and deadline of
// trade:<id>.
package ledger
