package serverapi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/operate"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// MintRequest is goods that are to come into being, such as what a player bought.
type MintRequest struct {
	CharacterID string       `json:"characterId" validate:"required,id"` // need not exist yet
	Items       []trade.Line `json:"items,omitempty" validate:"max=20"`
	Gold        int64        `json:"gold,omitempty" validate:"min=0"`
}

// MintResult names the entry of the ledger.
type MintResult struct {
	Ref string `json:"ref"`
}

// CharacterQuery names a character.
type CharacterQuery struct {
	CharacterID string `json:"characterId" validate:"required,id"`
}

// TradeQuery names a trade.
type TradeQuery struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
}

// Mint makes goods come into being, which the ledger records. With an idempotency key it happens
// once, for ever: the key stands in the ledger. Errors: INVALID, TRADE_EMPTY, TRADE_OVERFLOW,
// CONFLICT, LOCKED, TIMEOUT, UNAVAILABLE.
func (s *Service) Mint(ctx context.Context, c Caller, in MintRequest) (MintResult, error) {
	key := ""
	if c.IdempotencyKey != "" {
		sum := sha256.Sum256([]byte(c.IdempotencyKey))
		key = "api:" + c.Name + ":" + hex.EncodeToString(sum[:16])
	}
	ref, err := s.cfg.Trade.Mint(ctx, trade.MintRequest{Key: key, CharacterID: in.CharacterID, Items: in.Items, Gold: in.Gold})
	if err != nil {
		return MintResult{}, toFault(ctx, err)
	}
	var goods []string
	for _, i := range in.Items {
		goods = append(goods, strconv.FormatInt(i.Qty, 10)+" "+i.ItemID)
	}
	if in.Gold > 0 {
		goods = append(goods, strconv.FormatInt(in.Gold, 10)+" gold")
	}
	s.record(ctx, c, auditlog.Act{What: "trade mint", Target: in.CharacterID, To: strings.Join(goods, ", "), Why: ref})
	return MintResult{ref}, nil
}

// Inventory lists what a character owns; nothing for one that is not known. Errors: INVALID,
// UNAVAILABLE.
func (s *Service) Inventory(ctx context.Context, _ Caller, in CharacterQuery) (trade.Goods, error) {
	goods, err := s.cfg.Trade.Owned(ctx, in.CharacterID)
	return goods, toFault(ctx, err)
}

// ShowTrade shows a trade or a gift, with the times of its offers. Errors: INVALID, NOT_FOUND,
// UNAVAILABLE.
func (s *Service) ShowTrade(ctx context.Context, _ Caller, in TradeQuery) (trade.Details, error) {
	details, err := s.cfg.Trade.Inspect(ctx, in.TradeID)
	return details, toFault(ctx, err)
}

// None is the input of a call that needs none.
type None struct{}

// LimitPolicy is one limit in force.
type LimitPolicy struct {
	Name     string `json:"name"`
	Limit    int    `json:"limit"` // 0 is off
	WindowMs int64  `json:"windowMs"`
	Scope    string `json:"scope"`
	Cost     int    `json:"cost"`
	// Roles are the rules of roles: "vip=50/10s".
	Roles []string `json:"roles"`
	// Overrides are the rules that were set at run time: "chat=20/10s".
	Overrides []string `json:"overrides"`
}

// LimitList are the limits in force.
type LimitList struct {
	Policies []LimitPolicy `json:"policies"`
}

// SetLimitsRequest are rules to put in force on all nodes. All are checked before the first is
// made; after UNAVAILABLE some may hold, and a repeat is safe.
type SetLimitsRequest struct {
	// Rules are overrides such as "chat=20/10s", "chat@vip=50/10s" and "chat=off"; "chat=default"
	// removes one.
	Rules []string `json:"rules" validate:"required,min=1,max=100,dive,min=1,max=200"`
}

// ShowLimits lists the limits in force. Errors: UNAVAILABLE.
func (s *Service) ShowLimits(context.Context, Caller, None) (LimitList, error) {
	out := LimitList{Policies: []LimitPolicy{}}
	overrides := s.cfg.Limiter.Overrides()
	for _, p := range s.cfg.Limiter.All() {
		out.Policies = append(out.Policies, LimitPolicy(operate.ViewPolicy(p, overrides)))
	}
	return out, nil
}

// SetLimits changes limits on all nodes, without losing what was spent. Errors: INVALID,
// UNAVAILABLE.
func (s *Service) SetLimits(ctx context.Context, c Caller, in SetLimitsRequest) (LimitList, error) {
	changes, err := operate.ParseLimitChanges(s.cfg.Limiter, in.Rules)
	if err == nil {
		err = changes.Make(ctx, s.cfg.Limiter, func(name, from, to string) {
			s.record(ctx, c, auditlog.Act{What: "limits set", Target: name, From: from, To: cmp.Or(to, "as for everybody")})
		})
	}
	for _, wrong := range []error{throttle.ErrUnknownPolicy, throttle.ErrBadPolicy, throttle.ErrBadOverride, throttle.ErrBadLimit, throttle.ErrBadWindow} {
		if errors.Is(err, wrong) {
			return LimitList{}, fault.Invalid("rules", err.Error())
		}
	}
	if err != nil {
		return LimitList{}, toFault(ctx, err)
	}
	return s.ShowLimits(ctx, c, None{})
}
