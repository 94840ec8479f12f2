package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

// told is what clients were told, and what they were not answered.
type told struct {
	mu     sync.Mutex
	keys   int                     // guarded by mu
	gifts  map[string]string       // by idempotency key, the trade that an ok named; guarded by mu
	ends   map[string]trade.Status // by trade, the end that somebody was told, or ""; guarded by mu
	moves  map[string]string       // by trade that somebody was told as completed, what must have moved; guarded by mu
	open   []gift                  // gifts that were not answered; guarded by mu
	unsure map[string]*player      // trades that somebody accepted or cancelled, and was not answered; guarded by mu
	lies   []string                // answers that can not be true together; guarded by mu
}

func newTold() *told {
	return &told{gifts: map[string]string{}, ends: map[string]trade.Status{}, moves: map[string]string{}, unsure: map[string]*player{}}
}

// A gift is one that a client asks for, under a key.
type gift struct {
	from, to int
	key      string
	goods    trade.Goods
}

func (g gift) payload() trade.Gift {
	return trade.Gift{To: names[g.to], Give: g.goods, IdempotencyKey: g.key}
}

// present is a gift under a new key.
func (w *told) present(from, to int, apples int64) gift {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys++
	return gift{from, to, fmt.Sprint("k", w.keys), trade.Goods{Items: []trade.Line{{ItemID: "apple", Qty: apples}}, Gold: apples % 2}}
}

// give asks for a gift, and notes what is known of it.
func (w *told) give(p *player, g gift) (code string, answered bool) {
	var t trade.Trade
	got, err := p.ask("trade:execute", g.payload(), &t)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil, got.Error.Code == "LOCKED":
		w.open = append(w.open, g)
		return got.Error.Code, false
	case got.Error.Code == "":
		if was := w.gifts[g.key]; was != "" && was != t.TradeID {
			w.lies = append(w.lies, fmt.Sprintf("the key %s was done twice: %s and %s", g.key, was, t.TradeID))
		}
		w.gifts[g.key] = t.TradeID
		w.end(t)
		w.moves[t.TradeID] = moved(ledger.Move{From: names[g.from], To: names[g.to], Goods: g.goods})
	}
	return got.Error.Code, true
}

// giveTwice sends one gift over two connections of its giver at the same moment.
func (w *told) giveTwice(a, b *player, g gift) {
	var both sync.WaitGroup
	both.Go(func() { w.give(a, g) })
	both.Go(func() { w.give(b, g) })
	both.Wait()
}

// barter is a trade between two, up to the offers; "" when it did not come to be. Another trade
// that is open between them is cancelled, so many times. The second gives more too.
func (w *told) barter(a, b *player, tries int, more ...trade.Line) (tradeID string) {
	var t trade.Trade
	var got answer
	var err error
	for ; tries > 0; tries-- {
		got, err = a.ask("trade:propose", trade.Proposal{To: names[b.me]}, &t)
		if err != nil || got.Error.Code != "TRADE_OPEN" {
			break
		}
		if w.cancel(a, got.Error.TradeID) != "" {
			time.Sleep(50 * time.Millisecond) // a place that was taken for a trade that never came is free after 5 s
		}
	}
	if err != nil || got.Error.Code != "" {
		return ""
	}
	w.note(t)
	give := trade.Terms{TradeID: t.TradeID, Items: []trade.Line{{ItemID: "apple", Qty: 3}}, Gold: 1, Version: 1}
	if got, err := a.ask("trade:offer", give, &t); err != nil || got.Error.Code != "" {
		return ""
	}
	give = trade.Terms{TradeID: t.TradeID, Items: append([]trade.Line{{ItemID: "apple", Qty: 1}}, more...), Gold: 2, Version: 2}
	if got, err := b.ask("trade:offer", give, &t); err != nil || got.Error.Code != "" {
		return ""
	}
	return t.TradeID
}

// accept agrees to what barter offered.
func (w *told) accept(p *player, tradeID string) (code string) {
	return w.act(p, "trade:accept", tradeID, trade.Agreement{TradeID: tradeID, Version: 3})
}

func (w *told) cancel(p *player, tradeID string) (code string) {
	return w.act(p, "trade:cancel", tradeID, trade.Ask{TradeID: tradeID})
}

func (w *told) state(p *player, tradeID string) (code string) {
	return w.act(p, "trade:state", tradeID, trade.Ask{TradeID: tradeID})
}

// act notes what a party is told of a trade: how it ended, or that this is not known.
func (w *told) act(p *player, event, tradeID string, payload any) (code string) {
	if tradeID == "" { // the barter did not come to be
		return ""
	}
	var t trade.Trade
	got, err := p.ask(event, payload, &t)
	switch {
	case err != nil, got.Error.Code == "LOCKED", strings.HasPrefix(got.Error.Code, "INSUFFICIENT_"): // then it should have failed
		w.mu.Lock()
		w.unsure[tradeID] = p
		w.mu.Unlock()
	case got.Error.Code == "":
		w.note(t)
	case got.Error.Code == "TRADE_OVER":
		w.note(trade.Trade{TradeID: tradeID, Status: trade.Status(got.Error.Status)})
	}
	return got.Error.Code
}

// both lets both accept at the same moment, and those who cancel cancel.
func (w *told) both(a, b *player, tradeID string, cancel ...*player) {
	var all sync.WaitGroup
	for _, p := range []*player{a, b} {
		all.Go(func() { w.accept(p, tradeID) })
	}
	for _, p := range cancel {
		all.Go(func() { w.cancel(p, tradeID) })
	}
	all.Wait()
}

func (w *told) note(t trade.Trade) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(t)
	if t.Status == trade.Completed && len(t.Parties) == 2 {
		a, b := t.Parties[0], t.Parties[1]
		w.moves[t.TradeID] = moved(ledger.Move{From: a.CharacterID, To: b.CharacterID, Goods: a.Offer}, ledger.Move{From: b.CharacterID, To: a.CharacterID, Goods: b.Offer})
	}
}

// end notes an end that somebody was told. The caller holds mu.
func (w *told) end(t trade.Trade) {
	was, is := w.ends[t.TradeID], t.Status
	switch {
	case is == trade.Open || is == trade.Settling: // of before, perhaps
		w.ends[t.TradeID] = was
	case was == "":
		w.ends[t.TradeID] = is
	case is != was:
		w.lies = append(w.lies, fmt.Sprintf("trade %s was told as %s and as %s", t.TradeID, was, is))
	}
}

// completed counts the trades, gifts among them, that somebody was told as completed.
func (w *told) completed() (gifts, trades int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.ends {
		if e == trade.Completed {
			trades++
		}
	}
	return len(w.gifts), trades - len(w.gifts)
}

// moved is what changes hands, in words.
func moved(moves ...ledger.Move) string {
	var all []string
	for _, m := range moves {
		if len(m.Items) > 0 || m.Gold > 0 {
			all = append(all, fmt.Sprintf("%s to %s: %v and %d gold", m.From, m.To, m.Items, m.Gold))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}
