package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/keys"
)

// Draft is a message that a player wants to send to a channel.
type Draft struct {
	Channel string `json:"channel" validate:"required"`
	// Text is 1 to 500 characters after Unicode normalization (NFC), at least one of them visible
	// and none a control character.
	Text string `json:"text" validate:"required"`
	// ClientID is the sender's own name for the message. Everybody receives it with the message.
	// Without an idempotencyKey, it is the idempotency key too.
	ClientID string `json:"clientId,omitempty" validate:"max=64"`
	// IdempotencyKey, 1 to 64 printable characters, makes a repeat safe: a message that is sent again
	// to the same channel with its key within two minutes gets the first answer and is not said again.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// Send sends a message to everybody in a channel, the sender included. Where casts are logged, the
// answer means that Redis has the message, so that every member will receive it, and so that the
// history has it; or it says Local. Otherwise it comes once the message is under way. Errors:
// INVALID, NOT_IN_CHANNEL, CHAT_MUTED, CHAT_BANNED, RATE_LIMITED in a slow channel; FORBIDDEN for
// an HTTP caller that may not join the channel; CONFLICT for another message under the same key,
// LOCKED while the first is under way.
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
	slowInterval, claim := s.slowIntervalFor(p.Roles, in.Channel), event.ClaimOf(ctx)
	if s.hasLog() {
		return s.sendLogged(ctx, room, msg, claim, slowInterval)
	}
	if claim == nil && slowInterval == 0 {
		s.journal.writeMessage(msg)
	} else if first, isRepeated, err := s.claimMessage(ctx, msg, claim, slowInterval); err != nil || isRepeated {
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

// claimMessage decides whether a message may be sent. isRepeated means that it was sent before with
// the same key; then first is the answer of that time. The error is RATE_LIMITED in a slow channel.
// Without an answer from Redis a message is sent: the gateway remembers it, and this node the
// pauses of slow channels.
func (s *Service) claimMessage(ctx context.Context, m *Message, claim *event.Claim, slowInterval time.Duration) (first Receipt, isRepeated bool, err error) {
	slowKey := keys.ChatSlow(m.Channel, m.From.UserID)
	outcome, err := s.journal.claimMessage(ctx, m, claim, slowKey, slowInterval)
	switch {
	case ctx.Err() != nil:
		return Receipt{}, false, ctx.Err()
	case err != nil:
		outcome.wait = s.slowSenders.decidePause(slowKey, slowInterval)
	case outcome.once != nil:
		err = once.ReadCheck(claim, outcome.once, &first)
		return first, true, err
	case outcome.wait == 0:
		s.slowSenders.recordPause(slowKey, slowInterval)
		if claim != nil {
			claim.MarkRecorded()
		}
	}
	if outcome.wait > 0 {
		return Receipt{}, false, slowModeFault(slowInterval, outcome.wait)
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
	once []string      // not nil: what once_check returned, because the message was sent before
	wait time.Duration // not 0: the sender must wait so long
}
