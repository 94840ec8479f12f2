package socketio

import (
	"bytes"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io-go-parser/v2/parser"

	"github.com/aeturnis/realtime/gateway/engineio"
)

func decodeJSON(b []byte, v any) error { return json.Unmarshal(b, v) }

// Args are the arguments of an event or an acknowledgement, encoded.
type Args struct {
	// JSON holds the values, comma separated, without brackets; it may be empty.
	JSON []byte
	// Attachments are the binary values that JSON names with placeholders.
	Attachments [][]byte
}

// Encode encodes Go values. []byte values, at any depth, become attachments. The error says what
// cannot be sent, such as NaN.
func Encode(values ...any) (Args, error) {
	var a Args
	binary := json.WithMarshalers(json.JoinMarshalers(
		json.MarshalToFunc(func(e *jsontext.Encoder, b []byte) error { return a.addAttachment(e, b) }),
		json.MarshalToFunc(func(e *jsontext.Encoder, b *types.BytesBuffer) error { return a.addAttachment(e, b.Bytes()) }),
	))
	for i, v := range values {
		if i > 0 {
			a.JSON = append(a.JSON, ',')
		}
		if r, ok := v.(io.Reader); ok { // a string or a stream of the library
			b, err := io.ReadAll(r)
			if err != nil {
				return a, err
			}
			v = b
			if _, ok := r.(*types.StringBuffer); ok {
				v = string(b)
			}
		}
		b := bytes.NewBuffer(a.JSON)
		if err := json.MarshalWrite(b, v, binary); err != nil {
			return a, err
		}
		a.JSON = b.Bytes()
	}
	return a, nil
}

func (a *Args) addAttachment(e *jsontext.Encoder, b []byte) error {
	p := strconv.AppendInt([]byte(`{"_placeholder":true,"num":`), int64(len(a.Attachments)), 10)
	a.Attachments = append(a.Attachments, bytes.Clone(b))
	return e.WriteValue(append(p, '}'))
}

// appendHeader begins a packet: type, number of attachments, namespace and id.
func appendHeader(dst []byte, kind byte, attachments int, nsp string, id uint64, hasID bool) []byte {
	if attachments > 0 {
		kind += typeBinaryEvent - typeEvent
		dst = append(dst, kind)
		dst = append(strconv.AppendInt(dst, int64(attachments), 10), '-')
	} else {
		dst = append(dst, kind)
	}
	if nsp != "/" {
		dst = append(append(dst, nsp...), ',')
	}
	if hasID {
		dst = strconv.AppendUint(dst, id, 10)
	}
	return dst
}

// packetFrames are one Socket.IO packet as messages of Engine.IO: the text, and one binary message
// for each attachment.
type packetFrames struct {
	text   *engineio.Message
	binary []*engineio.Message
}

// frameEvent frames an event.
func frameEvent(nsp, name string, a Args, id uint64, hasID bool) packetFrames {
	m := engineio.NewText()
	b := appendHeader(m.Buffer(), typeEvent, len(a.Attachments), nsp, id, hasID)
	b = appendJSONString(append(b, '['), name)
	if len(a.JSON) > 0 {
		b = append(append(b, ','), a.JSON...)
	}
	m.SetBuffer(append(b, ']'))
	return packetFrames{text: m}.withAttachments(a.Attachments)
}

// framePacket frames an event whose name is the first of its arguments.
func framePacket(nsp string, a Args, id uint64, hasID bool) packetFrames {
	m := engineio.NewText()
	b := appendHeader(m.Buffer(), typeEvent, len(a.Attachments), nsp, id, hasID)
	m.SetBuffer(append(append(append(b, '['), a.JSON...), ']'))
	return packetFrames{text: m}.withAttachments(a.Attachments)
}

// encodeEvent encodes the event that the library broadcasts, its name first.
func encodeEvent(p *parser.Packet) (Args, error) {
	list, ok := p.Data.([]any)
	if !ok {
		return Args{}, malformed("no list")
	}
	return Encode(list...)
}

// frameAcknowledgement frames an answer.
func frameAcknowledgement(nsp string, id uint64, a Args) packetFrames {
	m := engineio.NewText()
	b := appendHeader(m.Buffer(), typeAck, len(a.Attachments), nsp, id, true)
	b = append(append(append(b, '['), a.JSON...), ']')
	m.SetBuffer(b)
	return packetFrames{text: m}.withAttachments(a.Attachments)
}

func (f packetFrames) withAttachments(parts [][]byte) packetFrames {
	for _, p := range parts {
		f.binary = append(f.binary, engineio.NewBinary(p))
	}
	return f
}

// byteSize returns how many bytes the frames have.
func (f packetFrames) byteSize() int {
	size := len(f.text.Buffer())
	for _, b := range f.binary {
		size += b.Len()
	}
	return size
}

// sealFrames makes the frames ready for use by several goroutines.
func (f packetFrames) sealFrames(volatile bool) packetFrames {
	f.text.Seal()
	if volatile {
		f.text.Volatile()
	}
	for _, b := range f.binary {
		b.Seal()
	}
	return f
}

// pushTo queues the frames for one connection, all of them or none.
func (f packetFrames) pushTo(c *engineio.Conn) bool {
	if len(f.binary) == 0 {
		return c.Push(f.text)
	}
	return c.PushAll(f.text, f.binary)
}

func (f packetFrames) releaseFrames() {
	f.text.Free()
	for _, b := range f.binary {
		b.Free()
	}
}

func appendJSONString(dst []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(dst, '"'), s...), '"')
	}
	out, err := jsontext.AppendQuote(dst, s)
	if err != nil { // s is not UTF-8; out has U+FFFD instead and is valid
		return out
	}
	return out
}

// A libraryParser gives the library our encoder, and a decoder that takes parsed packets.
type libraryParser struct{}

func (libraryParser) NewEncoder() parser.Encoder { return libraryEncoder{} }
func (libraryParser) NewDecoder() parser.Decoder { return &libraryDecoder{} }

type libraryEncoder struct{}

// Encode returns the packet's messages, or none when its data cannot be encoded.
func (libraryEncoder) Encode(p *parser.Packet) []types.BufferInterface {
	text, binary, err := encodePacket(p)
	if err != nil {
		return nil
	}
	out := []types.BufferInterface{types.NewStringBuffer(text)}
	for _, b := range binary {
		out = append(out, types.NewBytesBuffer(b))
	}
	return out
}

// encodePacket encodes a packet that the library makes: for its own Emit, or a CONNECT.
func encodePacket(p *parser.Packet) (text []byte, binary [][]byte, err error) {
	var a Args
	kind := byte(p.Type)
	switch kind {
	case typeBinaryEvent, typeBinaryAck:
		kind -= typeBinaryEvent - typeEvent
	}
	if list, ok := p.Data.([]any); ok {
		if a, err = Encode(list...); err != nil {
			return nil, nil, err
		}
	} else if p.Data != nil { // CONNECT and CONNECT_ERROR hold nothing binary
		if a.JSON, err = json.Marshal(p.Data); err != nil {
			return nil, nil, err
		}
	}
	var id uint64
	if p.Id != nil {
		id = *p.Id
	}
	text = appendHeader(nil, kind, len(a.Attachments), p.Nsp, id, p.Id != nil)
	if kind == typeEvent || kind == typeAck {
		return append(append(append(text, '['), a.JSON...), ']'), a.Attachments, nil
	}
	return append(text, a.JSON...), nil, nil
}
