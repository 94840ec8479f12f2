package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// within is how long what a dead process left may stay unsettled.
const within = 5 * time.Second

// verify fails the test when anything is wrong, and says how long it took until all was settled.
func (w *world) verify(g *gate) time.Duration {
	w.t.Helper()
	settled, breaks := w.examine(g)
	require.Empty(w.t, breaks)
	return settled
}

// examine waits until the sweeper has settled all; asks again, over a gateway that lives, for what
// was not answered; and compares the audit, the ledger and what clients were told.
func (w *world) examine(g *gate) (settled time.Duration, breaks []string) {
	w.t.Helper()
	settled, left := w.settled()
	if left != "" {
		return settled, []string{left}
	}
	breaks = append(w.askAgain(g), w.clear(g)...)
	if _, left := w.settled(); left != "" {
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
	return settled, append(breaks, w.compare(w.ledger())...)
}

// settled waits until nothing that a dead process left is undecided or unfinished. left is what
// still is.
func (w *world) settled() (took time.Duration, left string) {
	w.t.Helper()
	for begun := time.Now(); ; {
		if left = w.unsettled(); left == "" || time.Since(begun) > 30*time.Second {
			return time.Since(begun), left
		}
		time.Sleep(20 * time.Millisecond) // and look again
	}
}

func (w *world) unsettled() string {
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
func (w *world) askAgain(g *gate) (breaks []string) {
	w.mu.Lock()
	open, unsure := w.open, w.unsure
	w.open, w.unsure = nil, map[string]*player{}
	w.mu.Unlock()
	for _, x := range open {
		p := w.again(g, x.from)
		code, answered := "", false
		for begun := time.Now(); !answered && time.Since(begun) < 20*time.Second; {
			if code, answered = w.give(p, x); !answered {
				time.Sleep(20 * time.Millisecond) // the lease of the one that died
			}
		}
		w.mu.Lock()
		w.open = nil
		w.mu.Unlock()
		if !answered {
			breaks = append(breaks, fmt.Sprintf("the gift %s is not told by repeating its key: %s", x.key, code))
		}
		p.leave()
	}
	for id, who := range unsure {
		p := w.again(g, who.me)
		if code := w.state(p, id); code != "" && code != "NOT_FOUND" {
			breaks = append(breaks, fmt.Sprintf("trade %s: its state is not told: %s", id, code))
		}
		p.leave()
	}
	return breaks
}

func (w *world) again(g *gate, me int) *player {
	p, err := w.seat(g, me)
	require.NoError(w.t, err)
	return p
}

// clear ends what is open and frees the places of proposals that came to nothing, so that all may
// trade with all again, and at once.
func (w *world) clear(g *gate) (breaks []string) {
	open, err := w.books.OpenTrades(w.t.Context())
	require.NoError(w.t, err)
	for _, t := range open {
		p := w.again(g, slices.Index(names, t.Parties[0].UserID))
		if code := w.cancel(p, t.TradeID); code != "" && code != "TRADE_OVER" {
			breaks = append(breaks, fmt.Sprintf("trade %s can not be cancelled: %s", t.TradeID, code))
		}
		p.leave()
	}
	for _, who := range names {
		require.NoError(w.t, w.rdb.Del(w.t.Context(), keys.CharacterTrades(who)).Err())
		require.NoError(w.t, w.rdb.Del(w.t.Context(), keys.TradeOutcomes(who)).Err()) // each would be told again, by more commands
	}
	return breaks
}

// ledger is what was moved by the gifts and trades in it.
func (w *world) ledger() map[string]string {
	all := map[string]string{}
	for after := ""; ; {
		entries, err := w.books.Ledger(w.t.Context(), after, 1000)
		require.NoError(w.t, err)
		if len(entries) == 0 {
			return all
		}
		for _, e := range entries {
			if after = e.StreamID; e.Kind != "mint" {
				all[e.Ref] = moved(e.Moves...)
			}
		}
	}
}

// compare finds what clients were told and is not so: every ok is in the ledger, with its goods,
// and nothing is there that nobody was told of: a refusal, or one gift twice.
func (w *told) compare(ledger map[string]string) (breaks []string) {
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
