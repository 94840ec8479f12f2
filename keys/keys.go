// Package keys spells every Redis key, each in one function or constant. Other programs read and
// write these keys, so their spelling is part of the contract with them (docs/contract.md).
//
// No function fails, and none checks its arguments: callers pass ids that they have validated.
// Where texts that users choose follow each other, each is encoded by Part, so that no two keys
// collide. A text that stands alone between a known beginning and a known end stays as it is: those
// are the keys that other programs write too. A part in braces is a hash tag: on a Redis Cluster,
// keys with the same tag lie in one slot, so that one script may use them. All times in values are
// Unix milliseconds.
package keys

import "strings"

// These channels and keys have no parameters.
const (
	// Revocations is the pub/sub channel on which the ends of sessions are published.
	Revocations = "session:revocations"
	// RevocationLog is the stream with the same messages, for subscribers that missed one.
	RevocationLog = "session:revocations:log"
	// SessionCounts is the hash that counts the sessions that were created, destroyed and found
	// expired.
	SessionCounts = "sessions:counts"
	// OnlineUsers is the set of the ids of the users who are online.
	OnlineUsers = "online:users"
	// PresenceNodes is the zset of the living nodes, by the end of their leases, Unix ms.
	PresenceNodes = "{presence:nodes}"
	// PresenceDead is the set of the dead nodes whose users must still be removed.
	PresenceDead = "{presence:nodes}:dead"
	// ChatRules is the hash of the users who are muted or banned, and of the slow channels.
	ChatRules = "chat:rules"
	// LimitPolicies is the JSON of the limits with which the gateways were configured.
	LimitPolicies = "ratelimit:policies"
	// LimitOverrides is the hash of the limits that operators changed at run time: NAME or NAME@ROLE
	// to LIMIT/WINDOW or off.
	LimitOverrides = "ratelimit:overrides"
	// LimitNodes is the hash of how each living node is configured, by its name.
	LimitNodes = "ratelimit:nodes"
	// LimitChanges is the pub/sub channel on which changes of limits and windows are published.
	LimitChanges = "ratelimit:changes"
	// OpenTrades is the zset of trade ids, by when a sweeper must look at them again, Unix ms.
	OpenTrades = "trade:open"
	// LockReleases is the pub/sub channel on which the names of released locks are published, if
	// a caller waits for them.
	LockReleases = "lock:releases"
	// TradeLedger is the hash-chained stream of completed trades and mints.
	TradeLedger = "{trade:ledger}"
	// MintedItems is the set of the item ids that were ever minted.
	MintedItems = "{trade:ledger}:items"
	// TradeLedgerIndex is the hash that makes appending to the ledger idempotent.
	TradeLedgerIndex = "{trade:ledger}:index"
	// AllTemp is the pattern that matches every key of Temp.
	AllTemp = "temp:*"
	// RightsChanges is the pub/sub channel on which the game publishes whose roles, or which channel's
	// members, it has changed, so that nodes need not find it out.
	RightsChanges = "rights:changes"
	// OperatorQuestions is the pub/sub channel on which operators' commands ask the nodes.
	OperatorQuestions = "operators:questions"
	// OperatorNodes is the zset of the names of the nodes that answer, by until when each said that it
	// would, Unix ms.
	OperatorNodes = "operators:nodes"
	// OperatorActs is the stream of what operators did, and of the starts of nodes.
	OperatorActs = "operators:acts"
	// Webhooks is the stream of the events that wait to be delivered to the receiver of webhooks.
	Webhooks = "webhooks:waiting"
	// WebhooksParked is the stream of the events that were not delivered.
	WebhooksParked = "webhooks:parked"
	// WebhookTries is the hash of the failed deliveries of events that wait, by their place in
	// Webhooks.
	WebhookTries = "webhooks:tries"
	// WebhookCounts is the hash of how many events were dropped, and how many parked ones were
	// removed, because there were too many.
	WebhookCounts = "webhooks:counts"
	// WebhookSettings is the hash of which events the nodes tell a receiver, for operators' commands.
	WebhookSettings = "webhooks:settings"
	// WebhookLease is the string that names the node which delivers.
	WebhookLease = "webhooks:lease"
	// WebhookNodes is the hash of the nodes that keep WebhookConnections, each with a number that it
	// raises every second.
	WebhookNodes = "webhooks:nodes"
	// CacheInvalidations is the pub/sub channel on which nodes publish which cached values changed.
	CacheInvalidations = "cache:invalidations"
)

