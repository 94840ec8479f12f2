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

// Aside is a message that a player wants to send to one user.
type Aside struct {
	// To is a user id.
	To string `json:"to" validate:"required,max=128"`
	// Text follows the same rules as the text of chat:message.
	Text string `json:"text" validate:"required"`
	// ClientID works as that of chat:message. The sender's whispers to all users share one set of
	// clientIds.
	ClientID string `json:"clientId,omitempty" validate:"max=64"`
}

// Whispered is sent to all devices of one user, as the event chat:whisper.
type Whispered struct {
	ID       string `json:"id"`
	From     Sender `json:"from"`
	Text     string `json:"text"`
	At       int64  `json:"at"` // Unix ms
	ClientID string `json:"clientId,omitempty"` // what the sender gave as clientId
}

// Delivery answers chat:whisper.
type Delivery struct {
	ID string `json:"id"`
	At int64  `json:"at"` // Unix ms
	// Delivered says that at least one device of the user received the whisper. A whisper to a user
	// who is offline is not kept.
	Delivered bool `json:"delivered"`
}

// underway is how long a clientId is locked for a whisper whose delivery is not known yet.
const underway = 5 * time.Second

// Whisper sends a message to all devices of one user. Errors: INVALID; CHAT_MUTED and CHAT_BANNED
// when the caller may not speak in any channel; LOCKED while a whisper with the same clientId is
// being sent.
func (s *Service) Whisper(ctx context.Context, p event.Player, in Aside) (Delivery, error) {
	text, err := clean(in.Text)
	if err != nil {
		return Delivery{}, err
	}
	if err := s.rules.muted(ctx, p.UserID, everywhere); err != nil {
		return Delivery{}, err
	}
	id, at, err := s.ids.next()
	if err != nil {
		return Delivery{}, fmt.Errorf("chat: id: %w", err)
	}
	done := Delivery{ID: id, At: at}
	key := keys.WhisperSent(p.UserID, in.ClientID)
	if in.ClientID != "" {
		if first, repeated, err := s.whispered(ctx, key, done); err != nil || repeated {
			return first, err
		}
	}
	reached, _, err := s.gateway.CastUser(ctx, in.To, "chat:whisper", Whispered{
		ID: id, Text: text, At: at, ClientID: in.ClientID,
		From: Sender{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID},
	})
	if err != nil {
		return Delivery{}, fmt.Errorf("chat: whisper: %w", err)
	}
	done.Delivered = reached > 0
	if in.ClientID != "" {
		s.whisperTold(ctx, key, done)
	}
	return done, nil
}

// whispered reserves a clientId for a whisper. When another whisper has it, repeated is true and
// first is its answer; the error is LOCKED while it has no answer yet. While Redis can not be used,
// this node's memory decides.
func (s *Service) whispered(ctx context.Context, key string, mine Delivery) (first Delivery, repeated bool, err error) {
	was, err := s.journal.reserve(ctx, key, mine.text())
	switch {
	case ctx.Err() != nil:
		return Delivery{}, false, ctx.Err()
	case err != nil:
		if v := s.recent.judge(key, Receipt{ID: mine.ID, At: mine.At}, true, "", 0); v.first != nil {
			return Delivery{ID: v.first.ID, At: v.first.At}, true, nil
		}
		return Delivery{}, false, nil
	case was == "":
		s.recent.note(key, Receipt{ID: mine.ID, At: mine.At}, true, "", 0)
		return Delivery{}, false, nil
	}
	first, complete, err := readDelivery(was)
	if err == nil && !complete {
		err = fault.ErrLocked.With("retryAfterMs", int64(100))
	}
	return first, true, err
}

// whisperTold stores the answer for the sender who repeats the whisper.
func (s *Service) whisperTold(ctx context.Context, key string, done Delivery) {
	if err := s.journal.settle(ctx, key, done.text()+" "+strconv.FormatBool(done.Delivered)); err != nil && !errors.Is(err, errAway) {
		s.cfg.Report(fmt.Errorf("chat: store the answer to a whisper: %w", err))
	}
}

// text returns the receipt in the form in which Redis keeps it: id, space, Unix ms. A space and
// whether the whisper was delivered follow once that is known.
func (d Delivery) text() string { return Receipt{ID: d.ID, At: d.At}.text() }

// readDelivery reads a stored answer. complete is false while the delivery is not known yet.
func readDelivery(text string) (d Delivery, complete bool, err error) {
	receipt, delivered, complete := cutLast(text)
	r, err := readReceipt(receipt)
	if err != nil {
		return d, false, err
	}
	return Delivery{ID: r.ID, At: r.At, Delivered: delivered == "true"}, complete, nil
}

// cutLast splits a text before its third word, which found says is there.
func cutLast(text string) (head, last string, found bool) {
	if strings.Count(text, " ") < 2 {
		return text, "", false
	}
	i := strings.LastIndexByte(text, ' ')
	return text[:i], text[i+1:], true
}

// reserve sets a key unless it exists. was is "" when it was set, and otherwise the key's value.
func (j *journal) reserve(ctx context.Context, key, value string) (was string, err error) {
	if j.away() {
		return "", errAway
	}
	ctx, cancel := context.WithTimeout(ctx, j.cfg.Patience)
	defer cancel()
	for range 2 { // the key may expire between the two commands
		taken, err := j.rdb.SetNX(ctx, key, value, underway).Result()
		if err != nil || taken {
			return "", err
		}
		if was, err = j.rdb.Get(ctx, key).Result(); !errors.Is(err, redis.Nil) {
			return was, err
		}
	}
	return "", errLate
}

// settle stores the answer under a reserved key.
func (j *journal) settle(ctx context.Context, key, value string) error {
	if j.away() {
		return errAway
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.cfg.Patience)
	defer cancel()
	return j.rdb.Set(ctx, key, value, j.cfg.Remember).Err()
}

// away reports whether Redis should not be asked: it failed a moment ago, or there is none.
func (j *journal) away() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rdb == nil || j.closed || time.Now().Before(j.resting)
}
