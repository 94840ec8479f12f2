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

// A clientRecord is what clients were told, and their requests that were not answered.
type clientRecord struct {
	mu     sync.Mutex
	keys   int                     // guarded by mu
	gifts  map[string]string       // by idempotency key, the trade that an ok named; guarded by mu
	ends   map[string]trade.Status // by trade, the end that somebody was told, or ""; guarded by mu
	moves  map[string]string       // by trade that somebody was told as completed, what must have moved; guarded by mu
	open   []gift                  // gifts that were not answered; guarded by mu
	unsure map[string]*player      // trades that somebody accepted or cancelled, and was not answered; guarded by mu
	lies   []string                // answers that can not be true together; guarded by mu
}

func newClientRecord() *clientRecord {
	return &clientRecord{gifts: map[string]string{}, ends: map[string]trade.Status{}, moves: map[string]string{}, unsure: map[string]*player{}}
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

// newGift returns a gift under a new key.
func (w *clientRecord) newGift(from, to int, apples int64) gift {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys++
	return gift{from, to, fmt.Sprint("k", w.keys), trade.Goods{Items: []trade.Line{{ItemID: "apple", Qty: apples}}, Gold: apples % 2}}
}

// giveGift asks for a gift, and notes what is known of it.
func (w *clientRecord) giveGift(p *player, g gift) (code string, answered bool) {
	var t trade.Trade
	got, err := p.askServer("trade:execute", g.payload(), &t)
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
		w.noteEnd(t)
		w.moves[t.TradeID] = describeMoves(ledger.Move{From: names[g.from], To: names[g.to], Goods: g.goods})
	}
	return got.Error.Code, true
}

// giveTwice sends one gift over two connections of its giver at the same moment.
func (w *clientRecord) giveTwice(a, b *player, g gift) {
	var both sync.WaitGroup
	both.Go(func() { w.giveGift(a, g) })
	both.Go(func() { w.giveGift(b, g) })
	both.Wait()
}

// offerBarter opens a trade between two and makes their offers; it returns "" when that failed.
// Another trade that is open between them is cancelled, so many times. The second player gives more
// too.
func (w *clientRecord) offerBarter(a, b *player, tries int, more ...trade.Line) (tradeID string) {
	var t trade.Trade
	var got answer
	var err error
	for ; tries > 0; tries-- {
		got, err = a.askServer("trade:propose", trade.Proposal{To: names[b.me]}, &t)
		if err != nil || got.Error.Code != "TRADE_OPEN" {
			break
		}
		if w.cancelTrade(a, got.Error.TradeID) != "" {
			time.Sleep(50 * time.Millisecond) // a place that was taken for a trade that never came is free after 5 s
		}
	}
	if err != nil || got.Error.Code != "" {
		return ""
	}
	w.noteTrade(t)
	give := trade.Terms{TradeID: t.TradeID, Items: []trade.Line{{ItemID: "apple", Qty: 3}}, Gold: 1, Version: 1}
	if got, err := a.askServer("trade:offer", give, &t); err != nil || got.Error.Code != "" {
		return ""
	}
	give = trade.Terms{TradeID: t.TradeID, Items: append([]trade.Line{{ItemID: "apple", Qty: 1}}, more...), Gold: 2, Version: 2}
	if got, err := b.askServer("trade:offer", give, &t); err != nil || got.Error.Code != "" {
		return ""
	}
	return t.TradeID
}

// acceptTrade agrees to what offerBarter offered.
func (w *clientRecord) acceptTrade(p *player, tradeID string) (code string) {
	return w.askAndNote(p, "trade:accept", tradeID, trade.Agreement{TradeID: tradeID, Version: 3})
}

func (w *clientRecord) cancelTrade(p *player, tradeID string) (code string) {
	return w.askAndNote(p, "trade:cancel", tradeID, trade.Ask{TradeID: tradeID})
}

func (w *clientRecord) askState(p *player, tradeID string) (code string) {
	return w.askAndNote(p, "trade:state", tradeID, trade.Ask{TradeID: tradeID})
}

// askAndNote notes what a party is told of a trade: how it ended, or that this is not known.
func (w *clientRecord) askAndNote(p *player, event, tradeID string, payload any) (code string) {
	if tradeID == "" { // the barter did not come to be
		return ""
	}
	var t trade.Trade
	got, err := p.askServer(event, payload, &t)
	switch {
	case err != nil, got.Error.Code == "LOCKED", strings.HasPrefix(got.Error.Code, "INSUFFICIENT_"): // then it should have failed
		w.mu.Lock()
		w.unsure[tradeID] = p
		w.mu.Unlock()
	case got.Error.Code == "":
		w.noteTrade(t)
	case got.Error.Code == "TRADE_OVER":
		w.noteTrade(trade.Trade{TradeID: tradeID, Status: trade.Status(got.Error.Status)})
	}
	return got.Error.Code
}

// acceptBoth lets both accept at the same moment, while other players cancel.
func (w *clientRecord) acceptBoth(a, b *player, tradeID string, cancel ...*player) {
	var all sync.WaitGroup
	for _, p := range []*player{a, b} {
		all.Go(func() { w.acceptTrade(p, tradeID) })
	}
	for _, p := range cancel {
		all.Go(func() { w.cancelTrade(p, tradeID) })
	}
	all.Wait()
}

func (w *clientRecord) noteTrade(t trade.Trade) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteEnd(t)
	if t.Status == trade.Completed && len(t.Parties) == 2 {
		a, b := t.Parties[0], t.Parties[1]
		w.moves[t.TradeID] = describeMoves(ledger.Move{From: a.CharacterID, To: b.CharacterID, Goods: a.Offer}, ledger.Move{From: b.CharacterID, To: a.CharacterID, Goods: b.Offer})
	}
}

// noteEnd notes an end that somebody was told. The caller holds mu.
func (w *clientRecord) noteEnd(t trade.Trade) {
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

// countCompleted counts the trades, gifts among them, that somebody was told as completed.
func (w *clientRecord) countCompleted() (gifts, trades int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.ends {
		if e == trade.Completed {
			trades++
		}
	}
	return len(w.gifts), trades - len(w.gifts)
}

// describeMoves writes down what changes hands, for comparison.
func describeMoves(moves ...ledger.Move) string {
	var all []string
	for _, m := range moves {
		if len(m.Items) > 0 || m.Gold > 0 {
			all = append(all, fmt.Sprintf("%s to %s: %v and %d gold", m.From, m.To, m.Items, m.Gold))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}
