package chat

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
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
	// who is offline is not kept.
	Delivered bool `json:"delivered"`
}

// whisperTimeout is how long a clientId is locked for a whisper whose delivery is not known yet.
const whisperTimeout = 5 * time.Second

// Whisper sends a message to all devices of one user. Errors: INVALID; CHAT_MUTED and CHAT_BANNED
// when the caller may not speak in any channel; LOCKED while a whisper with the same clientId is
// being sent.
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
	key := keys.WhisperSent(p.UserID, in.ClientID)
	if in.ClientID != "" {
		if first, repeated, err := s.claimWhisper(ctx, key, done); err != nil || repeated {
			return first, err
		}
	}
	reached, _, err := s.gateway.CastUser(ctx, in.To, "chat:whisper", WhisperMessage{
		ID: id, Text: text, At: at, ClientID: in.ClientID,
		From: Sender{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID},
	})
	if err != nil {
		return WhisperReceipt{}, fmt.Errorf("chat: whisper: %w", err)
	}
	done.Delivered = reached > 0
	if in.ClientID != "" {
		s.storeWhisperAnswer(ctx, key, done)
	}
	return done, nil
}

// claimWhisper reserves a clientId for a whisper. When another whisper has it, repeated is true and
// first is its answer; the error is LOCKED while it has no answer yet. While Redis can not be used,
// this node's memory decides.
func (s *Service) claimWhisper(ctx context.Context, key string, answer WhisperReceipt) (first WhisperReceipt, repeated bool, err error) {
	stored, err := s.journal.reserveKey(ctx, key, answer.storedText())
	switch {
	case ctx.Err() != nil:
		return WhisperReceipt{}, false, ctx.Err()
	case err != nil:
		if outcome := s.localClaims.decideClaim(key, Receipt{ID: answer.ID, At: answer.At}, true, "", 0); outcome.first != nil {
			return WhisperReceipt{ID: outcome.first.ID, At: outcome.first.At}, true, nil
		}
		return WhisperReceipt{}, false, nil
	case stored == "":
		s.localClaims.recordClaim(key, Receipt{ID: answer.ID, At: answer.At}, true, "", 0)
		return WhisperReceipt{}, false, nil
	}
	first, complete, err := parseDelivery(stored)
	if err == nil && !complete {
		err = fault.ErrLocked.With("retryAfterMs", int64(100))
	}
	return first, true, err
}

// storeWhisperAnswer stores the answer for the sender who repeats the whisper.
func (s *Service) storeWhisperAnswer(ctx context.Context, key string, done WhisperReceipt) {
	if err := s.journal.storeAnswer(ctx, key, done.storedText()+" "+strconv.FormatBool(done.Delivered)); err != nil && !errors.Is(err, errRedisPaused) {
		s.cfg.Report(fmt.Errorf("chat: store the answer to a whisper: %w", err))
	}
}

// storedText returns the receipt in the form in which Redis keeps it: id, space, Unix ms. A space
// and whether the whisper was delivered follow once that is known.
func (d WhisperReceipt) storedText() string { return Receipt{ID: d.ID, At: d.At}.storedText() }

// parseDelivery reads a stored answer. complete is false while the delivery is not known yet.
func parseDelivery(text string) (d WhisperReceipt, complete bool, err error) {
	receipt, delivered, complete := cutThirdWord(text)
	r, err := parseReceipt(receipt)
	if err != nil {
		return d, false, err
	}
	return WhisperReceipt{ID: r.ID, At: r.At, Delivered: delivered == "true"}, complete, nil
}

// cutThirdWord splits a text before its third word, which found says is there.
func cutThirdWord(text string) (head, last string, found bool) {
	if strings.Count(text, " ") < 2 {
		return text, "", false
	}
	i := strings.LastIndexByte(text, ' ')
	return text[:i], text[i+1:], true
}

// reserveKey sets a key unless it exists. was is "" when it was set, and otherwise the key's value.
func (j *journal) reserveKey(ctx context.Context, key, value string) (stored string, err error) {
	if j.isRedisPaused() {
		return "", errRedisPaused
	}
	ctx, cancel := context.WithTimeout(ctx, j.cfg.RedisTimeout)
	defer cancel()
	for range 2 { // the key may expire between the two commands
		taken, err := j.rdb.SetNX(ctx, key, value, whisperTimeout).Result()
		if err != nil || taken {
			return "", err
		}
		if stored, err = j.rdb.Get(ctx, key).Result(); !errors.Is(err, redis.Nil) {
			return stored, err
		}
	}
	return "", errRedisLate
}

// storeAnswer stores the answer under a reserved key.
func (j *journal) storeAnswer(ctx context.Context, key, value string) error {
	if j.isRedisPaused() {
		return errRedisPaused
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.cfg.RedisTimeout)
	defer cancel()
	return j.rdb.Set(ctx, key, value, j.cfg.RememberFor).Err()
}

// isRedisPaused reports whether Redis should not be asked: it failed a moment ago, or there is
// none.
func (j *journal) isRedisPaused() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rdb == nil || j.isClosed || time.Now().Before(j.pausedUntil)
}
