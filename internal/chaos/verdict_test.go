package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// settleWithin is how long what a dead process left may stay unsettled.
const settleWithin = 5 * time.Second

// verify fails the test when anything is wrong, and says how long it took until all was settled.
func (w *world) verify(g *gatewayProcess) time.Duration {
	w.t.Helper()
	settled, breaks := w.examineWorld(g)
	require.Empty(w.t, breaks)
	return settled
}

// examineWorld waits until the sweeper has settled all; asks again, over a gateway that lives, for
// what was not answered; and compares the audit, the ledger and what clients were told.
func (w *world) examineWorld(g *gatewayProcess) (settled time.Duration, breaks []string) {
	w.t.Helper()
	settled, left := w.waitUntilSettled()
	if left != "" {
		return settled, []string{left}
	}
	breaks = append(w.askAgain(g), w.endOpenTrades(g)...)
	if _, left := w.waitUntilSettled(); left != "" {
		breaks = append(breaks, left)
	}
	r, err := w.books.Audit(w.t.Context())
	require.NoError(w.t, err)
	breaks = append(breaks, r.Breaks...)
	for _, what := range []string{"item:apple", "gold"} {
		if n := fmt.Sprint(r.Minted[what]); n != fmt.Sprint(len(names)*stock) {
			breaks = append(breaks, fmt.Sprintf("%s: %s came into being", what, n))
		}
	}
	return settled, append(breaks, w.compareWithLedger(w.readLedgerMoves())...)
}

// waitUntilSettled waits until nothing that a dead process left is undecided or unfinished. left is
// what still is.
func (w *world) waitUntilSettled() (took time.Duration, left string) {
	w.t.Helper()
	for begun := time.Now(); ; {
		if left = w.findUnsettledTrade(); left == "" || time.Since(begun) > 30*time.Second {
			return time.Since(begun), left
		}
		time.Sleep(20 * time.Millisecond) // and look again
	}
}

func (w *world) findUnsettledTrade() string {
	ctx := w.t.Context()
	ids, err := w.rdb.ZRange(ctx, keys.OpenTrades, 0, -1).Result()
	if err != nil {
		return err.Error()
	}
	for _, id := range ids {
		h, err := w.rdb.HGetAll(ctx, keys.Trade(id)).Result()
		if err != nil {
			return err.Error()
		}
		switch trade.Status(h["status"]) {
		case trade.Settling:
			return "trade " + id + " is still settling"
		case trade.Completed:
			ref := h["ref"]
			if ref == "" {
				ref = id
			}
			if known, err := w.rdb.HExists(ctx, keys.TradeLedgerIndex, ref).Result(); err != nil || !known {
				return fmt.Sprintf("trade %s is completed and not in the ledger (%v)", id, err)
			}
		}
		for _, side := range []string{"a:character", "b:character"} {
			if h[side] == "" || h["status"] == string(trade.Open) {
				continue
			}
			if held, err := w.rdb.HExists(ctx, keys.Inventory(h[side]), "hold:"+id).Result(); err != nil || held {
				return fmt.Sprintf("trade %s is %s and holds goods of %s (%v)", id, h["status"], h[side], err)
			}
		}
	}
	return ""
}

// askAgain repeats the key of each gift that was not answered, and asks for the state of each trade
// of which an acceptance or a cancellation was not. All must be answered now.
func (w *world) askAgain(g *gatewayProcess) (breaks []string) {
	w.mu.Lock()
	open, unsure := w.open, w.unsure
	w.open, w.unsure = nil, map[string]*player{}
	w.mu.Unlock()
	for _, x := range open {
		p := w.connectOrFail(g, x.from)
		code, answered := "", false
		for begun := time.Now(); !answered && time.Since(begun) < 20*time.Second; {
			if code, answered = w.giveGift(p, x); !answered {
				time.Sleep(20 * time.Millisecond) // the lease of the one that died
			}
		}
		w.mu.Lock()
		w.open = nil
		w.mu.Unlock()
		if !answered {
			breaks = append(breaks, fmt.Sprintf("the gift %s is not told by repeating its key: %s", x.key, code))
		}
		p.closeConnection()
	}
	for id, who := range unsure {
		p := w.connectOrFail(g, who.me)
		if code := w.askState(p, id); code != "" && code != "NOT_FOUND" {
			breaks = append(breaks, fmt.Sprintf("trade %s: its state is not told: %s", id, code))
		}
		p.closeConnection()
	}
	return breaks
}

func (w *world) connectOrFail(g *gatewayProcess, me int) *player {
	p, err := w.connectPlayer(g, me)
	require.NoError(w.t, err)
	return p
}

// endOpenTrades ends what is open and frees the places of proposals that came to nothing, so that
// all may trade with all again, and at once.
func (w *world) endOpenTrades(g *gatewayProcess) (breaks []string) {
	open, err := w.books.OpenTrades(w.t.Context())
	require.NoError(w.t, err)
	for _, t := range open {
		p := w.connectOrFail(g, slices.Index(names, t.Parties[0].UserID))
		if code := w.cancelTrade(p, t.TradeID); code != "" && code != "TRADE_OVER" {
			breaks = append(breaks, fmt.Sprintf("trade %s can not be cancelled: %s", t.TradeID, code))
		}
		p.closeConnection()
	}
	for _, who := range names {
		require.NoError(w.t, w.rdb.Del(w.t.Context(), keys.CharacterTrades(who)).Err())
		require.NoError(w.t, w.rdb.Del(w.t.Context(), keys.TradeOutcomes(who)).Err()) // each would be told again, by more commands
	}
	return breaks
}

// readLedgerMoves returns what each gift and trade in the ledger moved, by its ref.
func (w *world) readLedgerMoves() map[string]string {
	all := map[string]string{}
	for after := ""; ; {
		entries, err := w.books.Ledger(w.t.Context(), after, 1000)
		require.NoError(w.t, err)
		if len(entries) == 0 {
			return all
		}
		for _, e := range entries {
			if after = e.StreamID; e.Kind != "mint" {
				all[e.Ref] = describeMoves(e.Moves...)
			}
		}
	}
}

// compareWithLedger finds where the ledger contradicts what clients were told: every ok is in the
// ledger, with its goods, and nothing is there that nobody was told of: a refusal, or one gift
// twice.
func (w *clientRecord) compareWithLedger(ledger map[string]string) (breaks []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	breaks = append(breaks, w.lies...)
	for id, moves := range w.moves {
		switch was, ok := ledger[id]; {
		case !ok:
			breaks = append(breaks, fmt.Sprintf("trade %s was told as completed, and is not in the ledger", id))
		case was != moves:
			breaks = append(breaks, fmt.Sprintf("trade %s was told as %q, and is in the ledger as %q", id, moves, was))
		}
	}
	for id := range ledger {
		if end, known := w.ends[id]; !known {
			breaks = append(breaks, fmt.Sprintf("trade %s is in the ledger, and nobody was told of it", id))
		} else if end != "" && end != trade.Completed {
			breaks = append(breaks, fmt.Sprintf("trade %s was told as %s, and is in the ledger", id, end))
		}
	}
	return breaks
}