// Part encodes a text that users choose as one part of a key: % : { and } become %25 %3A %7B and
// %7D. So it ends at the next colon, and has no hash tag. Other texts stay as they are.
func Part(text string) string {
	if !strings.ContainsAny(text, "%:{}") {
		return text
	}
	return partEncoder.Replace(text)
}

var partEncoder = strings.NewReplacer("%", "%25", ":", "%3A", "{", "%7B", "}", "%7D")

// Session is the hash of one session.
func Session(id string) string { return "session:" + id }

// RenewedSession is the string with the id under which a session goes on, for some minutes after it
// was renewed; it is empty when the session ended. It lies in the slot of the old session.
func RenewedSession(oldID string) string { return "{" + Session(oldID) + "}:renewed" }

// ExpressSession is the string of a session of express-session, as connect-redis keeps it.
func ExpressSession(id string) string { return "sess:" + id }

// UserSessions is the zset of the ids of a user's sessions, by expiry, Unix ms.
func UserSessions(userID string) string { return "user:" + userID + ":sessions" }

// ConnectedNodes is the zset of the nodes whose connections UserConnections counts, by the end of
// their leases, Unix ms.
const ConnectedNodes = "sessions:nodes"

// CrowdedUsers is the zset of the users who were refused for their number of connections, by when,
// Unix ms, so that each node removes what is counted of them and what it does not have.
const CrowdedUsers = "sessions:crowded"

// UserConnections is the set of a user's connections to all nodes, each "<node>|<number>".
func UserConnections(userID string) string { return "user:" + userID + ":connections" }

// UserBan is the string that keeps a user from logging in, for as long as it exists.
func UserBan(userID string) string { return "user:" + userID + ":ban" }

// UserDevices is the hash of a user's connected sessions, and of the nodes that hold leases on
// their seats.
func UserDevices(userID string) string { return "user:" + userID + ":devices" }

// LastCharacter is the string with the id of the character that a user last played.
func LastCharacter(userID string) string { return "user:" + userID + ":character" }

// User is the cached profile of a user.
func User(id string) string { return "user:" + id + ":profile" }

// Settings are the cached settings of a user.
func Settings(id string) string { return "user:" + id + ":settings" }

// Achievements are the cached achievements of a user.
func Achievements(id string) string { return "user:" + id + ":achievements" }

// Character is the cached data of a character.
func Character(id string) string { return "char:" + id + ":data" }

// Inventory is the hash of everything that a character owns. It never expires.
func Inventory(id string) string { return "char:" + id + ":inventory" }

// Skills are the cached skills of a character.
func Skills(id string) string { return "char:" + id + ":skills" }

// Guild is the cached data of a guild.
func Guild(id string) string { return "guild:" + id + ":data" }

// Zone is the cached data of a zone.
func Zone(id string) string { return "zone:" + id + ":data" }

// Combat is the hash with the state of one fight.
func Combat(id string) string { return "combat:" + id + ":state" }

// CombatDeadlines is the zset of the fights that are not settled yet, by when to look at them, Unix
// ms.
const CombatDeadlines = "combat:deadlines"

// OnceID is the string with the id of what an event with an idempotency key makes: "<when, Unix ms>
// <id>". record is the key of the event's record.
func OnceID(record string) string { return record + ":id" }

// CombatPair is the string with the id of the running fight between two characters, in any order.
func CombatPair(a, b string) string { return "combat:pair:" + Part(min(a, b)) + ":" + Part(max(a, b)) }

