package trade

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/keys"
)

// The kinds of deals, and of ledger entries.
const (
	kindGift  = "gift"
	kindTrade = "trade"
	kindMint  = "mint"
)

// A deal is a trade with what only the service knows of it. Its hash has the fields kind status
// version changed (who did it last, a or b) createdAt expiresAt endedAt reason told, of a settlement in steps fence deadline ref, and
// of each side a: and b: user, character, offer (JSON of Goods) and accepted (0 or 1).
type deal struct {
	Trade
	kind     string
	ref      string // its ledger entry's
	fence    string
	deadline int64 // the settlement is decided before, Unix ms; 0 when it is not done in steps
	endedAt  int64 // Unix ms
	thought  bool  // whom the receiver of a gift plays is only thought; not stored
	told     bool  // somebody has told the parties how it ended
}

// load reads the hash of a trade.
func load(id string, h map[string]string) (deal, error) {
	d := deal{
		Trade: Trade{
			TradeID: id, Status: Status(h["status"]), Version: number(h["version"]),
			CreatedAt: number(h["createdAt"]), ExpiresAt: number(h["expiresAt"]), Reason: h["reason"],
		},
		kind: h["kind"], ref: h["ref"], fence: h["fence"], deadline: number(h["deadline"]), endedAt: number(h["endedAt"]), told: h["told"] != "",
	}
	if d.ref == "" {
		d.ref = id
	}
	for _, side := range []string{"a:", "b:"} {
		p := Party{UserID: h[side+"user"], CharacterID: h[side+"character"], Accepted: h[side+"accepted"] == "1"}
		if err := json.Unmarshal([]byte(h[side+"offer"]), &p.Offer); err != nil {
			return deal{}, fmt.Errorf("trade %s: offer: %w", id, err)
		}
		p.Offer = p.Offer.sorted()
		d.Parties = append(d.Parties, p)
	}
	if !slices.Contains([]Status{Open, Settling, Completed, Cancelled, Expired, Failed}, d.Status) {
		return deal{}, fmt.Errorf("trade %s: status %q", id, d.Status)
	}
	return d, nil
}

// fromAnswer reads the trade that a script returned behind its first word.
func fromAnswer(id string, answer []string) (deal, error) {
	h := make(map[string]string, len(answer)/2)
	for i := 1; i+1 < len(answer); i += 2 {
		h[answer[i]] = answer[i+1]
	}
	return load(id, h)
}

// find reads a deal from its key. Code: NOT_FOUND.
func (s *Service) find(ctx context.Context, id string) (deal, error) {
	if !tradeID.MatchString(id) {
		return deal{}, errNoTrade
	}
	h, err := s.rdb.HGetAll(ctx, keys.Trade(id)).Result()
	if err != nil {
		return deal{}, trouble(err, "trade "+id)
	}
	if len(h) == 0 {
		return deal{}, errNoTrade
	}
	return load(id, h)
}

// side is which party a user is: 0, 1, or -1.
func (t Trade) side(userID string) int {
	return slices.IndexFunc(t.Parties, func(p Party) bool { return p.UserID == userID })
}

// letter names a side as scripts and hashes do.
func letter(side int) string { return [...]string{"a", "b"}[side] }

// over tells that the outcome is decided.
func (d deal) over() bool { return d.Status != Open && d.Status != Settling }

// moves are what changes hands, for the ledger.
func (d deal) moves() []Move {
	a, b := d.Parties[0], d.Parties[1]
	var moves []Move
	for _, m := range []Move{
		{FromUser: a.UserID, From: a.CharacterID, ToUser: b.UserID, To: b.CharacterID, Goods: a.Offer.sorted()},
		{FromUser: b.UserID, From: b.CharacterID, ToUser: a.UserID, To: a.CharacterID, Goods: b.Offer.sorted()},
	} {
		if !m.Goods.empty() {
			moves = append(moves, m)
		}
	}
	return moves
}

// fields are the deal as arguments of create.lua.
func (d deal) fields() []any {
	args := []any{"kind", d.kind, "status", string(d.Status), "version", d.Version, "ref", d.ref, "fence", d.fence}
	for i, p := range d.Parties {
		at := letter(i) + ":"
		accepted := 0
		if p.Accepted {
			accepted = 1
		}
		args = append(args, at+"user", p.UserID, at+"character", p.CharacterID, at+"offer", offerText(p.Offer.sorted()), at+"accepted", accepted)
	}
	return args
}
