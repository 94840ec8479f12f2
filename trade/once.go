package trade

import (
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/keys"
)

// An event with an idempotency key changes a trade and records its answer in one script call
// (once.lua, gift.lua). So a record without an answer means that the event changed nothing,
// whichever node died, and a command of a dead node that comes late changes nothing. On a Cluster a
// settlement takes several steps: a repeat is answered by the trade, which says how it ended.

// onceOptions are how the events of this feature are done once.
func (s *Service) onceOptions(more ...event.OnceOption) []event.OnceOption {
	return append([]event.OnceOption{event.CanRepeat(), event.KeepFor(s.cfg.Keep)}, more...)
}

// giftOnceOptions are how a gift is done once. On one server the record says which trade it became,
// and the script of the gift looks at the record by itself.
func (s *Service) giftOnceOptions() []event.OnceOption {
	options := []event.OnceOption{event.KeyLength(maxKeyLength), event.Outcome(s.giftOutcome)}
	if !s.isCluster {
		options = append(options, event.InOneScript())
	}
	return options
}

// besideTrade returns the key of a trade, in whose slot the record of an idempotency key lies. A
// text that is no trade's id has none.
func besideTrade(tradeID string) string {
	if !tradeIDPattern.MatchString(tradeID) {
		return ""
	}
	return keys.Trade(tradeID)
}

// addClaim adds the record of an idempotency key to a script's keys, and what once.lua needs of the
// claim to its arguments, with the answer when it is known. Without a claim it adds nothing.
func addClaim(claim *event.Claim, scriptKeys []string, args []any, answer []byte) ([]string, []any) {
	if claim == nil {
		return scriptKeys, args
	}
	return append(scriptKeys, claim.Record), append(args, once.Args(claim, answer)...)
}

// recordedTrade returns the trade that was the first answer to an idempotency key, from the answer
// {"once", …} of a script. The error is once.ErrLost when another holder has the claim.
func recordedTrade(claim *event.Claim, answer []string) (t Trade, err error) {
	return t, once.ReadCheck(claim, answer[1:], &t)
}

// markRecorded notes that a script has recorded the answer, if there is a claim.
func markRecorded(claim *event.Claim) {
	if claim != nil {
		claim.MarkRecorded()
	}
}
