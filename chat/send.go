package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// Draft is what a player wants to say.
type Draft struct {
	Channel string `json:"channel" validate:"required"`
	// Text is 1 to 500 characters after normalisation (NFC), something of it visible, no
	// control characters.
	Text string `json:"text" validate:"required"`
	// ClientID is the sender's own name for the message, echoed to everybody. Who repeats
	// it in this channel within two minutes is given the first answer, and nothing is said.
	ClientID string `json:"clientId,omitempty" validate:"max=64"`
}

// Send says something to everybody in a channel, the sender included, and answers once it
// is on its way. Errors: INVALID, NOT_IN_CHANNEL, CHAT_MUTED, CHAT_BANNED, RATE_LIMITED in
// a slow channel; FORBIDDEN for a caller without a socket that may not join.
func (s *Service) Send(ctx context.Context, p event.Player, in Draft) (Receipt, error) {
	room, err := s.present(ctx, p, in.Channel)
	if err != nil {
		return Receipt{}, err
	}
	text, err := clean(in.Text)
	if err != nil {
		return Receipt{}, err
	}
	if err := s.rules.muted(ctx, p.UserID, in.Channel); err != nil {
		return Receipt{}, err
	}
	id, at, err := s.ids.next()
	if err != nil {
		return Receipt{}, fmt.Errorf("chat: id: %w", err)
	}
	msg := &Message{
		ID: id, Channel: in.Channel, Text: text, At: at, ClientID: in.ClientID,
		From: Sender{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID},
	}
	slow := s.slowness(p.Roles, in.Channel)
	if in.ClientID == "" && slow == 0 {
		s.journal.write(msg)
	} else if first, said, err := s.claim(ctx, msg, slow); err != nil || said {
		return first, err
	}
	if err := s.gateway.Cast(ctx, room, "chat:message", msg); err != nil {
		return Receipt{}, fmt.Errorf("chat: message to %s: %w", in.Channel, err)
	}
	return Receipt{ID: id, At: at}, nil
}

// slowness is how long a player waits between two messages in a channel.
func (s *Service) slowness(roles []string, channel string) time.Duration {
	every := s.rules.slow(channel)
	if every > 0 && s.moderates(roles) {
		return 0
	}
	return every
}

// claim makes a message the sender's own: said is true when it was said before, with the
// answer of then. The error is RATE_LIMITED.
func (s *Service) claim(ctx context.Context, m *Message, slow time.Duration) (first Receipt, said bool, err error) {
	sent, paced := keys.ChatSent(m.Channel, m.From.UserID, m.ClientID), keys.ChatSlow(m.Channel, m.From.UserID)
	mine := Receipt{ID: m.ID, At: m.At}
	if m.ClientID != "" { // Redis may not know it: it was away when this was said
		if first, ok := s.recent.said(sent); ok {
			return first, true, nil
		}
	}
	v, err := s.journal.claim(ctx, m, sent, paced, slow)
	if ctx.Err() != nil {
		return Receipt{}, false, err
	}
	if err != nil { // then by what this node knows
		v = s.recent.judge(sent, mine, m.ClientID != "", paced, slow)
	} else if v == (verdict{}) {
		s.recent.note(sent, mine, m.ClientID != "", paced, slow)
	}
	switch {
	case v.wait > 0:
		return Receipt{}, false, tooEarly(slow, v.wait)
	case v.first != nil:
		return *v.first, true, nil
	}
	return Receipt{}, false, nil
}

// tooEarly refuses a message in a slow channel, in the words of any other limit.
func tooEarly(every, wait time.Duration) error {
	return fault.ErrRateLimited.With("policy", "slow").With("scope", "user").With("limit", 1).With("remaining", 0).
		With("windowMs", every.Milliseconds()).With("retryAfterMs", wait.Milliseconds())
}

// A verdict is what became of a claim: nothing set says that the message may be said.
type verdict struct {
	first *Receipt      // it was said before, and answered so
	wait  time.Duration // it is too early for another
}
