package chat

import (
	"strconv"

	"github.com/aeturnis/realtime/event"
)

// Sender is who wrote a message, as they were when they sent it.
type Sender struct {
	UserID      string `json:"userId"`
	Username    string `json:"username"`
	CharacterID string `json:"characterId"` // "" when no character was chosen
}

// Message is sent to everybody in a channel, as the event chat:message.
type Message struct {
	ID       string `json:"id"` // a ULID; the ids of one node ascend in the order of sending
	Channel  string `json:"channel"`
	From     Sender `json:"from"`
	Text     string `json:"text"`
	At       int64  `json:"at"`                 // Unix ms
	ClientID string `json:"clientId,omitempty"` // what the sender gave as clientId
}

// Receipt answers chat:message.
type Receipt struct {
	ID string `json:"id"`
	At int64  `json:"at"` // Unix ms
	// Local is true when Redis can not be used: only the members on this node have received the
	// message. The others receive it when Redis is back, unless this node ends before.
	Local bool `json:"local,omitzero"`
}

var (
	_ event.Appender = (*Message)(nil)
	_ event.Appender = Receipt{}
)

// AppendJSON appends the message as its struct tags define it, without reflection.
func (m *Message) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = event.AppendQuote(dst, m.ID)
	dst = append(dst, `,"channel":`...)
	dst = event.AppendQuote(dst, m.Channel)
	dst = append(dst, `,"from":{"userId":`...)
	dst = event.AppendQuote(dst, m.From.UserID)
	dst = append(dst, `,"username":`...)
	dst = event.AppendQuote(dst, m.From.Username)
	dst = append(dst, `,"characterId":`...)
	dst = event.AppendQuote(dst, m.From.CharacterID)
	dst = append(dst, `},"text":`...)
	dst = event.AppendQuote(dst, m.Text)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, m.At, 10)
	if m.ClientID != "" {
		dst = append(dst, `,"clientId":`...)
		dst = event.AppendQuote(dst, m.ClientID)
	}
	return append(dst, '}')
}

// AppendJSON appends the receipt as its struct tags define it, without reflection.
func (r Receipt) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = event.AppendQuote(dst, r.ID)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, r.At, 10)
	if r.Local {
		dst = append(dst, `,"local":true`...)
	}
	return append(dst, '}')
}
