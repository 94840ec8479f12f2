package socketio

import (
	"bytes"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// The messages of @socket.io/redis-adapter 8.3. A broadcast is msgpack,
//
//	[uid, {type: 2, data: [name, …args], nsp unless it is /}, {rooms, except, flags: {volatile, …}}]
//
// on the channel of its one room, or else on the one for all; where a fourth element stands,
// it is a question (cluster_count.go). Requests and responses are
// JSON or, when they may hold binary values, msgpack.
const (
	requestSockets    = 0
	requestAllRooms   = 1
	requestJoin       = 2
	requestLeave      = 3
	requestDisconnect = 4
	requestFetch      = 5
	requestServerSide = 6
	requestBroadcast  = 7
	responseCount     = 8
	responseAck       = 9
)

// The first byte of our broadcasts: a list of three, or of four.
const (
	broadcastHead = 0x93
	countingHead  = 0x94
)

// busDepth bounds the nesting of messages of other nodes.
const busDepth = 64

// A target is whom a broadcast is for.
type target struct {
	rooms, except []socket.Room
	volatile      bool
	place         place // of a broadcast that is delivered in order
}

func targetOf(opts *socket.BroadcastOptions) (t target) {
	if opts == nil {
		return t
	}
	if opts.Rooms != nil {
		t.rooms = opts.Rooms.Keys()
	}
	if opts.Except != nil {
		t.except = opts.Except.Keys()
	}
	t.volatile = opts.Flags != nil && opts.Flags.Volatile
	return t
}

// appendPacket appends {type, data, nsp}; list is the event with its name, in brackets.
// A broadcast of the main namespace needs no nsp: Node's adapter knows it without.
func appendPacket(dst, list []byte, attachments [][]byte, nsp string, depth int) ([]byte, bool) {
	at := len(dst)
	dst = append(dst, 0x82)
	dst = append(appendText(dst, "type"), 2)
	dst, ok := pack(appendText(dst, "data"), list, attachments, depth)
	if nsp != "" {
		dst[at]++
		dst = appendText(appendText(dst, "nsp"), nsp)
	}
	return dst, ok
}

// appendTarget appends {rooms, except, flags} without what is empty.
func (t target) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0x81)
	dst = appendRooms(appendText(dst, "rooms"), t.rooms)
	if len(t.except) > 0 {
		dst[at]++
		dst = appendRooms(appendText(dst, "except"), t.except)
	}
	switch {
	case t.volatile:
		dst[at]++
		dst = append(appendText(append(appendText(dst, "flags"), 0x81), "volatile"), 0xc3)
	case t.place.n > 0:
		dst[at]++
		dst = appendText(appendText(append(appendText(dst, "flags"), 0x82), "stream"), t.place.stream)
		dst = appendUint(appendText(dst, "place"), uint64(t.place.n))
	}
	return dst
}

func appendRooms(dst []byte, rooms []socket.Room) []byte {
	head := len(dst)
	dst = setCount(append(dst, 0), head, len(rooms), false)
	for _, r := range rooms {
		dst = appendText(dst, r)
	}
	return dst
}

// A broadcast is one that was received. Its bytes lie in the message.
type broadcast struct {
	uid      []byte
	data     []byte // msgpack: the list
	binaries int    // binary values in data
	nsp      []byte
	question []byte // the id of who wants to know how many it reaches, or empty
	target
}

// readBroadcast reads a message that anybody may have sent.
func readBroadcast(b []byte) (m broadcast, ok bool) {
	h, ok := readHead(b, 0)
	if !ok || h.kind != packedList || h.n < 3 {
		return m, false
	}
	uid, ok := readHead(b, h.next)
	if !ok || uid.kind != packedText {
		return m, false
	}
	i := uid.next + uid.n
	m.uid = b[uid.next:i]
	kind := -1
	i = eachPair(b, i, func(key []byte, at, end int) bool {
		switch string(key) {
		case "type":
			v, _ := readHead(b, at)
			if v.kind == packedUint && v.bits < 16 {
				kind = int(v.bits)
			}
		case "nsp":
			v, _ := readHead(b, at)
			if v.kind != packedText {
				return v.kind == packedNil
			}
			m.nsp = b[v.next:end]
		case "data":
			m.data = b[at:end]
		}
		return true
	})
	if i < 0 || kind != typeEvent-'0' && kind != typeBinaryEvent-'0' || len(m.data) == 0 {
		return m, false
	}
	if len(m.nsp) == 0 {
		m.nsp = []byte("/")
	}
	good := true
	i = eachPair(b, i, func(key []byte, at, _ int) bool {
		switch string(key) {
		case "rooms":
			m.rooms, good = readRooms(b, at)
		case "except":
			m.except, good = readRooms(b, at)
		case "flags":
			m.volatile, m.place, good = readFlags(b, at)
		}
		return good
	})
	if i < 0 {
		return m, false
	}
	if h.n > 3 {
		if q, ok := readHead(b, i); ok && q.kind == packedText && q.n <= maxQuestion {
			m.question = b[q.next : q.next+q.n]
		}
	}
	return m, m.event()
}

// maxQuestion is how long the id of a question may be.
const maxQuestion = 64

// clients is a number of clients that another node tells.
func clients(n float64) int { return int(math.Max(0, math.Min(n, 1<<24))) }

// event checks the data: a list that begins with a name that clients accept.
func (m *broadcast) event() bool {
	h, ok := readHead(m.data, 0)
	if !ok || h.kind != packedList || h.n == 0 {
		return false
	}
	name, ok := readHead(m.data, h.next)
	if !ok || name.kind != packedText || reserved[string(m.data[name.next:name.next+name.n])] {
		return false
	}
	return skipPacked(m.data, 0, busDepth, &m.binaries) == len(m.data)
}

