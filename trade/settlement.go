package trade

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// A settlement is a trade with the fields that players do not see. Its hash in Redis has the fields
// kind, status, version, changed (the side that changed it last, a or b), createdAt, expiresAt,
// endedAt, reason, told and unseen; for a saga also fence, deadline and ref; and for each side,
// with the prefix a: or b:, user, character, offer (JSON of Goods), accepted (0 or 1), offeredAt
// and acceptedAt.
type settlement struct {
	Trade
	kind       string // as in the ledger
	ref        string // the ref of its ledger entry
	fence      string // of the lease under which a saga began
	deadline   int64  // when a saga must be decided, Unix ms; 0 without a saga
	endedAt    int64  // Unix ms
	isNotified bool   // the parties were told how it ended
	isUnseen   bool   // the receiver ignores the proposer, and is told nothing unless they act in it

	times [2]SideTimes // of the parties
	conn  string       // of the player who settles it; "" where that is not known; not stored

	isReceiverGuessed bool // the script must check the receiver's character; not stored
}

// newSettlement returns a settlement of the gift under a new id, with the giver's character as far
// as the session knows it and without the receiver's.
func (g giftRequest) newSettlement() settlement {
	d := settlement{Trade: Trade{TradeID: newTradeID(), Status: Completed, Version: 1, Parties: []Party{
		{UserID: g.giver.UserID, CharacterID: g.giver.CharacterID, Offer: g.goods, Accepted: true},
		{UserID: g.to, Offer: Goods{Items: []Line{}}, Accepted: true},
	}}, kind: ledger.KindGift, conn: g.giver.Conn}
	d.ref = d.TradeID
	return d
}

// audience returns the parties who are told of the settlement.
func (d settlement) audience() []Party {
	if d.isUnseen {
		return d.Parties[:receiverSide]
	}
	return d.Parties
}

// usesEscrow tells whether goods of it are, or were, in escrow.
func (d settlement) usesEscrow() bool { return d.deadline > 0 }

// isDecided tells that the outcome is final.
func (d settlement) isDecided() bool { return d.Status != Open && d.Status != Settling }

// ledgerMoves returns what changes hands, for the ledger.
func (d settlement) ledgerMoves() []ledger.Move {
	a, b := d.Parties[0], d.Parties[1]
	var moves []ledger.Move
	for _, m := range []ledger.Move{
		{FromUser: a.UserID, From: a.CharacterID, ToUser: b.UserID, To: b.CharacterID, Goods: a.Offer.Sorted()},
		{FromUser: b.UserID, From: b.CharacterID, ToUser: a.UserID, To: a.CharacterID, Goods: b.Offer.Sorted()},
	} {
		if !m.IsEmpty() {
			moves = append(moves, m)
		}
	}
	return moves
}

// hashFields returns the settlement as arguments of create.lua.
func (d settlement) hashFields() []any {
	args := []any{"kind", d.kind, "status", string(d.Status), "version", d.Version, "ref", d.ref, "fence", d.fence}
	if d.isUnseen {
		args = append(args, "unseen", 1)
	}
	for i, p := range d.Parties {
		prefix := sideLetter(i) + ":"
		accepted := 0
		if p.Accepted {
			accepted = 1
		}
		args = append(args, prefix+"user", p.UserID, prefix+"character", p.CharacterID,
			prefix+"offer", encodeOffer(p.Offer.Sorted()), prefix+"accepted", accepted)
	}
	return args
}

// sideLetter names a side as scripts and hashes do.
func sideLetter(side int) string { return [...]string{"a", "b"}[side] }

// encodeOffer writes goods as an offer stands in the hash: as JSON.
func encodeOffer(g Goods) []byte { return append(g.AppendMembers([]byte{'{'}), '}') }

// findAnyTrade returns any trade: from its own key as long as that is kept, later from the ledger.
// Code: NOT_FOUND.
func (c *core) findAnyTrade(ctx context.Context, id string) (Trade, error) {
	d, err := c.findSettlement(ctx, id)
	if err == nil && d.kind == ledger.KindMint {
		return Trade{}, errNoTrade
	}
	if !errors.Is(err, fault.ErrNotFound) || !tradeIDPattern.MatchString(id) {
		return d.Trade, err
	}
	entry, isWritten, err := c.ledger.FindEntry(ctx, id)
	if err != nil {
		return Trade{}, wrapRedisError(err, "trade "+id)
	}
	if t, ok := tradeOfEntry(entry, c.cfg.Keep); isWritten && ok {
		return t, nil
	}
	return Trade{}, errNoTrade
}

// tradeOfEntry rebuilds a trade from its entry in the ledger. The version is not in there and
// becomes 1. ok is false for a mint.
func tradeOfEntry(e ledger.Entry, keep time.Duration) (t Trade, ok bool) {
	if e.Kind == ledger.KindMint || len(e.Moves) == 0 || len(e.Moves) > 2 {
		return Trade{}, false
	}
	move, back := e.Moves[0], Goods{}
	if len(e.Moves) == 2 {
		back = e.Moves[1].Goods
	}
	return Trade{
		TradeID: e.Ref, Status: Completed, Version: 1, CreatedAt: e.At, ExpiresAt: e.At + keep.Milliseconds(),
		Parties: []Party{
			{UserID: move.FromUser, CharacterID: move.From, Offer: move.Goods.Sorted(), Accepted: true},
			{UserID: move.ToUser, CharacterID: move.To, Offer: back.Sorted(), Accepted: true},
		},
	}, true
}

