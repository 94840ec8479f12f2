// Package keys spells every Redis key, each in one place. Other programs read and write
// these keys, so their spelling is part of the contract with them.
package keys

import (
	"strconv"
	"strings"
)

// Channels and keys without parameters.
const (
	// Revocations is the pub/sub channel on which the end of sessions is told.
	Revocations = "session:revocations"
	// RevocationLog is the stream that holds the same messages.
	RevocationLog = "session:revocations:log"
	// SessionCounts is the hash of how many sessions were created, destroyed and found expired.
	SessionCounts = "sessions:counts"
	// OnlineUsers is the set of user ids that are online.
	OnlineUsers = "online:users"
	// PresenceNodes is the zset of the nodes that live, by the end of their leases, Unix ms.
	PresenceNodes = "{presence:nodes}"
	// PresenceDead is the set of the nodes whose users are to be taken out.
	PresenceDead = "{presence:nodes}:dead"
	// ChatRules is the hash of who is muted or banned, and of slow channels.
	ChatRules = "chat:rules"
	// LimitPolicies is the limits as the gateways were configured, JSON.
	LimitPolicies = "ratelimit:policies"
	// LimitOverrides is the hash of what operators changed at run time: NAME or NAME@ROLE to
	// LIMIT/WINDOW or off.
	LimitOverrides = "ratelimit:overrides"
	// LimitChanges is the pub/sub channel on which changes of limits and windows are told.
	LimitChanges = "ratelimit:changes"
	// OpenTrades is a zset of trade ids by when somebody must look at them again, Unix ms.
	OpenTrades = "trade:open"
	// LockReleases is the pub/sub channel on which the names of released locks are told that somebody waits for.
	LockReleases = "lock:releases"
	// TradeLedger is the hash-chained stream of completed trades and mints.
	TradeLedger = "{trade:ledger}"
	// MintedItems is the set of item ids that ever came into being.
	MintedItems = "{trade:ledger}:items"
	// TradeLedgerIndex is what makes an append to the ledger idempotent.
	TradeLedgerIndex = "{trade:ledger}:index"
	// AllTemp is the pattern of all that Temp names.
	AllTemp = "temp:*"
	// CacheInvalidations is the pub/sub channel on which nodes tell each other which cached
	// values changed.
	CacheInvalidations = "cache:invalidations"
)

// Session is the hash of one session.
func Session(id string) string { return "session:" + id }

// ExpressSession is a session of express-session, as connect-redis keeps it.
func ExpressSession(id string) string { return "sess:" + id }

// UserSessions is the zset of a user's live sessions: id by expiry, Unix ms.
func UserSessions(userID string) string { return "user:" + userID + ":sessions" }

// UserDevices is the hash of a user's connected sessions and of the nodes that hold them.
func UserDevices(userID string) string { return "user:" + userID + ":devices" }

// LastCharacter remembers the character that a user last played.
func LastCharacter(userID string) string { return "user:" + userID + ":character" }

// User is the cached profile of a user.
func User(id string) string { return "user:" + id + ":profile" }

// Settings is the cached settings of a user.
func Settings(id string) string { return "user:" + id + ":settings" }

// Achievements is the cached achievements of a user.
func Achievements(id string) string { return "user:" + id + ":achievements" }

// Character is the cached data of a character.
func Character(id string) string { return "char:" + id + ":data" }

// Inventory is everything that a character owns; it never expires.
func Inventory(id string) string { return "char:" + id + ":inventory" }

// Skills is the cached skills of a character.
func Skills(id string) string { return "char:" + id + ":skills" }

// Guild is the cached data of a guild.
func Guild(id string) string { return "guild:" + id + ":data" }

// Zone is the cached data of a zone.
func Zone(id string) string { return "zone:" + id + ":data" }

// Combat is the state of one fight.
func Combat(id string) string { return "combat:" + id + ":state" }

// CombatDeadlines is the zset of fights that are not settled yet by when to look at them, Unix ms.
const CombatDeadlines = "combat:deadlines"

// CombatPair names the running fight between two characters.
func CombatPair(a, b string) string { return "combat:pair:" + min(a, b) + ":" + max(a, b) }

// CharacterPlayer is the user who played a character lately.
func CharacterPlayer(id string) string { return "char:" + id + ":player" }

// Leaderboard is the warmed list of a leaderboard.
func Leaderboard(name string) string { return "leaderboard:" + name }

// LeaderboardScores is the zset that a leaderboard is made from.
func LeaderboardScores(name string) string { return "leaderboard:" + name + ":scores" }

// What belongs to a leaderboard's scores; the hash tag is their whole key, so all of it lies
// in one slot of a Cluster.

// LeaderboardNames is the hash of what those on a leaderboard are called.
func LeaderboardNames(name string) string { return "{" + LeaderboardScores(name) + "}:names" }

