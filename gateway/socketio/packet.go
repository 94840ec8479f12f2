package socketio

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/jsonpack"
)

// Socket.IO packet types: the first byte of an Engine.IO message.
const (
	typeConnect      = '0'
	typeDisconnect   = '1'
	typeEvent        = '2'
	typeAck          = '3'
	typeConnectError = '4'
	typeBinaryEvent  = '5'
	typeBinaryAck    = '6'
)

// Bounds of a packet that need no setting.
const (
	maxNamespace = 128 // bytes of a namespace's name
	maxIDDigits  = 15  // of an acknowledgement's id: JavaScript counts that far exactly
	maxEventName = 128 // bytes of an event's name
)

// A packet is one parsed Socket.IO packet. Its slices lie in the message it was parsed from.
type packet struct {
	kind        byte
	attachments int
	nsp         string // "/" when none was named
	id          uint64
	hasID       bool
	data        []byte // JSON: the object of a CONNECT, the list of an EVENT or ACK
	name        []byte // of an EVENT, unquoted
	args        []byte // what follows the name of an EVENT, or all of an ACK; comma separated, without brackets
	count       int    // how many values args has
}

// A malformed error says what is wrong with a packet, to the log and to the client.
type malformed string

func (e malformed) Error() string        { return "malformed packet: " + string(e) }
func (e malformed) Is(target error) bool { return target == engineio.ErrMalformed }

// limits bounds what parseMessage accepts.
type limits struct {
	attachments int // of one packet
	depth       int // of JSON
}

// parsePacket is packet.parseMessage for a new packet.
func parsePacket(b []byte, max limits) (p packet, err error) {
	err = p.parseMessage(b, max)
	return p, err
}

// parseMessage parses one text message, strictly. Every error is a malformed.
func (p *packet) parseMessage(b []byte, max limits) error {
	*p = packet{}
	if len(b) == 0 {
		return malformed("empty")
	}
	p.kind = b[0]
	i := 1
	switch p.kind {
	case typeConnect, typeDisconnect, typeEvent, typeAck:
	case typeBinaryEvent, typeBinaryAck:
		j := skipDigits(b, i)
		if j == i || j-i > 3 || j >= len(b) || b[j] != '-' {
			return malformed("no number of attachments")
		}
		p.attachments, _ = strconv.Atoi(string(b[i:j]))
		if p.attachments == 0 || p.attachments > max.attachments {
			return malformed(fmt.Sprintf("1 to %d attachments", max.attachments))
		}
		i = j + 1
	case '{':
		return malformed("unknown type, or a client with another parser, such as JSON")
	default:
		return malformed("unknown type")
	}
	p.nsp = "/"
	if i < len(b) && b[i] == '/' {
		name := b[i:]
		if comma := bytes.IndexByte(name, ','); comma >= 0 {
			name = name[:comma]
			i++
		}
		if len(name) > maxNamespace {
			return malformed("namespace too long")
		}
		i += len(name)
		if len(name) > 1 {
			p.nsp = string(name) // as sent, with a query if it has one: clients know the answer by it
		}
	}
	if j := skipDigits(b, i); j > i {
		if j-i > maxIDDigits {
			return malformed("acknowledgement id too long")
		}
		for _, c := range b[i:j] {
			p.id = p.id*10 + uint64(c-'0')
		}
		p.hasID = true
		i = j
	}
	p.data = b[i:]
	if err := p.checkByType(max); err != nil {
		return err
	}
	if p.attachments > 0 && !arePlaceholdersValid(p.data, p.attachments) {
		return malformed("a placeholder of no attachment")
	}
	return nil
}

// checkByType checks the parts of a packet by its type.
func (p *packet) checkByType(max limits) error {
	switch p.kind {
	case typeConnect:
		if p.hasID || len(p.data) > 0 && (p.data[0] != '{' || jsonpack.SkipValue(p.data, 0, max.depth) != len(p.data)) {
			return malformed("CONNECT takes an object")
		}
	case typeDisconnect:
		if p.hasID || len(p.data) > 0 {
			return malformed("DISCONNECT takes nothing")
		}
	case typeEvent, typeBinaryEvent:
		if !p.parseList(max.depth) || p.count == 0 {
			return malformed("an event is a list with a name")
		}
		return p.cutName()
	case typeAck, typeBinaryAck:
		if !p.hasID {
			return malformed("an acknowledgement without an id")
		}
		if !p.parseList(max.depth) {
			return malformed("an acknowledgement is a list")
		}
	}
	return nil
}

// parseList reports whether data is a list, and sets args and count.
func (p *packet) parseList(depth int) bool {
	b := p.data
	if len(b) < 2 || b[0] != '[' {
		return false
	}
	i := jsonpack.SkipSpace(b, 1)
	if i < len(b) && b[i] == ']' {
		return i == len(b)-1
	}
	start := i
	for {
		if i = jsonpack.SkipValue(b, i, depth); i < 0 {
			return false
		}
		p.count++
		end := i
		i = jsonpack.SkipSpace(b, i)
		switch {
		case i >= len(b):
			return false
		case b[i] == ']':
			p.args = b[start:end]
			return i == len(b)-1
		case b[i] != ',':
			return false
		}
		i = jsonpack.SkipSpace(b, i+1)
	}
}

// reserved has the event names that Socket.IO keeps for itself.
var reserved = map[string]bool{
	"connect": true, "connect_error": true, "disconnect": true, "disconnecting": true,
	"newListener": true, "removeListener": true,
}

// cutName takes the event's name from the front of args.
func (p *packet) cutName() error {
	if p.args[0] != '"' {
		return malformed("an event's name is a string")
	}
	end := jsonpack.SkipString(p.args, 0)
	p.name = p.args[1 : end-1]
	if bytes.IndexByte(p.name, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(p.args[:end], &s, jsontext.AllowInvalidUTF8(true)); err != nil { // half a surrogate pair is U+FFFD
			return malformed("an event's name is a string")
		}
		p.name = []byte(s)
	}
	if len(p.name) > maxEventName {
		return malformed("an event's name is too long")
	}
	if reserved[string(p.name)] {
		return malformed("a reserved event")
	}
	i := jsonpack.SkipSpace(p.args, end)
	if p.count--; p.count == 0 {
		p.args = nil
		return nil
	}
	p.args = p.args[jsonpack.SkipSpace(p.args, i+1):]
	return nil
}

// moveSlices has the packet's slices, which lie in from, lie in its copy to.
func (p *packet) moveSlices(from, to []byte) {
	for _, s := range []*[]byte{&p.data, &p.name, &p.args} {
		at := cap(from) - cap(*s)
		if len(*s) > 0 && at >= 0 && at+len(*s) <= len(from) && &from[at] == &(*s)[0] {
			*s = to[at : at+len(*s)]
		}
	}
}

// skipDigits returns the index of the first byte at or behind index i that is no digit.
func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}
