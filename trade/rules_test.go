package trade_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// rules are what holds on any Redis: one server, where a script does a settlement at once, with its
// locks there or elsewhere, and a Cluster, where it takes steps. Each gets an empty town.
var rules = map[string]func(*testing.T, *town){
	"a gift moves once":                         aGiftMovesOnce,
	"a key belongs to its caller and its body":  aKeyBelongsToItsCallerAndItsBody,
	"refusals move nothing":                     refusalsMoveNothing,
	"a refused key may be used again":           aRefusedKeyMayBeUsedAgain,
	"the largest amounts stay exact":            theLargestAmountsStayExact,
	"ids with spaces and colons":                idsWithSpacesAndColons,
	"a stale holder can not commit":             aStaleHolderCannotCommit,
	"the lock decides nothing after the commit": theLockDecidesNothingAfterTheCommit,
	"nothing settles outside the lock":          nothingSettlesOutsideTheLock,
	"a stale holder can not settle a trade":     aStaleHolderCannotSettleATrade,
	"concurrent gifts lose and double nothing":  concurrentGiftsLoseAndDoubleNothing,
	"arithmetic":                                    arithmetic,
	"what two exchange is what they offered":        exchanges,
	"minting":                                       minting,
	"a mint under a key happens once":               aMintUnderAKeyHappensOnce,
	"state is for the parties":                      stateIsForTheParties,
	"inventories":                                   inventories,
	"the audit is exact while trades go on":         auditIsExactWhileTradesGoOn,
	"two trade":                                     twoTrade,
	"a changed offer must be accepted anew":         aChangedOfferMustBeAcceptedAnew,
	"what may not be offered":                       whatMayNotBeOffered,
	"who may not trade":                             whoMayNotTrade,
	"promises that can not be kept end a trade":     promisesThatCannotBeKeptEndATrade,
	"one open trade for a pair, five for each":      oneOpenTradeForAPairFiveForEach,
	"strangers take nothing of the receiver's":      strangersTakeNothing,
	"many propose to one at once":                   manyProposeAtOnce,
	"who is ignored is not heard":                   whoIsIgnoredIsNotHeard,
	"who acts in a trade hears of it":               whoActsInATradeHearsOfIt,
	"who is ignored must be known":                  whoIsIgnoredMustBeKnown,
	"cancelled and expired trades move nothing":     cancelledAndExpiredTradesMoveNothing,
	"who comes back is told":                        whoComesBackIsTold,
	"both accept and cancel at once":                bothAcceptAndCancelAtOnce,
	"many trades at once lose and double nothing":   manyTradesAtOnce,
	"a process dies at any command of a gift":       aProcessDiesInAGift,
	"a process dies at any command of a trade":      aProcessDiesInATrade,
	"a process dies at any command of a mint":       aProcessDiesInAMint,
	"a process dies at any command of a cancel":     aProcessDiesInACancel,
	"a process dies at any command of a proposal":   aProcessDiesInAProposal,
	"an answer is lost at any of a proposal":        anAnswerIsLostInAProposal,
	"a repeat after a death at any command":         aRepeatAfterADeath,
	"a lost claim changes nothing":                  aLostClaimChangesNothing,
	"nothing of a settlement stays behind":          nothingStaysBehind,
	"a user who is called mint":                     aUserWhoIsCalledMint,
	"a process stops at any command, and goes on":   aProcessStopsAndGoesOn,
	"an answer is lost at any command of a gift":    anAnswerIsLostInAGift,
	"an answer is lost at any command of a trade":   anAnswerIsLostInATrade,
	"a trade whose other side stays is not touched": aLivingSettlementIsLeftAlone,
}

// leased are the rules about the lease that a settlement is done under. With the locks on its own
// server there is none, unless somebody else has one: then these tests show the same.
var leased = map[string]string{
	"a stale holder can not commit":             "TestALeaseFromBeforeCommitsNothing",
	"a stale holder can not settle a trade":     "TestALeaseFromBeforeCommitsNothing",
	"the lock decides nothing after the commit": "TestASettlementIsOneRoundTrip, TestAGiftWaitsForTheLock",
}

// As the gateway is set up by default: real locks and the characters lie on the server of the
// trades, and the scripts see to both.
func TestOnOneServerWithItsLocks(t *testing.T) {
	t.Parallel()
	for name, rule := range rules {
		if elsewhere := leased[name]; elsewhere != "" {
			t.Logf("%s: %s", name, elsewhere)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			rule(t, newTownOf(t, rdb, true))
			require.Empty(t, rdb.Keys(t.Context(), "trade:fence:*").Val(), "the scripts went by the locks themselves")
		})
	}
}

// With locks that lie elsewhere, as with --lock-redis.
func TestOnOneServer(t *testing.T) {
	t.Parallel()
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule(t, newTown(t, redistest.Client(t)))
		})
	}
}

func TestOnACluster(t *testing.T) {
	t.Parallel()
	rdb := clusterClient(t, redistest.StartCluster(t))
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) { rule(t, newTown(t, rdb).anew(t)) })
	}
}

func clusterClient(t testing.TB, c *redistest.Cluster) *redis.ClusterClient {
	o := &redis.ClusterOptions{
		ReadTimeout: 10 * time.Second, ContextTimeoutEnabled: true, MaxRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, n := range c.Nodes {
		o.Addrs = append(o.Addrs, n.Addr())
	}
	rdb := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	require.NoError(t, rdb.Ping(t.Context()).Err())
	return rdb
}
