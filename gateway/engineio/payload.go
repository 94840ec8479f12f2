package engineio

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"
)

// splitPayload splits a polling body into packets. each is called with the type of a packet
// and what follows it; for binary packets data is decoded. It stops at the first error.
func splitPayload(body []byte, maxPackets int, each func(kind byte, data []byte) error) error {
	if bytes.Count(body, []byte{separator})+1 > maxPackets {
		return ErrTooMany
	}
	for rest, more := body, true; more; {
		var p []byte
		p, rest, more = bytes.Cut(rest, []byte{separator})
		if len(p) > 0 && p[0] != packetBinary && !utf8.Valid(p) {
			return ErrMalformed
		}
		if err := textPacket(p, each); err != nil {
			return err
		}
	}
	return nil
}

// textPacket calls each with the type and the content of a packet that came as text. Base64 is
// decoded in place.
func textPacket(p []byte, each func(kind byte, data []byte) error) error {
	if len(p) == 0 {
		return ErrMalformed
	}
	kind, data := p[0], p[1:]
	if kind == packetBinary {
		n, err := base64.StdEncoding.Decode(data, data) // never longer than its source
		if err != nil {
			return ErrMalformed
		}
		data = data[:n]
	}
	return each(kind, data)
}

// appendPacket appends a message to a polling body.
func appendPacket(dst []byte, isBinary bool, packet []byte) []byte {
	if len(dst) > 0 {
		dst = append(dst, separator)
	}
	if !isBinary {
		return append(dst, packet...)
	}
	return base64.StdEncoding.AppendEncode(append(dst, packetBinary), packet)
}