// eachPair calls f for the members of the map at i, with where their values begin and end,
// and returns the index behind the map, or -1.
func eachPair(b []byte, i int, f func(key []byte, at, end int) bool) int {
	h, ok := readHead(b, i)
	if !ok || h.kind != packedMap {
		return -1
	}
	i = h.next
	for range h.n {
		key, ok := readHead(b, i)
		if !ok || key.kind != packedText {
			return -1
		}
		at, ignored := key.next+key.n, 0
		end := skipPacked(b, at, busDepth, &ignored)
		if end < 0 || !f(b[key.next:at], at, end) {
			return -1
		}
		i = end
	}
	return i
}

// readRooms reads a list of names; Node takes numbers as well.
func readRooms(b []byte, i int) (rooms []socket.Room, ok bool) {
	h, ok := readHead(b, i)
	if !ok || h.kind == packedNil {
		return nil, ok
	}
	if h.kind != packedList {
		return nil, false
	}
	i = h.next
	for range h.n {
		r, ok := readHead(b, i)
		if !ok {
			return nil, false
		}
		i = r.next
		switch r.kind {
		case packedText:
			i += r.n
			rooms = append(rooms, socket.Room(b[r.next:i]))
		case packedUint:
			rooms = append(rooms, socket.Room(strconv.FormatUint(r.bits, 10)))
		case packedInt:
			rooms = append(rooms, socket.Room(strconv.FormatInt(int64(r.bits), 10)))
		default:
			return nil, false
		}
	}
	return rooms, true
}

// readFlags reads the flags that we know: Node's volatile, and our own place in a stream.
func readFlags(b []byte, i int) (volatile bool, p place, ok bool) {
	if h, ok := readHead(b, i); ok && h.kind == packedNil {
		return false, p, true
	}
	i = eachPair(b, i, func(key []byte, at, end int) bool {
		v, _ := readHead(b, at)
		switch {
		case string(key) == "volatile" && v.kind == packedBool:
			volatile = v.bits == 1
		case string(key) == "stream" && v.kind == packedText && v.n <= maxStream:
			p.stream = string(b[v.next:end])
		case string(key) == "place" && v.kind == packedUint && v.bits < 1<<62:
			p.n = int64(v.bits)
		}
		return true
	})
	return volatile, p, i > 0
}

// frames frames a received broadcast once for all members on this node. ok is false when it
// becomes larger than max, or clients would not take it.
func (m *broadcast) frames(nsp string, max int) (f frames, ok bool) {
	text := engineio.NewText()
	u := unpacker{dst: appendHeader(text.Buffer(), typeEvent, m.binaries, nsp, 0, false)}
	list := len(u.dst)
	u.max = list + max
	ok = u.value(m.data, 0, busDepth) == len(m.data)
	if ok && m.binaries > 0 {
		for _, b := range u.attachments {
			max -= len(b)
		}
		ok = max >= 0 && placed(u.dst[list:], m.binaries)
	}
	text.SetBuffer(u.dst)
	f = frames{text: text}
	if !ok {
		f.free()
		return frames{}, false
	}
	return f.attach(u.attachments).seal(m.volatile), true
}

// A request is one of a node to all others. Its JSON holds the attachments as placeholders.
type request struct {
	Type      int            `json:"type"`
	UID       string         `json:"uid,omitzero"`
	RequestID string         `json:"requestId,omitzero"`
	Opts      *requestOpts   `json:"opts,omitzero"`
	Rooms     names          `json:"rooms,omitzero"`
	Close     bool           `json:"close,omitzero"`
	Data      jsontext.Value `json:"data,omitzero"`
	Packet    struct {
		Nsp  string         `json:"nsp"`
		Data jsontext.Value `json:"data"`
	} `json:"packet,omitzero"`

	attachments [][]byte
}

type requestOpts struct {
	Rooms  names `json:"rooms"`
	Except names `json:"except"`
	Flags  struct {
		Timeout float64 `json:"timeout,omitzero"` // ms
	} `json:"flags,omitzero"`
}

// names are rooms, of which Node takes numbers as well.
type names []socket.Room

func (n *names) UnmarshalJSON(b []byte) error {
	var all []jsontext.Value
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for _, v := range all {
		var s string
		switch v.Kind() {
		case '"':
			if err := json.Unmarshal(v, &s); err != nil {
				return err
			}
		case '0':
			s = string(v)
		default:
			return malformed("a room is a string")
		}
		*n = append(*n, socket.Room(s))
	}
	return nil
}

// MarshalJSON writes no room as [], never as null.
func (n names) MarshalJSON() ([]byte, error) {
	return json.Marshal([]socket.Room(n))
}

// A response is one node's answer.
type response struct {
	Type        int            `json:"type"`
	UID         string         `json:"uid,omitzero"` // of our own nodes
	RequestID   string         `json:"requestId"`
	ClientCount float64        `json:"clientCount"`
	Sockets     jsontext.Value `json:"sockets"`
	Data        jsontext.Value `json:"data"`
	Packet      jsontext.Value `json:"packet"`

	attachments [][]byte
}

// readControl reads a request or a response, which is JSON where it begins with a brace.
func readControl(b []byte, max int, v any) (attachments [][]byte, ok bool) {
	if len(b) == 0 || len(b) > max {
		return nil, false
	}
	if b[0] != '{' {
		u := unpacker{max: 8 * max}
		if u.value(b, 0, busDepth) != len(b) {
			return nil, false
		}
		b, attachments = u.dst, u.attachments
	} else if skipNested(b, 0, busDepth) != len(bytes.TrimRight(b, " \n\r\t")) {
		return nil, false
	}
	err := json.Unmarshal(b, v, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return attachments, err == nil
}
