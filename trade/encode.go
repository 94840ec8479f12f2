package trade

import (
	"strconv"

	"github.com/aeturnis/realtime/event"
)

var _ event.Appender = Trade{}

// AppendJSON writes what the struct tags say, without reflection.
func (t Trade) AppendJSON(dst []byte) []byte {
	dst = event.AppendQuote(append(dst, `{"tradeId":`...), t.TradeID)
	dst = event.AppendQuote(append(dst, `,"status":`...), string(t.Status))
	dst = strconv.AppendInt(append(dst, `,"version":`...), t.Version, 10)
	dst = append(dst, `,"parties":[`...)
	for i, p := range t.Parties {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = event.AppendQuote(append(dst, `{"userId":`...), p.UserID)
		dst = event.AppendQuote(append(dst, `,"characterId":`...), p.CharacterID)
		dst = append(p.Offer.appendMembers(append(dst, `,"offer":{`...)), '}')
		dst = append(strconv.AppendBool(append(dst, `,"accepted":`...), p.Accepted), '}')
	}
	dst = strconv.AppendInt(append(dst, `],"createdAt":`...), t.CreatedAt, 10)
	dst = strconv.AppendInt(append(dst, `,"expiresAt":`...), t.ExpiresAt, 10)
	if t.Reason != "" {
		dst = event.AppendQuote(append(dst, `,"reason":`...), t.Reason)
	}
	return append(dst, '}')
}

// appendMembers writes the goods without their braces: in an entry of the ledger they stand beside others.
func (g Goods) appendMembers(dst []byte) []byte {
	dst = append(dst, `"items":[`...)
	for i, l := range g.Items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = event.AppendQuote(append(dst, `{"itemId":`...), l.ItemID)
		dst = append(strconv.AppendInt(append(dst, `,"qty":`...), l.Qty, 10), '}')
	}
	return strconv.AppendInt(append(dst, `],"gold":`...), g.Gold, 10)
}

// appendMoves writes the body of a ledger entry.
func appendMoves(dst []byte, moves []Move) []byte {
	dst = append(dst, `{"moves":[`...)
	for i, m := range moves {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		for _, f := range [...]struct{ name, value string }{{`"fromUser":`, m.FromUser}, {`"from":`, m.From}, {`"toUser":`, m.ToUser}} {
			if f.value != "" {
				dst = append(event.AppendQuote(append(dst, f.name...), f.value), ',')
			}
		}
		dst = append(event.AppendQuote(append(dst, `"to":`...), m.To), ',')
		dst = append(m.Goods.appendMembers(dst), '}')
	}
	return append(dst, "]}"...)
}