// CombatPaid is the set of the fights between two characters, in any order, whose victories were
// paid on a day, such as 2026-11-30 (UTC).
func CombatPaid(a, b, day string) string {
	return "combat:paid:" + Part(min(a, b)) + ":" + Part(max(a, b)) + ":" + day
}

// CharacterChallenges is the hash of the challenges to a character: challenge id to state, times
// and who would fight.
func CharacterChallenges(id string) string { return "char:" + id + ":challenges" }

// UserDuels is the string "open" for a user with whom everybody may begin a fight. It never
// expires.
func UserDuels(userID string) string { return "user:" + userID + ":duels" }

// CharacterPlayer is the string with the id of the user who last played a character.
func CharacterPlayer(id string) string { return "char:" + id + ":player" }

// Leaderboard is the cached list of a leaderboard.
func Leaderboard(name string) string { return "leaderboard:" + name }

// LeaderboardScores is the zset from which a leaderboard is made.
func LeaderboardScores(name string) string { return "leaderboard:" + name + ":scores" }

// LeaderboardNames is the hash of the names to show on a leaderboard. Like the two that follow, it
// has the key of the scores as its hash tag.
func LeaderboardNames(name string) string { return "{" + LeaderboardScores(name) + "}:names" }

// LeaderboardSeen is the zset of the idempotency keys that were counted lately, by time, Unix ms.
func LeaderboardSeen(name string) string { return "{" + LeaderboardScores(name) + "}:seen" }

// LeaderboardSteps is the string that counts all changes of the scores; it orders equal scores.
func LeaderboardSteps(name string) string { return "{" + LeaderboardScores(name) + "}:steps" }

// Temp is a value that expires by itself. kind says what it is, such as login-failures.
func Temp(kind, id string) string { return "temp:" + kind + ":" + id }

// RateLimit is the string with the window of one subject under one policy.
func RateLimit(subject, policy string) string { return rateLimitPrefix + subject + ":" + policy }

const rateLimitPrefix = "ratelimit:"

// RateLimitSubject returns the subject of a key that RateLimit made for the policy.
func RateLimitSubject(key, policy string) string {
	return strings.TrimSuffix(strings.TrimPrefix(key, rateLimitPrefix), ":"+policy)
}

// Lock is the string with the lease of a distributed lock.
func Lock(name string) string { return "lock:" + name }

// LockFence is the counter of the fencing tokens of a lock. It outlives the lease. Its hash tag is
// the key of the lock, so both lie in one slot.
func LockFence(name string) string { return "{lock:" + name + "}:fence" }

// LockAndFence returns Lock and LockFence with one allocation: the first is a part of the second.
func LockAndFence(name string) (lock, fence string) {
	fence = LockFence(name)
	return fence[len("{") : len(fence)-len("}:fence")], fence
}

// LockWanted is the string that exists while a caller waits for a lock. It lies in the slot of the
// lock.
func LockWanted(name string) string { return "{lock:" + name + "}:wanted" }

// Trade is the hash of one trade.
func Trade(id string) string { return "trade:" + id }

// CharacterTrades is the hash of a character's open trades: trade id to "<since, Unix ms>
// <partner's user id>", with "in" behind the time when the partner proposed the trade.
func CharacterTrades(id string) string { return "char:" + id + ":trades" }

// TradeOutcomes is the zset of the trades of whose end a user may not know: trade ids, by until
// when the user must be told, Unix ms.
func TradeOutcomes(userID string) string { return "user:" + userID + ":outcomes" }

// TradeFence is the hash with the highest fence under which a pair of users traded lately, and, on
// a Cluster, with the trade that was settled under it.
func TradeFence(a, b string) string { return "trade:fence:" + Part(a) + ":" + Part(b) }

// TradeLock is the name of the lock of two users who trade, in any order.
func TradeLock(a, b string) string { return "trade:" + Part(min(a, b)) + ":" + Part(max(a, b)) }

// IgnoredUsers is the set of the ids of the users whom a user ignores. It never expires.
func IgnoredUsers(userID string) string { return "user:" + userID + ":ignored" }

