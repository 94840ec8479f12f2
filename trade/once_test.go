package trade_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// claimed returns the context of an event with an idempotency key, and the claim, which another
// holder may have had before; or the recorded answer, when there is one.
func (w *town) claimed(route, beside, holder string) (ctx context.Context, answer *trade.Trade) {
	w.t.Helper()
	c := &event.Claim{
		Request: event.Request{Key: "k", Digest: "0123456789abcdef", Beside: beside},
		Record:  keys.Once(route, beside, "ann", "k"), Token: holder, Keep: time.Hour,
	}
	text, err := w.rdb.Get(w.t.Context(), c.Record).Result()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	require.NoError(w.t, err)
	if json, ok := strings.CutPrefix(text, "A"+c.Digest+"+"); ok {
		answer = w.decoded(json)
	} else if id, ok := strings.CutPrefix(text, "L"+c.Digest); ok {
		answer = w.giftOutcome(event.WithClaim(w.t.Context(), c), id)
	} else {
		claim := fmt.Sprintf("C%s%013d%s", c.Digest, time.Now().UnixMilli(), holder)
		require.NoError(w.t, w.rdb.Set(w.t.Context(), c.Record, claim, c.Keep).Err())
	}
	return event.WithClaim(w.t.Context(), c), answer
}

// giftOutcome returns what the feature says of a gift whose record names a trade.
func (w *town) giftOutcome(ctx context.Context, id string) *trade.Trade {
	w.t.Helper()
	t, isDone, err := trade.GiftOutcome(w.Service, ctx, ann, gift("bob", "k", 0, some("apple", 2)))
	require.NoError(w.t, err)
	require.True(w.t, isDone)
	require.Equal(w.t, id, t.TradeID)
	return &t
}

func (w *town) decoded(text string) *trade.Trade {
	w.t.Helper()
	t := &trade.Trade{}
	require.NoError(w.t, json.Unmarshal([]byte(text), t, json.RejectUnknownMembers(true)))
	return t
}

// A repeatable is an event that ann sends with an idempotency key.
type repeatable struct {
	route string
	// prepare returns the trade that the event is about, if there is one.
	prepare func(w *town) trade.Trade
	send    func(ctx context.Context, s *trade.Service, about trade.Trade) (trade.Trade, error)
	// status and version are what the answer says.
	status  trade.Status
	version int64
	// done asserts that the event was done once.
	done func(t *testing.T, w *town, answer trade.Trade)
}

func untouched(t *testing.T, w *town, _ trade.Trade) {
	w.has("anna", "5 apple, 0 gold")
	w.has("bobo", "50 gold")
	require.Zero(t, w.clean().Trades)
}

var repeatables = []repeatable{
	{
		"trade:propose", func(*town) trade.Trade { return trade.Trade{} },
		func(ctx context.Context, s *trade.Service, _ trade.Trade) (trade.Trade, error) {
			return s.Propose(ctx, ann, trade.Proposal{To: "bob"})
		}, trade.Open, 1,
		func(t *testing.T, w *town, answer trade.Trade) {
			open, err := w.OpenTrades(t.Context())
			require.NoError(t, err)
			require.Equal(t, []trade.Trade{answer}, open)
			require.Len(t, w.rdb.HKeys(t.Context(), keys.CharacterTrades("anna")).Val(), 1)
			require.Len(t, w.rdb.HKeys(t.Context(), keys.CharacterTrades("bobo")).Val(), 1)
		},
	},
	{
		"trade:offer", func(w *town) trade.Trade { return w.propose(ann, "bob") },
		func(ctx context.Context, s *trade.Service, about trade.Trade) (trade.Trade, error) {
			return s.Offer(ctx, ann, terms(about, 0, some("apple", 2)))
		}, trade.Open, 2, untouched,
	},
	{
		"trade:accept", func(w *town) trade.Trade { return w.offer(bob, w.propose(ann, "bob"), 10) },
		func(ctx context.Context, s *trade.Service, about trade.Trade) (trade.Trade, error) {
			return s.Accept(ctx, ann, agree(about))
		}, trade.Open, 2, untouched,
	},
	{
		"trade:accept", func(w *town) trade.Trade {
			t := w.offer(ann, w.propose(ann, "bob"), 0, some("apple", 2))
			return w.accept(bob, w.offer(bob, t, 10))
		},
		func(ctx context.Context, s *trade.Service, about trade.Trade) (trade.Trade, error) {
			return s.Accept(ctx, ann, agree(about))
		}, trade.Completed, 3,
		func(t *testing.T, w *town, _ trade.Trade) {
			w.has("anna", "3 apple, 10 gold")
			w.has("bobo", "2 apple, 40 gold")
			require.EqualValues(t, 1, w.clean().Trades)
		},
	},
	{
		"trade:cancel", func(w *town) trade.Trade { return w.propose(ann, "bob") },
		func(ctx context.Context, s *trade.Service, about trade.Trade) (trade.Trade, error) {
			return s.Cancel(ctx, ann, trade.Cancellation{TradeID: about.TradeID})
		}, trade.Cancelled, 1, untouched,
	},
	{
		"trade:execute", func(*town) trade.Trade { return trade.Trade{} },
		func(ctx context.Context, s *trade.Service, _ trade.Trade) (trade.Trade, error) {
			return s.Execute(ctx, ann, gift("bob", "k", 0, some("apple", 2)))
		}, trade.Completed, 1,
		func(t *testing.T, w *town, _ trade.Trade) {
			w.has("anna", "3 apple, 0 gold")
			w.has("bobo", "2 apple, 50 gold")
			require.EqualValues(t, 1, w.clean().Trades)
		},
	},
}