// LeaderboardSeen is the zset of what was counted lately, by time, Unix ms.
func LeaderboardSeen(name string) string { return "{" + LeaderboardScores(name) + "}:seen" }

// LeaderboardSteps counts what was ever counted: who came first.
func LeaderboardSteps(name string) string { return "{" + LeaderboardScores(name) + "}:steps" }

// Temp is a value that goes away by itself.
func Temp(kind, id string) string { return "temp:" + kind + ":" + id }

// RateLimit is the window of one subject under one policy.
func RateLimit(subject, policy string) string { return rateLimit + subject + ":" + policy }

const rateLimit = "ratelimit:"

// RateLimitSubject is the subject of a key that RateLimit made for the policy.
func RateLimitSubject(key, policy string) string {
	return strings.TrimSuffix(strings.TrimPrefix(key, rateLimit), ":"+policy)
}

// Lock is a distributed lock.
func Lock(name string) string { return "lock:" + name }

// LockFence is the counter from which the fences of a lock come; it outlives the lock. Its
// hash tag is the lock's whole key, so both lie in one slot of a Cluster.
func LockFence(name string) string { return "{lock:" + name + "}:fence" }

// LockAndFence are Lock and LockFence, the one a part of the other.
func LockAndFence(name string) (lock, fence string) {
	fence = LockFence(name)
	return fence[len("{") : len(fence)-len("}:fence")], fence
}

// LockWanted says that somebody waits for a lock; it lies in the slot of the lock.
func LockWanted(name string) string { return "{lock:" + name + "}:wanted" }

// Trade is one trade.
func Trade(id string) string { return "trade:" + id }

// CharacterTrades is the hash of a character's open trades: trade id to "<since, Unix ms> <partner's user id>".
func CharacterTrades(id string) string { return "char:" + id + ":trades" }

// TradeOutcomes is the zset of trades whose end a user may not have heard: trade id by until
// when it is to be told, Unix ms.
func TradeOutcomes(userID string) string { return "user:" + userID + ":outcomes" }

// TradeFence is the hash of the highest fence under which a pair of users traded lately, and,
// on a Cluster, of the trade that was settled under it.
func TradeFence(a, b string) string { return "trade:fence:" + a + ":" + b }

// UserCombats is the zset of a user's running fights by start, Unix ms.
func UserCombats(userID string) string { return "user:" + userID + ":combats" }

// The keys about one channel have the key of its history as their hash tag, so that one
// script may use them on a Cluster too.

// ChatSent is what was answered to a user's message with that client id.
func ChatSent(channel, userID, clientID string) string {
	return "{" + ChatHistory(channel) + "}:sent:" + strconv.Itoa(len(userID)) + ":" + userID + ":" + clientID
}

// ChatSlow is there while a user may not speak again in a slow channel.
func ChatSlow(channel, userID string) string { return "{" + ChatHistory(channel) + "}:slow:" + userID }

// WhisperSent is what was answered to a user's whisper with that client id.
func WhisperSent(userID, clientID string) string {
	return "chat:whisper:sent:" + strconv.Itoa(len(userID)) + ":" + userID + ":" + clientID
}

// Members is the set of the user ids that belong to a guild or a party; kind says which.
func Members(kind, id string) string { return kind + ":" + id + ":members" }

// The keys about one place, a channel or OnlineUsers, have its name as their hash tag.

// PresenceUsers is the zset of the users in a place, ordered by id.
func PresenceUsers(place string) string { return "presence:{" + place + "}:users" }

// PresenceWho is the hash of what is shown of them: user id → JSON.
func PresenceWho(place string) string { return "presence:{" + place + "}:who" }

// PresenceCounts is the hash of on how many nodes they are: user id → number.
func PresenceCounts(place string) string { return "presence:{" + place + "}:counts" }

// PresenceOn is the set of those that are there on one node.
func PresenceOn(place, node string) string { return "presence:{" + place + "}:on:" + node }

// PresenceSeen is the zset of when users were last online, Unix ms.
const PresenceSeen = "presence:{" + OnlineUsers + "}:seen"

// PresenceNode is the set of places in which a node has users.
func PresenceNode(node string) string { return "presence:node:" + node }

// ChatHistory is the stream of a channel's messages.
func ChatHistory(channel string) string { return "chat:" + channel + ":history" }

// CacheTag is the version of a tag: values that were cached under another are not valid.
func CacheTag(tag string) string { return "cache:tag:" + tag }

// CacheLoad is the lease of whoever loads a cached value. Its hash tag is the value's whole
// key, so both lie in one slot of a Cluster.
func CacheLoad(key string) string { return "{" + key + "}:load" }

// Job is what came of the last run of a periodic job.
func Job(name string) string { return "job:" + name }
