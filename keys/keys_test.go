package keys_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/keys"
)

// Other programs spell these keys too: a change here is a change of the contract.
func TestSpelling(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"session:abc":                     keys.Session("abc"),
		"{session:abc}:renewed":           keys.RenewedSession("abc"),
		"user:123:sessions":               keys.UserSessions("123"),
		"user:123:character":              keys.LastCharacter("123"),
		"user:123:combats":                keys.UserCombats("123"),
		"session:revocations":             keys.Revocations,
		"session:revocations:log":         keys.RevocationLog,
		"online:users":                    keys.OnlineUsers,
		"user:123:profile":                keys.User("123"),
		"user:123:settings":               keys.Settings("123"),
		"user:123:achievements":           keys.Achievements("123"),
		"char:456:data":                   keys.Character("456"),
		"char:456:inventory":              keys.Inventory("456"),
		"char:456:skills":                 keys.Skills("456"),
		"guild:789:data":                  keys.Guild("789"),
		"zone:zone1:data":                 keys.Zone("zone1"),
		"combat:combat123:state":          keys.Combat("combat123"),
		"leaderboard:global":              keys.Leaderboard("global"),
		"leaderboard:global:scores":       keys.LeaderboardScores("global"),
		"temp:password_reset:123":         keys.Temp("password_reset", "123"),
		"ratelimit:123:login":             keys.RateLimit("123", "login"),
		"ratelimit:nodes":                 keys.LimitNodes,
		"lock:trade:a:b":                  keys.Lock("trade:a:b"),
		"{lock:trade:a:b}:fence":          keys.LockFence("trade:a:b"),
		"{lock:trade:a:b}:wanted":         keys.LockWanted("trade:a:b"),
		"lock:releases":                   keys.LockReleases,
		"trade:7":                         keys.Trade("7"),
		"trade:open":                      keys.OpenTrades,
		"combat:paid:a%3Ab:c:2026-11-30":  keys.CombatPaid("c", "a:b", "2026-11-30"),
		"char:456:trades":                 keys.CharacterTrades("456"),
		"char:456:challenges":             keys.CharacterChallenges("456"),
		"user:123:duels":                  keys.UserDuels("123"),
		"user:123:ignored":                keys.IgnoredUsers("123"),
		"user:123:outcomes":               keys.TradeOutcomes("123"),
		"trade:fence:a:b":                 keys.TradeFence("a", "b"),
		"{trade:ledger}":                  keys.TradeLedger,
		"{trade:ledger}:index":            keys.TradeLedgerIndex,
		"{trade:ledger}:items":            keys.MintedItems,
		"cache:invalidations":             keys.CacheInvalidations,
		"job:leaderboards":                keys.Job("leaderboards"),
		"cache:tag:guild":                 keys.CacheTag("guild"),
		"{user:123:profile}:load":         keys.CacheLoad("user:123:profile"),
		"{user:123:profile}:load:awaited": keys.CacheLoadAwaited(keys.CacheLoad("user:123:profile")),
		"chat:zone:1:history":             keys.ChatHistory("zone:1"),
		"chat:reported:ab12":              keys.ChatReported("ab12"),
		"chat:rules":                      keys.ChatRules,
		"sessions:nodes":                  keys.ConnectedNodes,
		"user:u1:connections":             keys.UserConnections("u1"),
		"guild:7:members":                 keys.Members("guild", "7"),

		"once:{chat:zone:1:history}:chat:message:u1:c1": keys.Once("chat:message", keys.ChatHistory("zone:1"), "u1", "c1"),
		"once:chat:whisper:u1:c1":                       keys.Once("chat:whisper", "", "u1", "c1"),
		"once:{trade:ledger}:trade:execute:u1:c1":       keys.Once("trade:execute", keys.TradeLedger, "u1", "c1"),
		"{chat:zone:1:history}:slow:u1":                 keys.ChatSlow("zone:1", "u1"),
		"{presence:nodes}":                              keys.PresenceNodes,
		"{presence:nodes}:dead":                         keys.PresenceDead,
		"presence:node:n1":                              keys.PresenceNode("n1"),
		"presence:{online:users}:seen":                  keys.PresenceSeen,
		"presence:{zone:1}:users":                       keys.PresenceUsers("zone:1"),
		"presence:{zone:1}:who":                         keys.PresenceWho("zone:1"),
		"presence:{zone:1}:counts":                      keys.PresenceCounts("zone:1"),
		"presence:{zone:1}:notified":                    keys.PresenceNotified("zone:1"),
		"presence:{zone:1}:pending":                     keys.PresencePending("zone:1"),
		"presence:{zone:1}:on:n1":                       keys.PresenceOn("zone:1", "n1"),

		"{leaderboard:global:scores}:names": keys.LeaderboardNames("global"),
		"{leaderboard:global:scores}:seen":  keys.LeaderboardSeen("global"),
		"{leaderboard:global:scores}:steps": keys.LeaderboardSteps("global"),
		"combat:deadlines":                  keys.CombatDeadlines,
		"combat:pair:a:b":                   keys.CombatPair("b", "a"),
		"combat:pair:a%3Ab:c":               keys.CombatPair("a:b", "c"),
		"combat:pair:a:b%3Ac":               keys.CombatPair("a", "b:c"),
		"trade:a%25:b%7B%7D":                keys.TradeLock("b{}", "a%"),
		"char:456:player":                   keys.CharacterPlayer("456"),
	} {
		require.Equal(t, want, got)
	}
}

// Keys of several texts that users choose are the same only if the texts are, whatever is in them.
func TestNoTwoKeysCollide(t *testing.T) {
	t.Parallel()
	text := rapid.StringOfN(rapid.SampledFrom([]rune("ab:%{}3A|")), 1, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c, d := text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "c"), text.Draw(t, "d")
		isSame := a == c && b == d
		isSamePair := isSame || a == d && b == c
		for name, keyOf := range map[string]func(a, b string) string{
			"once":          func(a, b string) string { return keys.Once("trade:propose", "", a, b) },
			"once, beside":  func(a, b string) string { return keys.Once("chat:message", "chat:global:history", a, b) },
			"trade's fence": keys.TradeFence,
		} {
			require.Equal(t, isSame, keyOf(a, b) == keyOf(c, d), "%s: %q %q, %q %q", name, a, b, c, d)
		}
		for name, keyOf := range map[string]func(a, b string) string{"combat": keys.CombatPair, "trade": keys.TradeLock} {
			require.Equal(t, isSamePair, keyOf(a, b) == keyOf(c, d), "%s: %q %q, %q %q", name, a, b, c, d)
		}
		record := keys.Once("trade:propose", "", a, b)
		require.NotEqual(t, keys.OnceID(record), keys.Once("trade:propose", "", c, d), "the id of one is the record of another")
	})
}

// These keys are a gateway's own, and only those that tell webhooks need the right to them.
func TestSpellingOfWebhooks(t *testing.T) {
	t.Parallel()
	require.Equal(t, "webhooks:waiting", keys.Webhooks) // append.lua spells it too
	require.Equal(t, "webhooks:counts", keys.WebhookCounts)
	require.Equal(t, "webhooks:node:a", keys.WebhookConnections("a"))
}
