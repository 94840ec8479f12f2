package chat

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// reportedFor is how long a report is told once.
const reportedFor = time.Hour

// ReportRequest names a message that the game's staff should look at.
type ReportRequest struct {
	Channel string `json:"channel" validate:"required"`
	ID      string `json:"id" validate:"required"` // the message's
	// Reason is for the staff.
	Reason string `json:"reason,omitempty" validate:"max=500"`
}

// Reported answers chat:report.
type Reported struct {
	Channel string `json:"channel"`
	ID      string `json:"id"`
}

// A Report is a message that a player reported, for Config.Reported.
type Report struct {
	Channel string
	By      event.Player
	Reason  string
	ID      string   // of the message
	Message *Message // nil where there is no history
}

// Report hands a message of a channel that the caller is in to the game's staff: the gateway logs
// it, and tells the receiver of webhooks. A message that the same player reported within the last
// hour is answered alike, and told to nobody.
// Errors: INVALID, NOT_IN_CHANNEL, NOT_FOUND, UNAVAILABLE.
func (s *Service) Report(ctx context.Context, p event.Player, in ReportRequest) (Reported, error) {
	if _, err := s.roomOfMember(ctx, p, in.Channel); err != nil {
		return Reported{}, err
	}
	id, err := ulid.ParseStrict(in.ID)
	if err != nil {
		return Reported{}, fault.Invalid("id", "the id of a message")
	}
	r := Report{Channel: in.Channel, By: p, Reason: in.Reason, ID: id.String()} // an id has one spelling
	if err := s.reportOnce(ctx, r, id.Timestamp()); err != nil {
		return Reported{}, redisx.WrapFault(ctx, feature, "report in "+in.Channel, err)
	}
	return Reported{in.Channel, r.ID}, nil
}

// reportOnce tells of a report, unless it was told lately. at is the time of the message's id.
func (s *Service) reportOnce(ctx context.Context, r Report, at time.Time) (err error) {
	rdb := s.journal.rdb
	if rdb == nil {
		return fault.Unavailable(feature, redisx.RetryAfter, errRedisPaused)
	}
	sum := sha256.Sum256([]byte(r.Channel + "\x00" + r.ID + "\x00" + r.By.UserID))
	key := keys.ChatReported(hex.EncodeToString(sum[:16]))
	if n, err := rdb.Exists(ctx, key).Result(); err != nil || n > 0 {
		return err
	}
	if r.Message, err = s.journal.findMessage(ctx, r.Channel, r.ID, at); err != nil {
		return err
	}
	if err := s.cfg.Reported(ctx, r); err != nil {
		return err
	}
	_ = rdb.Set(ctx, key, "", reportedFor).Err() // without it a repeat is told again
	return nil
}

// findMessage reads a message from the history: nil where there is none. Code: NOT_FOUND.
func (j *journal) findMessage(ctx context.Context, channel, id string, at time.Time) (*Message, error) {
	if !j.keepsHistory() {
		return nil, nil
	}
	place, err := j.findEntry(ctx, channel, id, at)
	if err != nil {
		return nil, err
	}
	if place == "" {
		return nil, errNoMessage
	}
	found, err := j.rdb.XRange(ctx, keys.ChatHistory(channel), place, place).Result()
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errNoMessage
	}
	m, err := decodeMessage(found[0])
	return &m, err
}
