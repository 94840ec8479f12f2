package lock

import (
	"strings"
	"unicode"
)

// A Holder says who has a lock: what the value of its key says beside the random text that
// identifies the lease. The value of another program, or of an earlier version, says nothing.
type Holder struct {
	Node    string // Config.Node
	Conn    string // Options.Conn
	Purpose string // Options.Purpose
}

const (
	holderSeparator = "|"
	maxHolderPart   = 128 // bytes of each part
)

func newHolder(node string, o Options) Holder { return Holder{node, o.Conn, o.Purpose} }

// encode returns the value of a lock's key.
func (h Holder) encode(random string) string {
	if h == (Holder{}) {
		return random
	}
	return strings.Join([]string{random, holderPart(h.Node), holderPart(h.Conn), holderPart(h.Purpose)}, holderSeparator)
}

// holderPart cuts a text, and replaces what would end the part.
func holderPart(text string) string {
	text = text[:min(len(text), maxHolderPart)]
	if !strings.Contains(text, holderSeparator) {
		return text
	}
	return strings.ReplaceAll(text, holderSeparator, "/")
}

// parseHolder reads the value of a lock's key.
func parseHolder(value string) Holder {
	parts := strings.Split(value[:min(len(value), 4*maxHolderPart)], holderSeparator)
	if len(parts) != 4 {
		return Holder{}
	}
	for i, p := range parts {
		parts[i] = strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return '?'
		}, p)
	}
	return Holder{parts[1], parts[2], parts[3]}
}

// Class returns the kind of a lock by its name: what stands before the first colon, such as trade.
func Class(name string) string {
	class, _, _ := strings.Cut(name, ":")
	return class
}
