package trade_test

import (
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

// What is written without reflection is what the struct tags say.
func TestEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 12, -1)
		goods := func() trade.Goods {
			var g trade.Goods
			for range rapid.IntRange(0, 3).Draw(t, "lines") {
				g.Items = append(g.Items, trade.Line{ItemID: text.Draw(t, "item"), Qty: rapid.Int64().Draw(t, "qty")})
			}
			g.Gold = rapid.Int64().Draw(t, "gold")
			return g
		}
		tr := trade.Trade{
			TradeID: text.Draw(t, "id"), Status: trade.Status(text.Draw(t, "status")), Version: rapid.Int64().Draw(t, "version"),
			CreatedAt: rapid.Int64().Draw(t, "created"), ExpiresAt: rapid.Int64().Draw(t, "expires"), Reason: text.Draw(t, "reason"),
		}
		var moves []ledger.Move
		for range rapid.IntRange(0, 2).Draw(t, "parties") {
			tr.Parties = append(tr.Parties, trade.Party{
				UserID: text.Draw(t, "user"), CharacterID: text.Draw(t, "character"), Offer: goods(), Accepted: rapid.Bool().Draw(t, "accepted"),
			})
			moves = append(moves, ledger.Move{
				FromUser: text.Draw(t, "from user"), From: text.Draw(t, "from"), ToUser: text.Draw(t, "to user"), To: text.Draw(t, "to"), Goods: goods(),
			})
		}
		want, err := json.Marshal(tr)
		require.NoError(t, err)
		require.Equal(t, string(want), string(tr.AppendJSON(nil)))
		want, err = json.Marshal(map[string]any{"moves": append([]ledger.Move{}, moves...)})
		require.NoError(t, err)
		require.Equal(t, string(want), string(ledger.AppendMoves(nil, moves)))
	})
}
