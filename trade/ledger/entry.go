package ledger

import (
	"crypto/sha1" //nolint:gosec // the one cryptographic hash that Redis's scripts have
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
)

// The kinds of entries.
const (
	KindGift  = "gift"
	KindTrade = "trade"
	KindMint  = "mint"
)

// ErrUnreadable is in the chain of an error about an entry that is there, and whose body is not
// that of an entry. It stays so, unlike a Redis that does not answer.
var ErrUnreadable = errors.New("unreadable entry")

// An Entry is one line of the ledger: goods that came into being or changed hands.
//
// In the stream it has the fields seq, kind, ref, at, body, prev and hash. body is the JSON
// {"moves": [Move…]}. hash is the SHA-1, in hex, of prev, seq, at and digest joined by newlines;
// digest is the SHA-1 of kind, ref and body; prev is the hash of the entry before, "" for the
// first. The chain shows edits and gaps. It is no signature: a program that may write to Redis can
// also make a new chain.
type Entry struct {
	StreamID string `json:"streamId"`
	Seq      int64  `json:"seq"`  // 1, 2, 3, …
	Kind     string `json:"kind"` // "gift", "trade" or "mint"
	Ref      string `json:"ref"`  // the trade's id, or the mint's
	At       int64  `json:"at"`   // Unix ms, Redis's clock
	Moves    []Move `json:"moves"`
	Prev     string `json:"prev"`
	Hash     string `json:"hash"`

	hashFits bool // hash is that of the content
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

// parseEntry reads an entry strictly, and notes whether its hash fits. When the body cannot be
// read, the entry is returned without moves, with the error.
func parseEntry(message redis.XMessage) (Entry, error) {
	field := func(name string) string { v, _ := message.Values[name].(string); return v }
	e := Entry{
		StreamID: message.ID, Seq: parseInteger(field("seq")), Kind: field("kind"), Ref: field("ref"),
		At: parseInteger(field("at")), Prev: field("prev"), Hash: field("hash"),
	}
	digest := entryDigest(e.Kind, e.Ref, []byte(field("body")))
	e.hashFits = chainHash(e.Prev, field("seq"), field("at"), digest) == e.Hash
	var body entryBody
	if err := json.Unmarshal([]byte(field("body")), &body, json.RejectUnknownMembers(true)); err != nil {
		return e, fmt.Errorf("ledger entry %s: %w: body: %w", message.ID, ErrUnreadable, err)
	}
	e.Moves = body.Moves
	return e, nil
}

// parseInteger reads what a script formatted; what is no number counts as 0.
func parseInteger(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// EncodeEntry returns the body of an entry and its digest, in one allocation.
func EncodeEntry(kind, ref string, moves []Move) (body, digest string) {
	var room [640]byte
	b := appendDigestHead(room[:0], kind, ref)
	start := len(b)
	b = AppendMoves(b, moves)
	end := len(b)
	sum := sha1.Sum(b) //nolint:gosec
	text := string(hex.AppendEncode(b, sum[:]))
	return text[start:end], text[end:]
}

// entryDigest returns the part of an entry's hash that is known before the entry has its place in
// the ledger.
func entryDigest(kind, ref string, body []byte) string {
	var room [512]byte
	sum := sha1.Sum(append(appendDigestHead(room[:0], kind, ref), body...)) //nolint:gosec
	return string(hex.AppendEncode(room[:0], sum[:]))
}

func appendDigestHead(dst []byte, kind, ref string) []byte {
	return append(append(append(append(dst, kind...), '\n'), ref...), '\n')
}

// chainHash returns an entry's hash, as append in ledger.lua makes it.
func chainHash(prev, seq, at, digest string) string {
	sum := sha1.Sum([]byte(prev + "\n" + seq + "\n" + at + "\n" + digest)) //nolint:gosec
	return hex.EncodeToString(sum[:])
}

// AppendMoves appends the body of an entry.
func AppendMoves(dst []byte, moves []Move) []byte {
	dst = append(dst, `{"moves":[`...)
	for i, m := range moves {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		for _, f := range [...]struct{ name, value string }{
			{`"fromUser":`, m.FromUser}, {`"from":`, m.From}, {`"toUser":`, m.ToUser},
		} {
			if f.value != "" {
				dst = append(event.AppendQuote(append(dst, f.name...), f.value), ',')
			}
		}
		dst = append(event.AppendQuote(append(dst, `"to":`...), m.To), ',')
		dst = append(m.AppendMembers(dst), '}')
	}
	return append(dst, "]}"...)
}
