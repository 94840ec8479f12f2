// Package trade moves what characters own: gifts, trades between two users, and goods that come
// into being.
//
// # Trades
//
// trade:propose opens a trade between two users. Each may change what they give (trade:offer),
// which raises the version and takes back both acceptances. When both have accepted the same
// version (trade:accept), goods change hands. Either may cancel the trade (trade:cancel), and it
// expires after Config.OpenFor. An offer is only a promise: goods stay with their owner until both
// have accepted, and if one of them no longer has what they offered, the trade becomes failed.
// trade:execute is a gift: one side gives, at once, and the other need not accept.
//
// Two users may have one open trade with each other. A proposal counts against its sender, whose
// character may have MaxOpen. So strangers cannot use up what a player has. Of the proposals that
// others made, a character keeps the newest MaxIncoming. The proposal of a user whom the receiver
// ignores (Config.Ignores) is answered like any other and expires like any other, but takes no
// place of the receiver's, who is not told of it.
//
//	open ─▶ completed | cancelled | expired | failed          one Redis server
//	open ─▶ settling ─▶ completed | failed                    a Cluster
//
// # What an ok means
//
// The goods have moved, and the ledger has or gets the entry. New chooses one of two ways to
// settle. On one Redis server (or a Sentinel set), a settlement is one Lua script. It checks the
// quantities, moves the goods, and writes the ledger's entry and the trade or the record of the
// caller's idempotency key: all or nothing. On a Cluster it is a saga (see sagaSettler): one script
// on the trade's key decides, and all further steps follow that decision. If the process dies,
// Sweep on any node finishes or undoes the settlement, within Config.DecideWithin and a second:
// less than 5 s with the defaults.
//
// Every settlement is inside the lock trade:<a>:<b> (user ids sorted); settler says how each way
// checks it. The lock saves work; correctness does not depend on it. If the locks lie on the same
// server, the script checks that no other holder has the lock, and needs no lease (ScriptLocker). A
// holder whose fence is older than one that already settled for the two users gets LOCKED.
//
// Config.Durability says how safely goods are stored before the ok.
//
// # Repeats
//
// An idempotency key belongs to its caller and is kept for Config.Keep. A second gift with the same
// key and the same body gets the first answer and moves nothing. With another body it gets
// CONFLICT, and while the first is being settled it gets LOCKED. Only completed gifts are
// remembered: after a refusal nothing has moved, so the key may be used again.
//
// The other events that change a trade may have a key too (event.Route.Once). The script that does
// them writes the answer (once.lua), and a proposal's key is bound to the id of its trade, so a
// repeat gets the first answer, whichever process died.
//
// After UNAVAILABLE, TIMEOUT or no answer at all, the outcome is open: repeat the gift with the
// same key, accept again, or read trade:state. A repeat does not send trade:completed again.
//
// # Notifications
//
// Both parties receive every change on all their devices. For a party who is away, the outcome of a
// trade is remembered and sent when they come back, with the trades that are still open (Notifier).
// A gift is sent only to parties who are connected.
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
//	char:<id>:trades         its open trades: id → "<since> <partner>", or
//	                         "<since>in <partner>" for one that the partner proposed
//	user:<id>:outcomes       zset of trades whose end the user may not have heard, by until when to
//	                         send it
//	trade:<id>               hash, see settlement; kept for Config.Keep after its end. A gift has one
//	                         on a Cluster only
//	trade:open               zset of trades by when the sweeper must look at them
//	trade:fence:<a>:<b>      fence: the highest that acted for the pair, trade: what was settled
//	                         under it; an hour. Used where the locks lie elsewhere and on a Cluster;
//	                         else the locks' own fences count
//	once:…                   of package once: the record of an event with an idempotency key. The
//	                         script of a gift writes the trade's id there
//	temp:trade:<hash>        "<tradeId> <body hash>", the record of the idempotency key of a gift on
//	                         a Cluster, or of one that is no event
//	{trade:ledger}…          see package ledger
package trade
