package trade

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// A MintRequest is goods that are to come into being, such as a reward.
type MintRequest struct {
	// Key makes it happen once, for ever: a second mint under the same key makes nothing and
	// returns what the first did; with other goods or for another character it is CONFLICT. 1 to
	// 128 characters, such as "combat:<id>:<character>". Empty: every call makes goods.
	Key         string
	CharacterID string // need not exist yet
	Items       []Line
	Gold        int64
}

// Mint makes goods come into being. The entry of the ledger is returned by its id (Entry.Ref).
//
// Codes: INVALID (field characterId, key, items[i].… or gold), TRADE_EMPTY, TRADE_TOO_MANY_LINES,
// TRADE_OVERFLOW, CONFLICT, LOCKED: nothing was minted. UNAVAILABLE, TIMEOUT: the outcome is open; with a
// key, ask again.
func (s *Service) Mint(ctx context.Context, in MintRequest) (string, error) {
	goods := Goods{Items: in.Items, Gold: in.Gold}.sorted()
	if err := in.check(goods); err != nil {
		return "", err
	}
	id := in.id()
	moves := []Move{{To: in.CharacterID, Goods: goods}}
	body := appendMoves(nil, moves)
	if s.cluster {
		if in.Key != "" {
			err := s.minted(ctx, id, body)
			if !errors.Is(err, fault.ErrNotFound) {
				return id, err
			}
		}
		if err := s.mintInSteps(ctx, in, id, goods); errors.Is(err, errSeen) {
			return id, s.minted(ctx, id, body)
		} else if err != nil {
			return "", err
		}
		return id, nil
	}
	answer, err := s.run(ctx, mintScript,
		[]string{keys.Inventory(in.CharacterID), keys.TradeLedger, keys.TradeLedgerIndex, keys.MintedItems},
		append([]any{id, Max, body, digest(kindMint, id, body)}, goods.fields()...)...)
	switch {
	case err != nil:
		return "", trouble(err, "mint "+id)
	case answer[0] == "ok":
		return id, nil
	case answer[0] == "seen": // under this key, or the client library asked twice
		return id, s.minted(ctx, id, body)
	}
	return "", refusal(answer, goods)
}

// errSeen tells that the ledger has an entry under the key now.
var errSeen = errors.New("minted before")

// minted compares an earlier mint with what is asked for now.
func (s *Service) minted(ctx context.Context, id string, body []byte) error {
	e, err := s.entry(ctx, id)
	if err != nil {
		return err
	}
	was := appendMoves(nil, e.Moves)
	if err := s.settled(ctx, keys.TradeLedgerIndex); err != nil {
		return trouble(err, "mint "+id+": confirm")
	}
	if string(was) != string(body) {
		return fault.ErrConflict.With("field", "key")
	}
	return nil
}

// entry reads the ledger's entry of a trade or a mint. Code: NOT_FOUND.
func (s *Service) entry(ctx context.Context, ref string) (Entry, error) {
	at, err := s.rdb.HGet(ctx, keys.TradeLedgerIndex, ref).Result()
	if errors.Is(err, redis.Nil) {
		return Entry{}, errNoTrade
	}
	if err != nil {
		return Entry{}, trouble(err, "trade "+ref+": ledger index")
	}
	msgs, err := s.rdb.XRange(ctx, keys.TradeLedger, at, at).Result()
	if err != nil {
		return Entry{}, trouble(err, "trade "+ref+": ledger")
	}
	for _, m := range msgs {
		if e, err := parse(m); err != nil || e.Ref == ref {
			return e, err
		}
	}
	return Entry{}, errNoTrade
}

func (in MintRequest) check(goods Goods) error {
	if err := checkID("characterId", in.CharacterID); err != nil {
		return err
	}
	if in.Key != "" {
		if err := checkID("key", in.Key); err != nil {
			return err
		}
	}
	return goods.check("")
}

// id is the entry's: of the same key always the same, and of the form of a trade's.
func (in MintRequest) id() string {
	if in.Key == "" {
		return newID()
	}
	sum := sha256.Sum256([]byte("mint " + in.Key))
	return "M" + base32.HexEncoding.EncodeToString(sum[:16])[:25]
}
