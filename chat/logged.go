package chat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// hasLog reports whether messages are cast by the log. Without Redis there is none.
func (s *Service) hasLog() bool {
	return s.cfg.Log != nil && s.cfg.Log.HasLog() && s.journal.rdb != nil
}

// sendLogged sends a message by the log. One script decides whether it may be sent, writes it to
// the history, and casts it.
func (s *Service) sendLogged(ctx context.Context, room string, m *Message, claim *event.Claim, slowInterval time.Duration) (Receipt, error) {
	slowKey := keys.ChatSlow(m.Channel, m.From.UserID)
	if slowInterval > 0 && s.cfg.Log.IsLogAway() {
		if wait := s.slowSenders.decidePause(slowKey, slowInterval); wait > 0 {
			return Receipt{}, slowModeFault(slowInterval, wait)
		}
	}
	receipt := Receipt{ID: m.ID, At: m.At}
	outcome, err := s.cfg.Log.CastAndWait(ctx, room, "chat:message", m, s.historyOf(m, receipt, claim, slowKey, slowInterval))
	switch {
	case err != nil:
		return Receipt{}, logFault("message to "+m.Channel, err)
	case outcome.Refused != nil:
		return s.readRefusal(outcome.Refused, claim, slowInterval)
	}
	if slowInterval > 0 {
		s.slowSenders.recordPause(slowKey, slowInterval)
	}
	if receipt.Local = outcome.IsLocal; claim != nil && !receipt.Local {
		claim.MarkRecorded()
	}
	return receipt, nil
}

// historyOf returns what is written to the history with a message, and what it may be refused for.
func (s *Service) historyOf(m *Message, answer Receipt, claim *event.Claim, slowKey string, slowInterval time.Duration) *castlog.History {
	h := &castlog.History{
		Key: keys.ChatHistory(m.Channel), Length: max(0, s.cfg.HistoryLength), Age: s.cfg.HistoryAge,
		Text: m.AppendJSON(make([]byte, 0, 192+len(m.Text))),
	}
	if claim == nil && slowInterval == 0 {
		return h
	}
	h.Claim = &castlog.Claim{SlowKey: slowKey, SlowInterval: slowInterval}
	if claim != nil {
		h.Claim.Record, h.Claim.Token, h.Claim.Digest, h.Claim.Keep = claim.Record, claim.Token, claim.Digest, claim.Keep
		h.Claim.Answer = once.AnswerText(answer.AppendJSON(nil))
	}
	return h
}

// readRefusal returns what a message is answered that was said before, or too early.
func (s *Service) readRefusal(reply []string, claim *event.Claim, slowInterval time.Duration) (first Receipt, err error) {
	if reply[0] == "early" && len(reply) == 2 {
		wait, err := parseWait(reply[1])
		if err != nil {
			return Receipt{}, err
		}
		return Receipt{}, slowModeFault(slowInterval, wait)
	}
	if claim == nil {
		return Receipt{}, fmt.Errorf("chat: unexpected reply %q", reply)
	}
	err = once.ReadCheck(claim, reply, &first)
	return first, err
}

// logFault returns what a player is told when a message could not be cast.
func logFault(doing string, err error) error {
	if errors.Is(err, castlog.ErrFull) || errors.Is(err, castlog.ErrUnknown) {
		return fault.Unavailable(feature, redisx.RetryAfter, err)
	}
	return fmt.Errorf("chat: %s: %w", doing, err)
}
