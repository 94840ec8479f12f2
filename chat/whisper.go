package chat

import (
	"context"
	"fmt"

	"github.com/aeturnis/realtime/event"
)

// WhisperDraft is a message that a player wants to send to one user.
type WhisperDraft struct {
	// To is a user id.
	To string `json:"to" validate:"required,id"`
	// Text follows the same rules as the text of chat:message.
	Text string `json:"text" validate:"required"`
	// ClientID is as in chat:message, but must differ for all of the sender's whispers, whoever they
	// go to.
	ClientID string `json:"clientId,omitempty" validate:"max=64"`
	// IdempotencyKey is as in chat:message, but must differ for all of the sender's whispers.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// WhisperMessage is sent to all devices of one user, as the event chat:whisper.
type WhisperMessage struct {
	ID       string `json:"id"`
	From     Sender `json:"from"`
	Text     string `json:"text"`
	At       int64  `json:"at"`                 // Unix ms
	ClientID string `json:"clientId,omitempty"` // what the sender gave as clientId
}

// WhisperReceipt answers chat:whisper.
type WhisperReceipt struct {
	ID string `json:"id"`
	At int64  `json:"at"` // Unix ms
	// Delivered says that at least one device of the user received the whisper. A whisper to a user
	// who is offline is not kept, and one to a user who ignores the sender is answered like that.
	Delivered bool `json:"delivered"`
	// Local is true when Redis can not be used: only devices on this node have received the whisper.
	// The others receive it when Redis is back, unless this node ends before.
	Local bool `json:"local,omitzero"`
}

// Whisper sends a message to all devices of one user. With an idempotency key it is sent at most
// once: when the node died that was sending it, a repeat is TIMEOUT, because the devices may have
// received it. Errors: INVALID; CHAT_MUTED and CHAT_BANNED when the caller may not speak in any
// channel; CONFLICT for another whisper under the same key, LOCKED while the first is being sent.
func (s *Service) Whisper(ctx context.Context, p event.Player, in WhisperDraft) (WhisperReceipt, error) {
	text, err := normalizeText(in.Text)
	if err != nil {
		return WhisperReceipt{}, err
	}
	if err := s.rules.checkMuted(ctx, p.UserID, everywhere); err != nil {
		return WhisperReceipt{}, err
	}
	id, at, err := s.ids.nextID()
	if err != nil {
		return WhisperReceipt{}, fmt.Errorf("chat: id: %w", err)
	}
	done := WhisperReceipt{ID: id, At: at}
	if isIgnored, _ := s.ignores.hasIgnored(ctx, in.To, p.UserID); isIgnored { // while Redis is away: what was known holds
		return done, nil
	}
	message := WhisperMessage{
		ID: id, Text: text, At: at, ClientID: in.ClientID,
		From: Sender{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID},
	}
	reached := 0
	if s.hasLog() {
		reached, done.Local, err = s.cfg.Log.CastUserAndWait(ctx, in.To, "chat:whisper", message)
	} else {
		reached, _, err = s.gateway.CastUser(ctx, in.To, "chat:whisper", message)
	}
	if err != nil {
		return WhisperReceipt{}, logFault("whisper", err)
	}
	done.Delivered = reached > 0
	return done, nil
}
