package ledger

import (
	"crypto/sha256"
	"encoding/base32"
	"slices"
)

// MintRef returns the ref of the entry that a mint under key writes: always the same for the same
// key, and of the form of a trade's id.
func MintRef(key string) string {
	sum := sha256.Sum256([]byte("mint " + key))
	return "M" + base32.HexEncoding.EncodeToString(sum[:16])[:25]
}

// MintMoves returns the moves of a mint's entry: goods that come to one character, from nobody.
func MintMoves(characterID string, goods Goods) []Move {
	return []Move{{To: characterID, Goods: goods.Sorted()}}
}

// IsMintOf tells whether the entry says that these goods came to that character.
func (e Entry) IsMintOf(characterID string, goods Goods) bool {
	var asked, written [512]byte
	return slices.Equal(
		AppendMoves(asked[:0], MintMoves(characterID, goods)),
		AppendMoves(written[:0], e.Moves),
	)
}