// UserCombats is the zset of a user's running fights, by start, Unix ms.
func UserCombats(userID string) string { return "user:" + userID + ":combats" }

// ChatSlow is the string that exists while a user must wait in a slow channel.
func ChatSlow(channel, userID string) string { return "{" + ChatHistory(channel) + "}:slow:" + userID }

// Members is the set of the user ids in a guild or a party; kind is "guild" or "party".
func Members(kind, id string) string { return kind + ":" + id + ":members" }

// PresenceUsers is the zset of the users in a scope, ordered by id. A scope is the name of a
// channel, or OnlineUsers for the whole game. All keys of a scope have its name as their hash tag.
func PresenceUsers(scope string) string { return "presence:{" + scope + "}:users" }

// PresenceWho is the hash of what players see of the users in a scope: user id → JSON.
func PresenceWho(scope string) string { return "presence:{" + scope + "}:who" }

// PresenceCounts is the hash of the number of nodes on which each user is in a scope.
func PresenceCounts(scope string) string { return "presence:{" + scope + "}:counts" }

// PresenceOn is the set of the users who are in a scope on one node.
func PresenceOn(scope, node string) string { return "presence:{" + scope + "}:on:" + node }

// PresenceNotified is the zset of the users about whom something was sent to a scope in the last
// second, and of those in PresencePending, by when it was sent, Unix ms.
func PresenceNotified(scope string) string { return "presence:{" + scope + "}:notified" }

// PresencePending is the hash of the users of a scope whose state is another than the one that was
// sent last: what is shown of those who have left, "" for those who are there.
func PresencePending(scope string) string { return "presence:{" + scope + "}:pending" }

// PresenceSeen is the zset of users, by when they were last online, Unix ms.
const PresenceSeen = "presence:{" + OnlineUsers + "}:seen"

// PresenceNode is the set of the scopes in which a node has users.
func PresenceNode(node string) string { return "presence:node:" + node }

// ChatHistory is the stream of a channel's messages.
func ChatHistory(channel string) string { return "chat:" + channel + ":history" }

// ChatReported is the string that is there for a while after a player reported a message. report is
// a hash of the three names.
func ChatReported(report string) string { return "chat:reported:" + report }

// CacheTag is the string with the version of a tag. A value that was cached under another version
// is not valid.
func CacheTag(tag string) string { return "cache:tag:" + tag }

// CacheLoad is the lease for loading a cached value. Its hash tag is the key of the value, so both
// lie in one slot.
func CacheLoad(key string) string { return "{" + key + "}:load" }

// CacheLoadAwaited says that other nodes wait for a load. lease is CacheLoad of the same key.
func CacheLoadAwaited(lease string) string { return lease + ":awaited" }

// Once is the string with the record of an event that a user sent with an idempotency key. beside
// is the key that the record belongs to as well, "" for none; both lie in one slot.
func Once(route, beside, userID, key string) string {
	own := route + ":" + Part(userID) + ":" + Part(key)
	switch {
	case beside == "":
		return "once:" + own
	case strings.Contains(beside, "{"): // its hash tag is the record's as well
		return "once:" + beside + ":" + own
	}
	return "once:{" + beside + "}:" + own
}

// OperatorSession is the string that lets an operator come back to the admin UI. session is a hash
// of the id that the operator's page holds.
func OperatorSession(session string) string { return "operators:session:" + session }

// OperatorAsked is the string that exists while a question is asked. Channels have no database, so
// a node answers only what stands in its own.
func OperatorAsked(questionID string) string { return "operators:asked:" + questionID }

// OperatorAnswers is the pub/sub channel on which nodes answer one question.
func OperatorAnswers(questionID string) string { return "operators:answers:" + questionID }

// Job is the hash with the outcome of the last run of a periodic job.
func Job(name string) string { return "job:" + name }

// WebhookConnections is the hash of the connections of a node whose end must be told to the
// receiver of webhooks: connection id to what was told of its beginning.
func WebhookConnections(node string) string { return "webhooks:node:" + node }
