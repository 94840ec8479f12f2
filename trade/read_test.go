package trade_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

const (
	waitFor = 10 * time.Second
	tick    = 20 * time.Millisecond
)

func faultField(err error) any { return fault.Of(err).Detail("field") }

func stateIsForTheParties(t *testing.T, w *town) {
	w.mint("anna", "apple", 3, 0)
	done, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	for _, who := range []event.Player{ann, bob} {
		got, err := w.State(t.Context(), who, trade.Ask{TradeID: done.TradeID})
		require.NoError(t, err)
		require.Equal(t, done, got)
	}
	_, err = w.State(t.Context(), cat, trade.Ask{TradeID: done.TradeID})
	require.Equal(t, "NOT_FOUND", code(err), "a stranger is not told that it exists")
	require.NoError(t, w.rdb.ZAdd(t.Context(), keys.OpenTrades, redis.Z{Score: 1, Member: done.TradeID}).Err())
	for _, id := range []string{"open", "fence:ann:bob", strings.Repeat("A", 26), strings.Repeat("A", 5000), "../x", "head"} {
		_, err = w.State(t.Context(), ann, trade.Ask{TradeID: id})
		require.Equal(t, "NOT_FOUND", code(err), id)
	}
	_, err = w.State(t.Context(), ann, trade.Ask{})
	require.Equal(t, "INVALID", code(err))
}

// A gift has no key of its own, and after a day its idempotency key is forgotten: the ledger has it
// for ever.
func TestAfterItsTimeATradeIsReadFromTheLedger(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	w.mint("anna", "apple", 3, 0)
	done, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	require.Equal(t, done.CreatedAt+24*time.Hour.Milliseconds(), done.ExpiresAt)
	temp, err := w.rdb.Keys(t.Context(), "temp:trade:*").Result()
	require.NoError(t, err)
	require.Len(t, temp, 1)
	require.Zero(t, w.rdb.Exists(t.Context(), keys.Trade(done.TradeID)).Val())
	ttl, err := w.rdb.PTTL(t.Context(), temp[0]).Result()
	require.NoError(t, err)
	require.InDelta(t, 24*time.Hour, ttl, float64(time.Minute))
	require.NoError(t, w.rdb.Del(t.Context(), temp[0]).Err())
	got, err := w.Show(t.Context(), done.TradeID)
	require.NoError(t, err)
	require.Equal(t, done, got)

	next, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	require.NotEqual(t, done.TradeID, next.TradeID)
	list, err := w.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []trade.Trade{next, done}, list, "newest first, no mints")
	w.has("bobo", "2 apple, 0 gold")
	w.clean()
}

// An entry that cannot be read stays so: were it called an outage, clients would ask again for
// ever.
func TestAnUnreadableEntryIsNoOutage(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	ref := strings.Repeat("B", 26)
	id, err := w.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.TradeLedger, Values: map[string]any{"ref": ref, "body": "{"}}).Result()
	require.NoError(t, err)
	require.NoError(t, w.rdb.HSet(t.Context(), keys.TradeLedgerIndex, ref, id).Err())
	_, showErr := w.Show(t.Context(), ref)
	list, err := w.List(t.Context()) // it leaves out what cannot be read
	require.NoError(t, err)
	require.Empty(t, list)
	_, ledgerErr := w.Ledger(t.Context(), "", 10)
	for what, err := range map[string]error{"show": showErr, "ledger": ledgerErr} {
		require.ErrorIs(t, err, ledger.ErrUnreadable, what)
		require.Equal(t, "INTERNAL", code(err), what)
	}
}

func inventories(t *testing.T, w *town) {
	g, err := w.Inventory(t.Context(), bob, event.None{})
	require.NoError(t, err)
	require.Equal(t, trade.Goods{Items: []trade.Line{}}, g, "an empty list, not null")
	w.mint("bobo", "sword", 1, 7)
	w.mint("bobo", "apple", 2, 0)
	for name, who := range map[string]event.Player{"of the session's character": bob, "of the user's": {UserID: "bob"}} {
		g, err = w.Inventory(t.Context(), who, event.None{})
		require.NoError(t, err, name)
		require.Equal(t, trade.Goods{Items: []trade.Line{some("apple", 2), some("sword", 1)}, Gold: 7}, g, name)
	}
	_, err = w.Inventory(t.Context(), cat, event.None{})
	require.ErrorIs(t, err, trade.ErrNoCharacter)

	require.NoError(t, w.rdb.HSet(t.Context(), keys.Inventory("bobo"), "item:apple", "many").Err())
	_, err = w.Inventory(t.Context(), bob, event.None{})
	require.Equal(t, "INTERNAL", code(err), "it does not guess")
	_, err = w.Execute(t.Context(), bob, gift("ann", "k", 0, some("apple", 1)))
	require.Equal(t, "INTERNAL", code(err))
}

// What a client sends and gets, byte by byte.
func TestRoutes(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	w.mint("anna", "apple", 3, 5)
	routes := map[string]event.Route{}
	for _, r := range w.Routes() {
		routes[r.Name] = r
	}
	require.Len(t, routes, 7)
	require.Equal(t, []string{"trade"}, routes["trade:execute"].Limits)
	require.Equal(t, []string{"reads"}, routes["trade:state"].Limits)

	serve := func(name, payload string) (string, error) {
		b, err := routes[name].Serve(t.Context(), &ann, []byte(payload), nil)
		return string(b), err
	}
	got, err := serve("trade:execute", `{"to":"bob","give":{"items":[{"itemId":"apple","qty":2}]},"idempotencyKey":"k"}`)
	require.NoError(t, err)
	list, err := w.List(t.Context())
	require.NoError(t, err)
	want := fmt.Sprintf(`{"tradeId":%q,"status":"completed","version":1,"parties":[`+
		`{"userId":"ann","characterId":"anna","offer":{"items":[{"itemId":"apple","qty":2}],"gold":0},"accepted":true},`+
		`{"userId":"bob","characterId":"bobo","offer":{"items":[],"gold":0},"accepted":true}],"createdAt":%d,"expiresAt":%d}`,
		list[0].TradeID, list[0].CreatedAt, list[0].ExpiresAt)
	require.Equal(t, want, got)
	got, err = serve("trade:state", fmt.Sprintf(`{"tradeId":%q}`, list[0].TradeID))
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = serve("inventory:list", ``)
	require.NoError(t, err)
	require.Equal(t, `{"items":[{"itemId":"apple","qty":1}],"gold":5}`, got)

	for payload, field := range map[string]string{
		`{"to":"bob","give":{"items":[{"itemId":"apple","qty":1.5}]},"idempotencyKey":"x"}`:                  "give.items[0].qty",
		`{"to":"bob","give":{"items":[{"itemId":"apple","qty":99999999999999999999}]},"idempotencyKey":"x"}`: "give.items[0].qty",
		`{"to":"bob","give":{"items":[{"itemId":"apple","qty":"1"}]},"idempotencyKey":"x"}`:                  "give.items[0].qty",
		`{"to":"bob","give":{"gold":1,"gems":1},"idempotencyKey":"x"}`:                                       "give.gems",
		`{"to":"bob","give":{"gold":1}}`: "idempotencyKey",
		`{}`:                             "to",
	} {
		_, err := serve("trade:execute", payload)
		require.Equal(t, "INVALID", code(err), payload)
		require.Equal(t, field, faultField(err), payload)
	}
}
