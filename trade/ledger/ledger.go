package trade

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// An Entry is one line of the ledger: goods that came into being or changed hands.
//
// In the stream it has the fields seq, kind, ref, at, body, prev and hash; body is the JSON
// {"moves": [Move…]}, hash the SHA-1, in hex, of prev, seq, at and digest joined by newlines, digest that of kind, ref and
// body, and prev the hash of the entry before, "" for the first. The chain shows edits and gaps; it is no
// signature, since whoever may write to Redis can also make a new chain.
type Entry struct {
	StreamID string `json:"streamId"`
	Seq      int64  `json:"seq"`  // 1, 2, 3, …
	Kind     string `json:"kind"` // "gift", "trade" or "mint"
	Ref      string `json:"ref"`  // the trade's id, or the mint's
	At       int64  `json:"at"`   // Unix ms, Redis's clock
	Moves    []Move `json:"moves"`
	Prev     string `json:"prev"`
	Hash     string `json:"hash"`

	fits bool // hash is that of the content
}

// A Move is goods that went from one character to another. From is empty for a mint.
type Move struct {
	FromUser string `json:"fromUser,omitzero"`
	From     string `json:"from,omitzero"`
	ToUser   string `json:"toUser,omitzero"`
	To       string `json:"to"`
	Goods
}

type entryBody struct {
	Moves []Move `json:"moves"`
}

// Ledger returns up to limit entries that come after the stream id, oldest first; "" starts at the
// beginning. An entry that can not be read is an error; Audit names it instead.
func (s *Service) Ledger(ctx context.Context, after string, limit int64) ([]Entry, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	msgs, err := s.rdb.XRangeN(ctx, keys.TradeLedger, from, "+", limit).Result()
	if err != nil {
		return nil, trouble(err, "trade: read the ledger")
	}
	entries := make([]Entry, 0, len(msgs))
	for _, m := range msgs {
		e, err := parse(m)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parse reads an entry strictly, and checks that its hash fits.
func parse(m redis.XMessage) (Entry, error) {
	field := func(name string) string { v, _ := m.Values[name].(string); return v }
	e := Entry{
		StreamID: m.ID, Seq: number(field("seq")), Kind: field("kind"), Ref: field("ref"), At: number(field("at")),
		Prev: field("prev"), Hash: field("hash"),
	}
	e.fits = chained(e.Prev, field("seq"), field("at"), digest(e.Kind, e.Ref, []byte(field("body")))) == e.Hash
	var body entryBody
	if err := json.Unmarshal([]byte(field("body")), &body, json.RejectUnknownMembers(true)); err != nil {
		return e, fmt.Errorf("ledger entry %s: body: %w", m.ID, err)
	}
	e.Moves = body.Moves
	return e, nil
}

// chained is an entry's hash, as append of ledger.lua makes it.
func chained(prev, seq, at, digest string) string {
	sum := sha1.Sum([]byte(prev + "\n" + seq + "\n" + at + "\n" + digest))
	return hex.EncodeToString(sum[:])
}

// digest is the part of an entry's hash that is known before it has its place in the ledger.
func digest(kind, ref string, body []byte) string {
	var room [512]byte
	sum := sha1.Sum(append(appendHead(room[:0], kind, ref), body...))
	return string(hex.AppendEncode(room[:0], sum[:]))
}

func appendHead(dst []byte, kind, ref string) []byte {
	return append(append(append(append(dst, kind...), '\n'), ref...), '\n')
}

// entryOf is what an entry's body and digest are, in one allocation.
func entryOf(kind, ref string, moves []Move) (body, digest string) {
	var room [640]byte
	b := appendHead(room[:0], kind, ref)
	from := len(b)
	b = appendMoves(b, moves)
	to := len(b)
	sum := sha1.Sum(b)
	text := string(hex.AppendEncode(b, sum[:]))
	return text[from:to], text[to:]
}

// trade rebuilds a trade from its entry; its version is not in there and becomes 1. ok is false for a mint.
func (e Entry) trade(keep int64) (t Trade, ok bool) {
	if e.Kind == kindMint || len(e.Moves) == 0 || len(e.Moves) > 2 {
		return Trade{}, false
	}
	m := e.Moves[0]
	back := Goods{}
	if len(e.Moves) == 2 {
		back = e.Moves[1].Goods
	}
	return Trade{
		TradeID: e.Ref, Status: Completed, Version: 1, CreatedAt: e.At, ExpiresAt: e.At + keep,
		Parties: []Party{
			{UserID: m.FromUser, CharacterID: m.From, Offer: m.Goods.sorted(), Accepted: true},
			{UserID: m.ToUser, CharacterID: m.To, Offer: back.sorted(), Accepted: true},
		},
	}, true
}