// tradeIDPattern is the form of a trade's id. It prevents that clients name other keys that begin
// with "trade:".
var tradeIDPattern = regexp.MustCompile(`^[0-9A-Za-z]{26}$`)

// findSettlement reads a settlement from its key. Code: NOT_FOUND.
func (c *core) findSettlement(ctx context.Context, id string) (settlement, error) {
	if !tradeIDPattern.MatchString(id) {
		return settlement{}, errNoTrade
	}
	hash, err := c.rdb.HGetAll(ctx, keys.Trade(id)).Result()
	if err != nil {
		return settlement{}, wrapRedisError(err, "trade "+id)
	}
	if len(hash) == 0 {
		return settlement{}, errNoTrade
	}
	return parseSettlement(id, hash)
}

// A statusTransition is what end.lua is called with: the status that a trade must have and the one
// that it gets, the reason, and a condition with its value.
type statusTransition struct {
	from, to  Status
	reason    string
	condition string       // "any", "due", "version" or "fence"
	value     any          // of "version" and "fence"
	claim     *event.Claim // of the idempotency key under which a client asks for it; nil without one
}

// changeStatus makes a transition of a trade's status, and returns the trade as it is then. isOurs
// is false when the transition was not possible, because the trade had another status or did not
// meet the condition.
func (c *core) changeStatus(ctx context.Context, id string, t statusTransition) (d settlement, isOurs bool, err error) {
	scriptKeys, args := addClaim(t.claim, []string{keys.Trade(id)}, []any{string(t.from), string(t.to), t.reason, t.condition, t.value, id}, nil)
	answer, err := c.runDurableScript(ctx, endScript, scriptKeys, args...)
	if err != nil {
		return settlement{}, false, wrapRedisError(err, "trade "+id+": "+string(t.to))
	}
	switch answer[0] {
	case "gone":
		return settlement{}, false, errNoTrade
	case "ok":
		markRecorded(t.claim)
	case "once":
		if _, err := recordedTrade(t.claim, answer); err != nil {
			return settlement{}, false, err
		}
		d, err = c.findSettlement(ctx, id)
		return d, err == nil && d.Status == t.to, err
	}
	d, err = parseScriptTrade(id, answer)
	return d, answer[0] == "ok", err
}

// scheduleCheck makes the sweeper look at a trade after a time, and returns when that is, Unix ms.
// The schedule must be as durable as the writes that follow it, which on a Cluster lie on other
// servers: without it, goods could stay in escrow for ever.
func (c *core) scheduleCheck(ctx context.Context, id string, after time.Duration) (at int64, err error) {
	answer, err := c.runDurableScript(ctx, watchScript, []string{keys.OpenTrades}, id, after.Milliseconds(), "", "")
	if err != nil {
		return 0, wrapRedisError(err, "trade "+id+": watch")
	}
	return parseInteger(answer[1]), nil
}

// parseScriptTrade reads the trade that a script returned behind its first word.
func parseScriptTrade(id string, answer []string) (settlement, error) {
	hash := make(map[string]string, len(answer)/2)
	for i := 1; i+1 < len(answer); i += 2 {
		hash[answer[i]] = answer[i+1]
	}
	return parseSettlement(id, hash)
}

// parseSettlement reads the hash of a trade.
func parseSettlement(id string, hash map[string]string) (settlement, error) {
	d := settlement{
		Trade: Trade{
			TradeID: id, Status: Status(hash["status"]), Version: parseInteger(hash["version"]),
			CreatedAt: parseInteger(hash["createdAt"]), ExpiresAt: parseInteger(hash["expiresAt"]), Reason: hash["reason"],
		},
		kind: hash["kind"], ref: hash["ref"], fence: hash["fence"],
		deadline: parseInteger(hash["deadline"]), endedAt: parseInteger(hash["endedAt"]), isNotified: hash["told"] != "", isUnseen: hash["unseen"] != "",
	}
	if d.ref == "" {
		d.ref = id
	}
	for i, prefix := range []string{"a:", "b:"} {
		d.times[i] = SideTimes{parseInteger(hash[prefix+"offeredAt"]), parseInteger(hash[prefix+"acceptedAt"])}
		p := Party{
			UserID: hash[prefix+"user"], CharacterID: hash[prefix+"character"], Accepted: hash[prefix+"accepted"] == "1",
		}
		if err := json.Unmarshal([]byte(hash[prefix+"offer"]), &p.Offer); err != nil {
			return settlement{}, fmt.Errorf("trade %s: %w: offer: %w", id, ledger.ErrUnreadable, err)
		}
		p.Offer = p.Offer.Sorted()
		d.Parties = append(d.Parties, p)
	}
	if !slices.Contains([]Status{Open, Settling, Completed, Cancelled, Expired, Failed}, d.Status) {
		return settlement{}, fmt.Errorf("trade %s: %w: status %q", id, ledger.ErrUnreadable, d.Status)
	}
	return d, nil
}

// newTradeID returns a new id of a trade. It draws from a generator that the runtime seeds from the
// system's: asking the system for each id would cost more.
func newTradeID() string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Now())                                // which fits until the year 10889
	binary.BigEndian.PutUint16(id[6:], uint16(rand.Uint32())) //nolint:gosec // an id is no secret
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())         //nolint:gosec
	return id.String()
}
