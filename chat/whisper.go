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

// Aside is what a player wants to say to one other.
type Aside struct {
	// To is a user id.
	To string `json:"to" validate:"required,max=128"`
	// Text is as in a Draft.
	Text string `json:"text" validate:"required"`
	// ClientID is as in a Draft, for whispers of the sender to whomever.
	ClientID string `json:"clientId,omitempty" validate:"max=64"`
}

// Whispered is what every device of the user is sent, as the event chat:whisper.
type Whispered struct {
	ID       string `json:"id"`
	From     Sender `json:"from"`
	Text     string `json:"text"`
	At       int64  `json:"at"` // Unix ms
	ClientID string `json:"clientId,omitempty"`
}

// Delivery answers the sender of a whisper.
type Delivery struct {
	ID string `json:"id"`
	At int64  `json:"at"` // Unix ms
	// Delivered tells that a device of the user took it. Whispers are not kept for later.
	Delivered bool `json:"delivered"`
}

// underway is how long a whisper may take to be told whether it was delivered.
const underway = 5 * time.Second

// Whisper says something to every device of one user. Errors: INVALID; CHAT_MUTED and
// CHAT_BANNED for who may speak nowhere; LOCKED when the same clientId is being served.
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
		if first, said, err := s.whispered(ctx, key, done); err != nil || said {
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

// whispered makes a clientId the whisper's own, unless it is another's: then said is true,
// with the answer of then, or the error is LOCKED while there is none yet. While Redis is
// away it is judged by what this node knows.
func (s *Service) whispered(ctx context.Context, key string, mine Delivery) (first Delivery, said bool, err error) {
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
	first, whole, err := readDelivery(was)
	if err == nil && !whole {
		err = fault.ErrLocked.With("retryAfterMs", int64(100))
	}
	return first, true, err
}

// whisperTold keeps the answer for those who ask again.
func (s *Service) whisperTold(ctx context.Context, key string, done Delivery) {
	if err := s.journal.settle(ctx, key, done.text()+" "+strconv.FormatBool(done.Delivered)); err != nil && !errors.Is(err, errAway) {
		s.cfg.Report(fmt.Errorf("chat: remember a whisper: %w", err))
	}
}

// text is how an answer begins that is kept; whether it was delivered follows when it is known.
func (d Delivery) text() string { return Receipt{ID: d.ID, At: d.At}.text() }

func readDelivery(text string) (d Delivery, whole bool, err error) {
	receipt, told, whole := cutLast(text)
	r, err := readReceipt(receipt)
	if err != nil {
		return d, false, err
	}
	return Delivery{ID: r.ID, At: r.At, Delivered: told == "true"}, whole, nil
}

// cutLast takes the third word off.
func cutLast(text string) (head, last string, found bool) {
	if strings.Count(text, " ") < 2 {
		return text, "", false
	}
	i := strings.LastIndexByte(text, ' ')
	return text[:i], text[i+1:], true
}

// reserve takes a key that nobody has: was is "" then, else what it holds.
func (j *journal) reserve(ctx context.Context, key, value string) (was string, err error) {
	if j.away() {
		return "", errAway
	}
	ctx, cancel := context.WithTimeout(ctx, j.cfg.Patience)
	defer cancel()
	for range 2 { // it may end in between
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

// settle keeps what a reserved key stands for.
func (j *journal) settle(ctx context.Context, key, value string) error {
	if j.away() {
		return errAway
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.cfg.Patience)
	defer cancel()
	return j.rdb.Set(ctx, key, value, j.cfg.Remember).Err()
}

func (j *journal) away() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rdb == nil || j.closed || time.Now().Before(j.resting)
}
