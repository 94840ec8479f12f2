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
		dst = append(p.Offer.AppendMembers(append(dst, `,"offer":{`...)), '}')
		dst = append(strconv.AppendBool(append(dst, `,"accepted":`...), p.Accepted), '}')
	}
	dst = strconv.AppendInt(append(dst, `],"createdAt":`...), t.CreatedAt, 10)
	dst = strconv.AppendInt(append(dst, `,"expiresAt":`...), t.ExpiresAt, 10)
	if t.Reason != "" {
		dst = event.AppendQuote(append(dst, `,"reason":`...), t.Reason)
	}
	return append(dst, '}')
}
