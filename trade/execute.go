package trade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// A Gift is the payload of trade:execute.
type Gift struct {
	To   string `json:"to"` // a user id
	Give Goods  `json:"give"`
	// IdempotencyKey is the caller's own name for this gift, 1 to 128 characters.
	IdempotencyKey string `json:"idempotencyKey"`
}

// validItem tells whether an item may be called so.
func validItem(id string) bool {
	for i := range len(id) {
		c := id[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("_.:-", rune(c)) {
			return false
		}
	}
	return id != "" && len(id) <= maxItemID
}

// Execute settles a one-sided gift at once and tells both sides trade:completed. The receiver need
// not be online.
//
// Codes: INVALID, TRADE_EMPTY, TRADE_TOO_MANY_LINES, TRADE_OVERFLOW, TRADE_SELF, NO_CHARACTER,
// NOT_FOUND (the receiver), ITEM_UNKNOWN, INSUFFICIENT_ITEMS, INSUFFICIENT_GOLD, CONFLICT, LOCKED: nothing
// moved. UNAVAILABLE, TIMEOUT, INTERNAL: the outcome is open, repeat with the same key.
func (s *Service) Execute(ctx context.Context, p event.Player, in Gift) (Trade, error) {
	if err := in.check(); err != nil {
		return Trade{}, err
	}
	if in.To == p.UserID {
		return Trade{}, ErrSelf
	}
	in.Give = in.Give.sorted()
	record, body := recordKey(p.UserID, in.IdempotencyKey), in.hash()
	// A repeat is answered although the goods are gone, the lock is busy or the receiver has left: the script refuses nothing
	// before it has looked at the record. Where it can not, or does not come to run, somebody else must.
	var again *Trade
	was := ""
	var err error
	if !s.guarded.alone {
		if again, was, err = s.recall(ctx, record, body); err != nil || again != nil {
			return deref(again), err
		}
	}
	d := deal{Trade: Trade{TradeID: newID(), Status: Completed, Version: 1, Parties: []Party{
		{UserID: p.UserID, CharacterID: p.CharacterID, Offer: in.Give, Accepted: true},
		{UserID: in.To, Offer: Goods{Items: []Line{}}, Accepted: true},
	}}, kind: kindGift}
	d.ref = d.TradeID
	to := &d.Parties[1].CharacterID
	if s.guarded.plays && p.CharacterID != "" {
		*to, d.thought = s.played.get(in.To)
		d.thought = d.thought && *to != p.CharacterID
	}
	thought := ""
	if d.thought {
		thought = *to
		if t, err := s.give(ctx, d, record, body, was); !errors.Is(err, errWho) {
			return t, err
		}
		d.thought = false
	}
	if d.Parties[0].CharacterID, *to, err = s.both(ctx, p, in.To); err != nil {
		if s.guarded.alone {
			if again, _, failed := s.recall(ctx, record, body); failed != nil || again != nil {
				return deref(again), failed
			}
		}
		return Trade{}, err
	}
	if s.guarded.plays {
		s.played.set(in.To, *to, thought)
	}
	return s.give(ctx, d, record, body, was)
}

// give commits a gift inside the lock of its two users.
func (s *Service) give(ctx context.Context, d deal, record, body, was string) (Trade, error) {
	var again *Trade
	err := s.locked(ctx, d, func(ctx context.Context, mine fence) (err error) {
		if !s.cluster {
			again, err = s.commit(ctx, &d, record, body, mine)
			return err
		}
		var done deal
		if done, again, err = s.giveInSteps(ctx, d, record, body, was, mine); err == nil && again == nil {
			d = done
		}
		return err
	})
	switch {
	case err != nil:
		return Trade{}, err
	case again != nil:
		return *again, nil
	}
	if s.cluster {
		s.conclude(ctx, d)
	} else {
		s.castAll(ctx, "trade:completed", d.Trade)
	}
	return d.Trade, nil
}

// commit runs the script. It fills in d's times when the goods moved, and returns the earlier
// trade when this key was used before.
func (s *Service) commit(ctx context.Context, d *deal, record, request string, mine fence) (*Trade, error) {
	t := &d.Trade
	giver, taker := t.Parties[0], t.Parties[1]
	body, digest := entryOf(kindGift, t.TradeID, d.moves())
	whom := ""
	if d.thought {
		whom = taker.UserID
	}
	var args arguments
	args.say(t.TradeID, t.TradeID+" "+request, string(mine), whom, taker.CharacterID, body, digest)
	args.goods(giver.Offer)
	lock, fence := s.guards(*t)
	answer, err := s.run(ctx, s.guarded.gift, []string{
		keys.Inventory(giver.CharacterID), keys.Inventory(taker.CharacterID), record, lock, fence,
	}, args.list...)
	if err != nil {
		return nil, trouble(err, "trade "+t.TradeID+": settle")
	}
	switch answer[0] {
	case "ok":
		t.CreatedAt = number(answer[1])
		t.ExpiresAt = t.CreatedAt + s.cfg.Keep.Milliseconds()
		return nil, nil
	case "seen":
		again, _, err := s.recall(ctx, record, request)
		if err == nil && again == nil {
			err = fault.ErrLocked // its 24 h ended between the two looks
		}
		if again != nil && again.TradeID == t.TradeID {
			// Our own script, repeated by the client library after a lost answer.
			*t = *again
			return nil, nil
		}
		return again, err
	}
	return nil, refusal(answer, giver.Offer)
}

// recall returns the trade that a key stands for, nil when the key is free, and CONFLICT when it
// came with another body; was is what stands in the record. LOCKED: it is being settled.
func (s *Service) recall(ctx context.Context, record, body string) (t *Trade, was string, err error) {
	v, err := s.rdb.Get(ctx, record).Result()
	if isNil(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", trouble(err, "trade: look up the key")
	}
	id, before, _ := strings.Cut(v, " ")
	d, err := s.find(ctx, id)
	switch {
	case err == nil && d.Status == Failed: // nothing moved
		return nil, v, nil
	case before != body:
		return nil, "", fault.ErrConflict.With("field", "idempotencyKey")
	case err == nil && d.Status == Settling:
		return nil, "", fault.ErrLocked
	case err == nil:
		return &d.Trade, v, trouble(s.settled(ctx, keys.Trade(id)), "trade "+id+": confirm")
	case !errors.Is(err, fault.ErrNotFound):
		return nil, "", err
	}
	shown, err := s.Show(ctx, id)
	switch {
	case errors.Is(err, fault.ErrNotFound): // kept longer than the record: somebody deleted it
		return nil, "", fmt.Errorf("trade %s: completed under this key, and gone: %v", id, err) //nolint:errorlint // wrapped, it would be shown as NOT_FOUND
	case err != nil:
		return nil, "", err
	}
	return &shown, v, trouble(s.settled(ctx, keys.TradeLedgerIndex), "trade "+id+": confirm")
}

func isNil(err error) bool { return errors.Is(err, redis.Nil) }

// character is whom the caller plays: the session's character, else the user's.
func (s *Service) character(ctx context.Context, p event.Player) (string, error) {
	if p.CharacterID != "" {
		return p.CharacterID, nil
	}
	id, err := s.chars.CharacterOf(ctx, p.UserID)
	if errors.Is(err, fault.ErrNotFound) || err == nil && id == "" {
		return "", ErrNoCharacter
	}
	return id, trouble(err, "trade: character of the caller")
}

func (s *Service) receiver(ctx context.Context, userID string) (string, error) {
	id, err := s.chars.CharacterOf(ctx, userID)
	if errors.Is(err, fault.ErrNotFound) || err == nil && id == "" {
		return "", errNoPlayer
	}
	return id, trouble(err, "trade: character of the receiver")
}

// check judges the payload alone.
func (g Gift) check() error {
	if err := checkID("to", g.To); err != nil {
		return err
	}
	switch n := utf8.RuneCountInString(g.IdempotencyKey); {
	case n == 0:
		return fault.Invalid("idempotencyKey", "required")
	case n > maxID:
		return fault.Invalid("idempotencyKey", "at most 128 characters")
	}
	return g.Give.check("give.")
}

// check judges goods that came from outside; under is the path of the object, with a dot.
func (g Goods) check(under string) error {
	if g.empty() {
		return ErrEmpty
	}
	if len(g.Items) > MaxLines {
		return ErrTooManyLines
	}
	for i, l := range g.Items {
		at := func(field string) string { return under + "items[" + strconv.Itoa(i) + "]." + field }
		switch {
		case l.ItemID == "":
			return fault.Invalid(at("itemId"), "required")
		case !validItem(l.ItemID):
			return fault.Invalid(at("itemId"), "at most 64 of A-Z a-z 0-9 _ . : -")
		case slices.ContainsFunc(g.Items[:i], func(before Line) bool { return before.ItemID == l.ItemID }):
			return fault.Invalid(at("itemId"), "given twice")
		case l.Qty < 1:
			return fault.Invalid(at("qty"), "at least 1")
		case l.Qty > Max:
			return ErrOverflow.With("itemId", l.ItemID)
		}
	}
	switch {
	case g.Gold < 0:
		return fault.Invalid(under+"gold", "at least 0")
	case g.Gold > Max:
		return ErrOverflow.With("gold", true)
	}
	return nil
}

func checkID(field, id string) error {
	switch {
	case id == "":
		return fault.Invalid(field, "required")
	case utf8.RuneCountInString(id) > maxID:
		return fault.Invalid(field, "at most 128 characters")
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fault.Invalid(field, "printable characters only")
	}
	return nil
}

// recordKey is where the outcome of a caller's key is kept. Neither stands in the key itself.
func recordKey(userID, key string) string {
	var room [256]byte
	b := append(strconv.AppendInt(room[:0], int64(len(userID)), 10), ':')
	return recordOf(append(append(b, userID...), key...))
}

// mintRecordKey is that of a mint, which no user's can be: theirs are of a text that begins with a number.
func mintRecordKey(ref string) string { return recordOf([]byte("mint:" + ref)) }

func recordOf(whose []byte) string {
	var room [128]byte
	sum := sha256.Sum256(whose)
	return string(hex.AppendEncode(append(room[:0], keys.Temp("trade", "")...), sum[:20]))
}

// hash tells two requests apart. The order of lines does not count.
func (g Gift) hash() string {
	var room [512]byte
	b := append(append(append(room[:0], "gift\n"...), g.To...), '\n')
	b = append(strconv.AppendInt(b, g.Give.Gold, 10), '\n')
	for _, l := range g.Give.Items {
		b = append(strconv.AppendInt(append(append(b, l.ItemID...), ' '), l.Qty, 10), '\n')
	}
	sum := sha256.Sum256(b)
	return string(hex.AppendEncode(room[:0], sum[:20]))
}

func deref(t *Trade) Trade {
	if t == nil {
		return Trade{}
	}
	return *t
}

// number reads what a script formatted.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
