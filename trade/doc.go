// Package trade moves what characters own: gifts, trades between two users, and goods that come
// into being.
//
// # Trades
//
// trade:propose opens a trade between two users; each may change what they give (trade:offer),
// which raises the version and takes back both acceptances; when both have accepted one version,
// goods change hands. It may be cancelled, and expires after Config.OpenFor. An offer is a promise:
// goods stay with their owner until both have accepted, and a trade that cannot be kept then is
// failed. A pair has one open trade, a character at most MaxOpen. trade:execute is a gift: one side
// gives, at once.
//
//	open ─▶ completed | cancelled | expired | failed          one Redis server
//	open ─▶ settling ─▶ completed | failed                    a Cluster
//
// # What an ok means
//
// A settler settles; New chooses it once. On one Redis server (or a Sentinel set) a settlement is
// one Lua script: quantities are checked, goods move, the ledger entry and the trade or the record
// of the caller's idempotency key are written, all or nothing. On a Cluster it is a saga, see
// sagaSettler: the decision is one script on the trade's key, and Sweep finishes or undoes what a
// dead process left, on any node, by that decision alone: within Config.DecideWithin and a second,
// less than 5 s.
//
// Every settlement is inside the lock trade:<a>:<b> (user ids sorted), see settler for how each of
// them checks it. The lock saves work; correctness does not depend on it. A script on the server of
// its locks sees that nobody has the lock, and needs no lease (ScriptLocker). A holder whose fence
// is older than one that already acted for the pair is refused with LOCKED.
//
// Config.Durability says how durable an ok is.
//
// An idempotency key belongs to its caller and is kept for Config.Keep: the same key with the same
// body gives the same answer and moves nothing; with another body it is CONFLICT; while it is being
// settled it is LOCKED. Only completed gifts are remembered: a refusal moved nothing, so its key
// may be used again. When an answer is UNAVAILABLE, TIMEOUT or missing, the outcome is open: ask
// again with the same key, accept again, or look at trade:state. A repeat does not send
// trade:completed again.
//
// # Who is told
//
// Both parties hear every change on all their devices. The outcome of a trade is remembered for a
// party who is away, and sent when they come back (Notifier), with the trades that are still open.
// A gift is told to those who are there.
//
// # Amounts
//
// Amounts are whole numbers from 0 to Max. An inventory field that reaches 0 is removed. An item id
// is known once it was minted, or while the giver holds some of it. On a Cluster, goods that come
// while others come too may take a character over Max: what was decided is never refused.
//
// # The ledger
//
// Everything that ever came into being or changed hands is an entry of one stream, see package
// ledger. Entries are hash-chained; the ledger and its index are kept for ever. Audit replays the
// ledger and compares every inventory with it, also while trades go on. Other programs read it with
// a consumer group, see the example.
//
// # How to read a settlement
//
// Accept (offer.go) and Execute (gift.go) check the payload and hand it to the settler
// (settler.go). From there calls go down, in this order: script_settler.go or saga.go; record.go,
// receivers.go, characters.go and locks.go for what comes before the goods move; finalize.go and
// notify.go for what follows; shortage.go, settlement.go (the trade's hash), durable.go (how a
// script is run) and faults.go, which all of them use.
//
// # Keys
//
//	char:<id>:inventory      item:<itemId> → qty, gold → amount; on a Cluster also
//	                         hold:<tradeId> → what is in escrow, "field quantity …", and for some
//	                         seconds done:<tradeId>
//	char:<id>:trades         its open trades: id → "<since> <partner>"
//	user:<id>:outcomes       zset of trades whose end the user may not have heard, by until when to
//	                         send it
//	trade:<id>               hash, see settlement; kept for Config.Keep after its end. A gift has one
//	                         on a Cluster only
//	trade:open               zset of trades by when the sweeper must look at them
//	trade:fence:<a>:<b>      fence: the highest that acted for the pair, trade: what was settled
//	                         under it; an hour. Used where the locks lie elsewhere and on a Cluster;
//	                         else the locks' own fences count
//	temp:trade:<hash>        "<tradeId> <body hash>", the record of an idempotency key
//	{trade:ledger}…          see package ledger
package trade
