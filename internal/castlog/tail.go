package castlog

import (
	"encoding/binary"
	"math"
	"strconv"
)

// A message ends with three values of msgpack, each of one length, so that they can be read without
// the rest: the node's sequence number, the epoch, and the position in 16 digits. The script
// appends the last two.
const (
	sequenceBytes = 9
	epochBytes    = 8
	digits        = 16
	tailBytes     = sequenceBytes + 1 + epochBytes + 1 + digits
)

// The heads of the values, as msgpack has them.
const (
	uint64Head   = 0xcf
	epochHead    = 0xa0 | epochBytes
	positionHead = 0xa0 | digits
)

// TailValues is how many values of msgpack stand at the end of a message.
const TailValues = 3

// A Position is the place of a cast in the one order of all casts. Positions of two epochs cannot
// be compared.
type Position struct {
	Epoch  [epochBytes]byte
	Number int64
}

// IsZero tells whether there is no position.
func (p Position) IsZero() bool { return p.Number == 0 && p.Epoch == [epochBytes]byte{} }

// appendSequence appends the first value of the tail.
func appendSequence(message []byte, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(append(message, uint64Head), sequence)
}

// ReadTail reads the end of a message. ok is false where there is none; then the message was not
// logged.
func ReadTail(message []byte) (sequence uint64, at Position, ok bool) {
	if len(message) < tailBytes {
		return 0, at, false
	}
	tail := message[len(message)-tailBytes:]
	epoch := tail[sequenceBytes:]
	number := epoch[1+epochBytes:]
	if tail[0] != uint64Head || epoch[0] != epochHead || number[0] != positionHead {
		return 0, at, false
	}
	sequence = binary.BigEndian.Uint64(tail[1:])
	copy(at.Epoch[:], epoch[1:])
	for _, digit := range number[1 : 1+digits] {
		if digit < '0' || digit > '9' {
			return 0, Position{}, false
		}
		at.Number = at.Number*10 + int64(digit-'0')
	}
	return sequence, at, sequence > 0 && sequence < math.MaxInt64 && at.Number > 0
}

// parsePosition reads an epoch and a number.
func parsePosition(epoch, number string) (at Position, ok bool) {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || len(epoch) != epochBytes {
		return Position{}, false
	}
	copy(at.Epoch[:], epoch)
	at.Number = n
	return at, true
}

// MaxOffset is how many bytes an offset has at most.
const MaxOffset = 64

// AppendOffset appends the position as clients have it: <epoch>-<number>. It appends nothing where
// there is no position, or where the epoch would have to be escaped in JSON.
func (p Position) AppendOffset(dst []byte) []byte {
	for _, c := range p.Epoch {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return dst
		}
	}
	return strconv.AppendInt(append(append(dst, p.Epoch[:]...), '-'), p.Number, 10)
}

// ParseOffset reads what AppendOffset wrote, from a client who may have sent anything.
func ParseOffset(text string) (Position, bool) {
	if len(text) > MaxOffset || len(text) < epochBytes+2 || text[epochBytes] != '-' {
		return Position{}, false
	}
	at, ok := parsePosition(text[:epochBytes], text[epochBytes+1:])
	return at, ok && string(at.AppendOffset(nil)) == text
}

// ReadMark reads what is published when a node has nothing to cast.
func ReadMark(message []byte) (Position, bool) {
	if len(message) < epochBytes+1 || len(message) > epochBytes+digits {
		return Position{}, false
	}
	return parsePosition(string(message[:epochBytes]), string(message[epochBytes:]))
}
