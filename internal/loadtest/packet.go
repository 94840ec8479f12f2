package loadtest

import (
	"bytes"
	"encoding/json"
	"hash/crc32"
	"strconv"
	"time"
)

// The parts of the contract's payloads (docs/contract.md) that the client searches for. It compares
// bytes because decoding every delivery would cost the load generator more than sending it costs
// the server. Searching for a key is safe because a quote inside a JSON string is always escaped.
var (
	okTrue    = []byte(`[{"ok":true`)
	okFalse   = []byte(`[{"ok":false`)
	keyCode   = []byte(`"code":"`)
	keyText   = []byte(`"text":"`)
	keyUser   = []byte(`"userId":"`)
	keyRoom   = []byte(`"channel":"`)
	keyCombat = []byte(`"combatId":"`)
	keyTime   = []byte(`"serverTime":`)
	keySID    = []byte(`"sid":"`)
	keyPID    = []byte(`"pid":"`)
)

// recovered is in the `session` event of a connection that is recovered.
var recovered = []byte(`"recovered":true`)

// lastText returns the last argument of an event, `["name",…]`, if it is a text without a quote or
// an escape.
func lastText(body []byte) ([]byte, bool) {
	text, ok := bytes.CutSuffix(body, []byte(`"]`))
	if !ok {
		return nil, false
	}
	begin := bytes.LastIndexByte(text, '"')
	if begin < 1 || text[begin-1] != ',' || bytes.IndexByte(text[begin:], '\\') >= 0 {
		return nil, false
	}
	return text[begin+1:], true
}

// readNumber reads the digits at the start of b, at most nine, and returns what follows them.
func readNumber(b []byte) (n uint32, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < 10 && b[i]-'0' < 10; i++ {
		n = n*10 + uint32(b[i]-'0')
	}
	return n, b[i:], i > 0 && i < 10
}

// stringAfter finds key, which ends with the opening quote of a string, and returns the string's
// content.
func stringAfter(b, key []byte) ([]byte, bool) {
	i := bytes.Index(b, key)
	if i < 0 {
		return nil, false
	}
	b = b[i+len(key):]
	end := bytes.IndexByte(b, '"')
	if end < 0 {
		return nil, false
	}
	return b[:end], true
}

// An outcome is the meaning of an acknowledgement.
type outcome int

const (
	outcomeWrong   outcome = iota // the answer does not follow the contract
	outcomeOK                     // ok: true
	outcomeRefused                // ok: false, with a code
)

// parseAnswer reads the arguments of an acknowledgement, "[{…}]".
func parseAnswer(args []byte) (outcome, string) {
	if !bytes.HasSuffix(args, []byte("}]")) {
		return outcomeWrong, ""
	}
	switch {
	case bytes.HasPrefix(args, okTrue) && (args[len(okTrue)] == ',' || args[len(okTrue)] == '}'):
		return outcomeOK, ""
	case bytes.HasPrefix(args, okFalse):
		if code, ok := stringAfter(args, keyCode); ok && len(code) > 0 && len(code) <= 64 {
			return outcomeRefused, string(code)
		}
	}
	var answers []struct {
		OK    *bool `json:"ok"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(args, &answers) != nil || len(answers) != 1 || answers[0].OK == nil {
		return outcomeWrong, ""
	}
	code := answers[0].Error.Code
	switch {
	case *answers[0].OK:
		return outcomeOK, ""
	case code == "" || len(code) > 64:
		return outcomeWrong, ""
	}
	return outcomeRefused, code
}

// A chatStamp is the start of every chat message: the sender's index, the number of the message
// among the sender's, its acknowledgement id, and when it was due, in units of stampUnit on the
// run's clock.
type chatStamp struct {
	sender, seq, id, due uint32
}

// stampUnit is the unit of chatStamp.due. Nine digits of it are more than a day, so more than a
// run.
const stampUnit = int64(100 * time.Microsecond)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const padding = "the quick brown fox jumps over the lazy dog, and the gateway tells everyone in the room; "

// appendChatText appends a chat message of size bytes: "sender.seq.id.due.padding.checksum".
// It contains no character that JSON must escape.
func appendChatText(dst []byte, m chatStamp, size int) []byte {
	at := len(dst)
	for _, n := range [...]uint32{m.sender, m.seq, m.id, m.due} {
		dst = strconv.AppendUint(dst, uint64(n), 10)
		dst = append(dst, '.')
	}
	for fill := size - (len(dst) - at) - 9; fill > 0; {
		n := min(fill, len(padding))
		dst = append(dst, padding[:n]...)
		fill -= n
	}
	dst = append(dst, '.')
	return appendChecksum(dst, crc32.Checksum(dst[at:], castagnoli))
}

func appendChecksum(dst []byte, sum uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[sum>>shift&0xf])
	}
	return dst
}

// parseChatText is the reverse of appendChatText. ok is false when any byte differs from what was
// sent.
func parseChatText(text []byte) (m chatStamp, ok bool) {
	cut := len(text) - 8
	if cut < 1 {
		return m, false
	}
	var sum [8]byte
	if !bytes.Equal(appendChecksum(sum[:0], crc32.Checksum(text[:cut], castagnoli)), text[cut:]) {
		return m, false
	}
	for _, n := range [...]*uint32{&m.sender, &m.seq, &m.id, &m.due} {
		if *n, text, ok = readNumber(text); !ok || len(text) == 0 || text[0] != '.' {
			return m, false
		}
		text = text[1:]
	}
	return m, true
}
