package socketio

import (
	"bytes"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/jsonpack"
)

// The messages of @socket.io/redis-adapter 8.3. A broadcast is msgpack,
//
//	[uid, {type: 2, data: [name, …args], nsp unless it is /}, {rooms, except, flags: {volatile, …}}]
//
// on the channel of its one room, or else on the one for all. A fourth element is the id of a
// request to count the members that the broadcast reaches (cluster_count.go). Requests and
// responses are JSON or, when they may hold binary values, msgpack.
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

// The first byte of our broadcasts: the head of a list of three elements, or of four.
const (
	broadcastHead = 0x93
	countingHead  = 0x94
)

// The first byte of those that are logged, of three elements more: see castlog.ReadTail.
const (
	loggedHead         = broadcastHead + castlog.TailValues
	loggedCountingHead = countingHead + castlog.TailValues
)

// busDepth bounds how deep the JSON and msgpack of other nodes may nest.
const busDepth = 64

// A target says which sockets a broadcast is for.
type target struct {
	rooms, except []socket.Room
	volatile      bool
	position      streamPosition // of a broadcast that is delivered in order
	traceparent   string         // of the span of the cast; "" where that is not traced
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

// appendPacket appends {type, data, nsp}; list is the event with its name, as a JSON list. A
// broadcast of the main namespace needs no nsp: Node's adapter takes it for that one.
func appendPacket(dst, list []byte, attachments [][]byte, nsp string, maxDepth int) ([]byte, bool) {
	head := len(dst)
	dst = append(dst, 0x82) // a map of two pairs
	dst = append(jsonpack.AppendText(dst, "type"), 2)
	dst, ok := jsonpack.Pack(jsonpack.AppendText(dst, "data"), list, attachments, maxDepth)
	if nsp != "" {
		dst[head]++
		dst = jsonpack.AppendText(jsonpack.AppendText(dst, "nsp"), nsp)
	}
	return dst, ok
}

// appendTo appends {rooms, except, flags}, without except and flags where they are empty.
func (t target) appendTo(dst []byte) []byte {
	head := len(dst)
	dst = append(dst, 0x81) // a map of one pair
	dst = appendRooms(jsonpack.AppendText(dst, "rooms"), t.rooms)
	if len(t.except) > 0 {
		dst[head]++
		dst = appendRooms(jsonpack.AppendText(dst, "except"), t.except)
	}
	if t.volatile || t.position.number > 0 || t.traceparent != "" {
		dst[head]++
		dst = t.appendFlags(jsonpack.AppendText(dst, "flags"))
	}
	return dst
}

// appendFlags appends the flags that are set. Node's adapter ignores those that it does not know,
// and so do our nodes.
func (t target) appendFlags(dst []byte) []byte {
	head := len(dst)
	dst = append(dst, 0x80) // a map of no pairs
	if t.volatile {
		dst[head]++
		dst = append(jsonpack.AppendText(dst, "volatile"), 0xc3)
	} else if t.position.number > 0 {
		dst[head] += 2
		dst = jsonpack.AppendText(jsonpack.AppendText(dst, "stream"), t.position.stream)
		dst = jsonpack.AppendUint(jsonpack.AppendText(dst, "place"), uint64(t.position.number))
	}
	if t.traceparent != "" {
		dst[head]++
		dst = jsonpack.AppendText(jsonpack.AppendText(dst, "traceparent"), t.traceparent)
	}
	return dst
}

func appendRooms(dst []byte, rooms []socket.Room) []byte {
	dst = jsonpack.AppendListHead(dst, len(rooms))
	for _, r := range rooms {
		dst = jsonpack.AppendText(dst, r)
	}
	return dst
}

// A receivedBroadcast is a broadcast of another node. Its slices lie in the message.
type receivedBroadcast struct {
	uid      []byte
	data     []byte // the event as a msgpack list
	binaries int    // how many binary values data has
	nsp      []byte
	countID  []byte // the id of the request to count whom it reaches, or empty
	target
}

// readBroadcast reads a broadcast, and trusts none of it: anybody may have published it.
func readBroadcast(b []byte) (m receivedBroadcast, ok bool) {
	h, ok := jsonpack.ReadHead(b, 0)
	if !ok || h.Kind != jsonpack.KindList || h.Len < 3 {
		return m, false
	}
	uid, ok := jsonpack.ReadHead(b, h.Next)
	if !ok || uid.Kind != jsonpack.KindText {
		return m, false
	}
	i := uid.Next + uid.Len
	m.uid = b[uid.Next:i]
	kind := -1
	i = visitPairs(b, i, func(key []byte, at, end int) bool {
		switch string(key) {
		case "type":
			v, _ := jsonpack.ReadHead(b, at)
			if v.Kind == jsonpack.KindUint && v.Bits < 16 {
				kind = int(v.Bits)
			}
		case "nsp":
			v, _ := jsonpack.ReadHead(b, at)
			if v.Kind != jsonpack.KindText {
				return v.Kind == jsonpack.KindNil
			}
			m.nsp = b[v.Next:end]
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
	i = visitPairs(b, i, func(key []byte, at, _ int) bool {
		switch string(key) {
		case "rooms":
			m.rooms, good = readRooms(b, at)
		case "except":
			m.except, good = readRooms(b, at)
		case "flags":
			good = m.readFlags(b, at)
		}
		return good
	})
	if i < 0 {
		return m, false
	}
	if h.Len > 3 {
		if q, ok := jsonpack.ReadHead(b, i); ok && q.Kind == jsonpack.KindText && q.Len <= maxCountID {
			m.countID = b[q.Next : q.Next+q.Len]
		}
	}
	return m, m.checkEvent()
}

// maxCountID is how long the id of a request to count may be, in bytes.
const maxCountID = 64

// clampClientCount bounds a number of clients that another node states.
func clampClientCount(n float64) int { return int(math.Max(0, math.Min(n, 1<<24))) }

// checkEvent reports whether the data is a list that begins with an event name that clients accept,
// and counts its binary values.
func (m *receivedBroadcast) checkEvent() bool {
	h, ok := jsonpack.ReadHead(m.data, 0)
	if !ok || h.Kind != jsonpack.KindList || h.Len == 0 {
		return false
	}
	name, ok := jsonpack.ReadHead(m.data, h.Next)
	if !ok || name.Kind != jsonpack.KindText || reserved[string(m.data[name.Next:name.Next+name.Len])] {
		return false
	}
	return jsonpack.SkipPacked(m.data, 0, busDepth, &m.binaries) == len(m.data)
}

// eventName returns the name of the event, cut. checkEvent has found one.
func (m *receivedBroadcast) eventName() string {
	list, _ := jsonpack.ReadHead(m.data, 0)
	name, _ := jsonpack.ReadHead(m.data, list.Next)
	return string(m.data[name.Next : name.Next+min(name.Len, maxTraceparent)])
}

// visitPairs calls visit for each pair of the map at index i, with where its value begins and ends,
// and returns the index behind the map, or -1 where there is no valid map or visit reports false.
func visitPairs(b []byte, i int, visit func(key []byte, at, end int) bool) int {
	h, ok := jsonpack.ReadHead(b, i)
	if !ok || h.Kind != jsonpack.KindMap {
		return -1
	}
	i = h.Next
	for range h.Len {
		key, ok := jsonpack.ReadHead(b, i)
		if !ok || key.Kind != jsonpack.KindText {
			return -1
		}
		at, ignored := key.Next+key.Len, 0
		end := jsonpack.SkipPacked(b, at, busDepth, &ignored)
		if end < 0 || !visit(b[key.Next:at], at, end) {
			return -1
		}
		i = end
	}
	return i
}

// readRooms reads a list of room names, which Node lets be numbers.
func readRooms(b []byte, i int) (rooms []socket.Room, ok bool) {
	h, ok := jsonpack.ReadHead(b, i)
	if !ok || h.Kind == jsonpack.KindNil {
		return nil, ok
	}
	if h.Kind != jsonpack.KindList {
		return nil, false
	}
	i = h.Next
	for range h.Len {
		r, ok := jsonpack.ReadHead(b, i)
		if !ok {
			return nil, false
		}
		i = r.Next
		switch r.Kind {
		case jsonpack.KindText:
			i += r.Len
			rooms = append(rooms, socket.Room(b[r.Next:i]))
		case jsonpack.KindUint:
			rooms = append(rooms, socket.Room(strconv.FormatUint(r.Bits, 10)))
		case jsonpack.KindInt:
			rooms = append(rooms, socket.Room(strconv.FormatInt(int64(r.Bits), 10)))
		default:
			return nil, false
		}
	}
	return rooms, true
}

// maxTraceparent is how long a traceparent may be, in bytes.
const maxTraceparent = 55

// readFlags reads the flags that concern us: Node's volatile, and our own position in a stream and
// span.
func (t *target) readFlags(b []byte, i int) (ok bool) {
	if h, ok := jsonpack.ReadHead(b, i); ok && h.Kind == jsonpack.KindNil {
		return true
	}
	p := &t.position
	i = visitPairs(b, i, func(key []byte, at, end int) bool {
		v, _ := jsonpack.ReadHead(b, at)
		switch {
		case string(key) == "volatile" && v.Kind == jsonpack.KindBool:
			t.volatile = v.Bits == 1
		case string(key) == "stream" && v.Kind == jsonpack.KindText && v.Len <= maxStreamName:
			p.stream = string(b[v.Next:end])
		case string(key) == "place" && v.Kind == jsonpack.KindUint && v.Bits < 1<<62:
			p.number = int64(v.Bits)
		case string(key) == "traceparent" && v.Kind == jsonpack.KindText && v.Len <= maxTraceparent:
			t.traceparent = string(b[v.Next:end])
		}
		return true
	})
	return i > 0
}

// frameForMembers frames a received broadcast once for all members on this node; the frames are not
// sealed yet. ok is false when it becomes larger than maxSize bytes, or when clients would refuse
// it.
func (m *receivedBroadcast) frameForMembers(nsp string, maxSize int) (f packetFrames, ok bool) {
	text := engineio.NewText()
	dst := appendHeader(text.Buffer(), typeEvent, m.binaries, nsp, 0, false)
	listStart := len(dst)
	dst, attachments, ok := jsonpack.Unpack(dst, m.data, maxSize, busDepth)
	if ok && m.binaries > 0 {
		for _, b := range attachments {
			maxSize -= len(b)
		}
		ok = maxSize >= 0 && arePlaceholdersValid(dst[listStart:], m.binaries)
	}
	text.SetBuffer(dst)
	f = packetFrames{text: text}
	if !ok {
		f.releaseFrames()
		return packetFrames{}, false
	}
	return f.withAttachments(attachments), true
}

// A request goes from one node to all others. Its JSON has placeholders for the attachments.
type request struct {
	Type      int            `json:"type"`
	UID       string         `json:"uid,omitzero"`
	RequestID string         `json:"requestId,omitzero"`
	Opts      *requestOpts   `json:"opts,omitzero"`
	Rooms     roomNames      `json:"rooms,omitzero"`
	Close     bool           `json:"close,omitzero"`
	Data      jsontext.Value `json:"data,omitzero"`
	Packet    struct {
		Nsp  string         `json:"nsp"`
		Data jsontext.Value `json:"data"`
	} `json:"packet,omitzero"`

	attachments [][]byte
}

type requestOpts struct {
	Rooms  roomNames `json:"rooms"`
	Except roomNames `json:"except"`
	Flags  struct {
		Timeout float64 `json:"timeout,omitzero"` // ms
	} `json:"flags,omitzero"`
}

// roomNames are names of rooms, which Node lets be numbers.
type roomNames []socket.Room

// UnmarshalJSON reads a list of strings and numbers.
func (n *roomNames) UnmarshalJSON(b []byte) error {
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
			return malformed("the name of a room must be a string")
		}
		*n = append(*n, socket.Room(s))
	}
	return nil
}

// MarshalJSON writes no rooms as [], never as null.
func (n roomNames) MarshalJSON() ([]byte, error) {
	return json.Marshal([]socket.Room(n))
}

// A response is the answer of one node to a request.
type response struct {
	Type        int            `json:"type"`
	UID         string         `json:"uid,omitzero"` // empty from Node's servers
	RequestID   string         `json:"requestId"`
	ClientCount float64        `json:"clientCount"`
	Sockets     jsontext.Value `json:"sockets"`
	Data        jsontext.Value `json:"data"`
	Packet      jsontext.Value `json:"packet"`

	// of an answer that one of our nodes passes on; see sendAnswer
	Fate    int    `json:"fate"`
	Conn    string `json:"conn"`
	User    string `json:"user"`
	HasMore bool   `json:"hasMore"`

	attachments [][]byte
}

// readControl reads a request or a response into v. It is JSON if it begins with a brace, else
// msgpack. A message of more than maxSize bytes is refused.
func readControl(b []byte, maxSize int, v any) (attachments [][]byte, ok bool) {
	if len(b) == 0 || len(b) > maxSize {
		return nil, false
	}
	if b[0] != '{' {
		if b, attachments, ok = jsonpack.Unpack(nil, b, 8*maxSize, busDepth); !ok {
			return nil, false
		}
	} else if jsonpack.SkipValue(b, 0, busDepth) != len(bytes.TrimRight(b, " \n\r\t")) {
		return nil, false
	}
	err := json.Unmarshal(b, v, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return attachments, err == nil
}
