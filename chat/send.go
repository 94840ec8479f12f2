package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// Draft is a message that a player wants to send to a channel.
type Draft struct {
	Channel string `json:"channel" validate:"required"`
	// Text is 1 to 500 characters after Unicode normalization (NFC), at least one of them visible
	// and none a control character.
	Text string `json:"text" validate:"required"`
	// ClientID is the sender's own name for the message. Everybody receives it with the message. If
	// the sender uses it again in the same channel within two minutes, the second message gets the
	// first answer and is not sent.
	ClientID string `json:"clientId,omitempty" validate:"max=64"`
}

// Send sends a message to everybody in a channel, the sender included. The answer comes once the
// message is under way. Errors: INVALID, NOT_IN_CHANNEL, CHAT_MUTED, CHAT_BANNED, RATE_LIMITED in a
// slow channel; FORBIDDEN for an HTTP caller that may not join the channel.
func (s *Service) Send(ctx context.Context, p event.Player, in Draft) (Receipt, error) {
	room, err := s.roomOfMember(ctx, p, in.Channel)
	if err != nil {
		return Receipt{}, err
	}
	text, err := normalizeText(in.Text)
	if err != nil {
		return Receipt{}, err
	}
	if err := s.rules.checkMuted(ctx, p.UserID, in.Channel); err != nil {
		return Receipt{}, err
	}
	id, at, err := s.ids.nextID()
	if err != nil {
		return Receipt{}, fmt.Errorf("chat: id: %w", err)
	}
	msg := &Message{
		ID: id, Channel: in.Channel, Text: text, At: at, ClientID: in.ClientID,
		From: Sender{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID},
	}
	slowInterval := s.slowIntervalFor(p.Roles, in.Channel)
	if in.ClientID == "" && slowInterval == 0 {
		s.journal.writeMessage(msg)
	} else if first, repeated, err := s.claimMessage(ctx, msg, slowInterval); err != nil || repeated {
		return first, err
	}
	if err := s.gateway.Cast(ctx, room, "chat:message", msg); err != nil {
		return Receipt{}, fmt.Errorf("chat: message to %s: %w", in.Channel, err)
	}
	return Receipt{ID: id, At: at}, nil
}

// slowIntervalFor returns how long a player with these roles waits between two messages in a
// channel.
func (s *Service) slowIntervalFor(roles []string, channel string) time.Duration {
	every := s.rules.slowInterval(channel)
	if every > 0 && s.isModerator(roles) {
		return 0
	}
	return every
}

// claimMessage decides whether a message may be sent. repeated means that it was sent before with
// the same clientId; then first is the answer of that time. The error is RATE_LIMITED in a slow
// channel.
func (s *Service) claimMessage(ctx context.Context, m *Message, slowInterval time.Duration) (first Receipt, repeated bool, err error) {
	sentKey, slowKey := keys.ChatSent(m.Channel, m.From.UserID, m.ClientID), keys.ChatSlow(m.Channel, m.From.UserID)
	answer := Receipt{ID: m.ID, At: m.At}
	if m.ClientID != "" { // Redis does not know it if it could not be used when the message was sent
		if first, ok := s.localClaims.findAnswer(sentKey); ok {
			return first, true, nil
		}
	}
	outcome, err := s.journal.claimMessage(ctx, m, sentKey, slowKey, slowInterval)
	if ctx.Err() != nil {
		return Receipt{}, false, err
	}
	if err != nil { // no answer from Redis: decide by what this node remembers
		outcome = s.localClaims.decideClaim(sentKey, answer, m.ClientID != "", slowKey, slowInterval)
	} else if outcome == (claimOutcome{}) {
		s.localClaims.recordClaim(sentKey, answer, m.ClientID != "", slowKey, slowInterval)
	}
	switch {
	case outcome.wait > 0:
		return Receipt{}, false, slowModeFault(slowInterval, outcome.wait)
	case outcome.first != nil:
		return *outcome.first, true, nil
	}
	return Receipt{}, false, nil
}

// slowModeFault refuses a message in a slow channel. The fault has the same details as that of any
// limit.
func slowModeFault(every, wait time.Duration) error {
	return fault.ErrRateLimited.With("policy", "slow").With("scope", "user").With("limit", 1).With("remaining", 0).
		With("windowMs", every.Milliseconds()).With("retryAfterMs", wait.Milliseconds())
}

// A claimOutcome is the decision about a message. The zero value means that it may be sent.
type claimOutcome struct {
	first *Receipt      // not nil: the message was sent before, and this was the answer
	wait  time.Duration // not 0: the sender must wait so long
}
