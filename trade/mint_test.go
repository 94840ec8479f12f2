package trade_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

func minting(t *testing.T, w *town) {
	for name, c := range map[string]struct {
		in          trade.MintRequest
		code, field string
	}{
		"no character": {grant("", "apple", 1, 0), "INVALID", "characterId"},
		"no item":      {grant("anna", "", 1, 0), "INVALID", "items[0].itemId"},
		"bad item":     {grant("anna", "a b", 1, 0), "INVALID", "items[0].itemId"},
		"no quantity":  {grant("anna", "apple", 0, 5), "INVALID", "items[0].qty"},
		"negative":     {grant("anna", "apple", -1, 0), "INVALID", "items[0].qty"},
		"bad gold":     {grant("anna", "apple", 1, -1), "INVALID", "gold"},
		"bad key":      {trade.MintRequest{Key: "a\n", CharacterID: "anna", Gold: 1}, "INVALID", "key"},
		"nothing":      {grant("anna", "", 0, 0), "TRADE_EMPTY", ""},
		"too much":     {grant("anna", "apple", trade.Max+1, 0), "TRADE_OVERFLOW", ""},
	} {
		_, err := w.Mint(t.Context(), c.in)
		require.Equal(t, c.code, code(err), name)
		if c.field != "" {
			require.Equal(t, c.field, faultField(err), name)
		}
	}
	require.Empty(t, w.everything())

	id, err := w.Mint(t.Context(), grant("anna", "apple", 3, 4))
	require.NoError(t, err)
	w.has("anna", "3 apple, 4 gold")
	entries, err := w.Ledger(t.Context(), "", 10)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, id, entries[0].Ref)
	require.Equal(t, []ledger.Move{{To: "anna", Goods: trade.Goods{Items: []trade.Line{some("apple", 3)}, Gold: 4}}}, entries[0].Moves)
	rest, err := w.Ledger(t.Context(), entries[0].StreamID, 10)
	require.NoError(t, err)
	require.Empty(t, rest)
}

// A reward is paid once, whoever asks how often.
func aMintUnderAKeyHappensOnce(t *testing.T, w *town) {
	reward := trade.MintRequest{Key: "combat:1:anna", CharacterID: "anna", Items: []trade.Line{some("tooth", 2), some("apple", 1)}, Gold: 5}
	first, err := w.Mint(t.Context(), reward)
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			id, err := w.Mint(t.Context(), reward)
			if err != nil || id != first {
				t.Errorf("%s, %v", id, err)
			}
		})
	}
	all.Wait()
	w.has("anna", "1 apple, 2 tooth, 5 gold")
	reward.Items[0], reward.Items[1] = reward.Items[1], reward.Items[0]
	_, err = w.Mint(t.Context(), reward)
	require.NoError(t, err, "the order of lines does not count")

	for name, change := range map[string]func(*trade.MintRequest){
		"other goods":     func(r *trade.MintRequest) { r.Gold = 6 },
		"other character": func(r *trade.MintRequest) { r.CharacterID = "bobo" },
	} {
		other := reward
		change(&other)
		_, err := w.Mint(t.Context(), other)
		require.Equal(t, "CONFLICT", code(err), name)
	}
	_, err = w.Mint(t.Context(), trade.MintRequest{Key: "k", CharacterID: "anna", Gold: trade.Max})
	require.Equal(t, "TRADE_OVERFLOW", code(err))
	_, err = w.Mint(t.Context(), trade.MintRequest{Key: "k", CharacterID: "anna", Gold: 1})
	require.NoError(t, err, "a refusal leaves the key free")
	require.Equal(t, []int64{2, 2}, []int64{w.clean().Entries, w.clean().Mints}, "two mints")
}

// The record that keeps two mints under one key apart is nobody's idempotency key.
func aUserWhoIsCalledMint(t *testing.T, w *town) {
	w.mint("minty", "apple", 3, 0)
	reward := trade.MintRequest{Key: "combat:1:anna", CharacterID: "anna", Gold: 5}
	id, err := w.Mint(t.Context(), reward)
	require.NoError(t, err)
	_, err = w.Execute(t.Context(), event.Player{UserID: "mint", CharacterID: "minty"}, gift("bob", id, 0, some("apple", 1)))
	require.NoError(t, err)
	again, err := w.Mint(t.Context(), reward)
	require.NoError(t, err)
	require.Equal(t, id, again)
	w.has("anna", "5 gold")
	w.has("bobo", "1 apple, 0 gold")
	w.clean()
}