// beside returns the Redis key beside which the record of an event about a trade lies.
func (r repeatable) beside(about trade.Trade) string {
	if about.TradeID == "" {
		return ""
	}
	return keys.Trade(about.TradeID)
}

// A process dies at any command of an event with an idempotency key, and another one serves the
// repeat: it is done once, and the repeat is told so.
func aRepeatAfterADeath(t *testing.T, w *town) {
	for _, r := range repeatables {
		everywhere(t, w, true, func(t *testing.T, w *town, b *blow) {
			about := r.prepare(w)
			ctx, _ := w.claimed(r.route, r.beside(about), "one")
			first, firstErr := r.send(ctx, w.struck(t, b), about)
			_, recorded := w.claimed(r.route, r.beside(about), "two")
			w.swept()
			var again trade.Trade
			require.Eventually(t, func() bool { // LOCKED until what the dead process began is over
				ctx, answer := w.claimed(r.route, r.beside(about), "two")
				var err error
				if answer != nil {
					again = *answer
				} else if again, err = r.send(ctx, w.Service, about); err != nil {
					require.Contains(t, []string{"LOCKED", "TRADE_OVER"}, code(err))
				}
				return err == nil || code(err) == "TRADE_OVER"
			}, waitFor, tick, r.route)
			if again.TradeID == "" { // on a Cluster the settlement that died was undone, and the trade with it
				require.IsType(t, &redis.ClusterClient{}, w.rdb, r.route)
				require.True(t, r.status == trade.Completed && firstErr != nil)
				untouched(t, w, again)
				return
			}
			require.Equal(t, r.status, again.Status, r.route)
			require.Equal(t, r.version, again.Version, r.route)
			if firstErr == nil {
				require.Equal(t, first, again, "%s: a repeat is told what the first was", r.route)
			}
			if recorded != nil {
				require.Equal(t, *recorded, again, r.route)
			}
			r.done(t, w, again)
		})
	}
}

// A process whose claim another one took over changes nothing, however late its commands come.
func aLostClaimChangesNothing(t *testing.T, w *town) {
	if _, isCluster := w.rdb.(*redis.ClusterClient); isCluster {
		t.Log("on a Cluster the fence of the pair and the deadline of a settlement do it: see the rules about them")
		return
	}
	for _, r := range repeatables[1:] { // a proposal has one id, whoever makes it
		w := w.anew(t)
		w.mint("anna", "apple", 5, 0)
		w.mint("bobo", "", 0, 50)
		about := r.prepare(w)
		late, _ := w.claimed(r.route, r.beside(about), "one")
		now, _ := w.claimed(r.route, r.beside(about), "two")
		before := w.everything()
		_, err := r.send(late, w.Service, about)
		require.Equal(t, "LOCKED", code(err), r.route)
		delete(before, keys.OpenTrades) // a cancellation makes the sweeper look sooner
		after := w.everything()
		delete(after, keys.OpenTrades)
		require.Equal(t, before, after, r.route)
		done, err := r.send(now, w.Service, about)
		require.NoError(t, err, r.route)
		require.Equal(t, r.status, done.Status, r.route)
		_, answer := w.claimed(r.route, r.beside(about), "three")
		require.NotNil(t, answer, "%s: the script has recorded the answer", r.route)
		require.Equal(t, done, *answer, "%s: the recorded answer is the handler's", r.route)
		require.True(t, event.ClaimOf(now).IsRecorded(), r.route)
	}
}
