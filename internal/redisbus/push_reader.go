package redisbus

import (
	"bytes"
	"context"
	"net"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// A pushReader is the connection of a subscription, as go-redis sees it. go-redis dials, subscribes
// and reads Redis's answers through it, but never sees messages: the pushReader takes them out of
// the stream and calls onMessage with them, in its own buffer. As a value of go-redis each message
// would take nine allocations, and a process receives everything that it publishes itself.
//
// On a reply that it cannot parse, the pushReader passes everything through to go-redis from then
// on.
type pushReader struct {
	net.Conn
	maxPayload int // bytes; a longer payload is handled as an empty one
	onMessage  func(channel, payload []byte)
	onRead     func() // something came
	// onPatternMessage is called for a message that came by a pattern.
	onPatternMessage func(pattern, channel, payload []byte)

	// owned by the goroutine that reads
	buf         []byte // what has come
	from        int    // the index in buf of what is not handled yet
	passBytes   int    // how many bytes at from belong to go-redis
	dropBytes   int    // how many bytes of a payload that is too long are still to come
	passesAll   bool   // the stream was not understood
	neededBytes int    // how long the message at from is, if more is to come of it; else 0
}

// Sizes of a pushReader's buffer.
const (
	pushReaderBuffer = 32 << 10
	maxReply         = 1 << 20 // bytes of a reply that is no message; a longer one is not understood
)

// newClientWithPushReader makes a client like client, which must be one of a single server or of
// Sentinel, whose connections are wrapped. The caller closes it. For a client of a Cluster it
// returns nil.
func newClientWithPushReader(client redis.UniversalClient, wrap func(net.Conn) net.Conn) *redis.Client {
	c := redisx.SingleServer(client)
	if c == nil {
		return nil
	}
	o := *c.Options()
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	}
	o.PoolSize, o.PipelinePoolSize, o.MinIdleConns = 1, -1, 0 // a subscription does not use the pool
	return redis.NewClient(&o)
}

// Read handles messages until something comes for go-redis, which it returns.
func (r *pushReader) Read(p []byte) (int, error) {
	for {
		r.scanMessages()
		if r.passBytes > 0 {
			n := copy(p, r.buf[r.from:r.from+r.passBytes])
			r.from += n
			r.passBytes -= n
			return n, nil
		}
		if err := r.fillBuffer(); err != nil {
			return 0, err
		}
	}
}

// fillBuffer reads from the connection, into a buffer that holds at least the message at from.
func (r *pushReader) fillBuffer() error {
	switch rest := len(r.buf) - r.from; {
	case rest == 0 && cap(r.buf) > 2*pushReaderBuffer, cap(r.buf) == 0: // it grew for a large message
		r.buf = make([]byte, 0, pushReaderBuffer)
	case r.from > 0:
		r.buf = r.buf[:copy(r.buf, r.buf[r.from:])]
	}
	r.from = 0
	if len(r.buf) == cap(r.buf) || r.neededBytes > cap(r.buf) {
		r.buf = append(make([]byte, 0, max(2*cap(r.buf), r.neededBytes)), r.buf...)
	}
	n, err := r.Conn.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if n > 0 {
		r.onRead()
		return nil
	}
	return err
}

// scanMessages handles the messages that have come, up to the first reply that belongs to go-redis.
func (r *pushReader) scanMessages() {
	r.neededBytes = 0
	for r.passBytes == 0 {
		b := r.buf[r.from:]
		if r.dropBytes > 0 {
			n := min(r.dropBytes, len(b))
			r.dropBytes -= n
			r.from += n
			b = b[n:]
		}
		if len(b) == 0 {
			return
		}
		if r.passesAll {
			r.passBytes = len(b)
			return
		}
		m, end := readMessage(b)
		switch {
		case m.isMessage && end > 0 && end-m.payload-2 > r.maxPayload:
			r.dropBytes = end
			r.handleMessage(m, b, nil)
		case m.isMessage && end > len(b):
			r.neededBytes = end
			return
		case m.isMessage && end > 0:
			r.from += end
			r.handleMessage(m, b, b[m.payload:end-2])
		case !m.isMessage:
			end = findReplyEnd(b, 0, 8)
			if end > 0 {
				r.passBytes = end
				return
			}
		}
		if end < 0 || end == 0 && len(b) > maxReply {
			r.passesAll = true
		} else if end == 0 {
			return
		}
	}
}

// handleMessage has a message handled that lies in b.
func (r *pushReader) handleMessage(m messageLayout, b, payload []byte) {
	channel := b[m.channel:m.channelEnd]
	if m.patternEnd > 0 {
		r.onPatternMessage(b[m.pattern:m.patternEnd], channel, payload)
		return
	}
	r.onMessage(channel, payload)
}

// A messageLayout is where the parts of a message lie, as indices.
type messageLayout struct {
	isMessage                    bool // at least as far as it has come
	pattern, patternEnd          int  // 0 where it came by its channel
	channel, channelEnd, payload int
}

// Heads of a message, behind a '>' or, in RESP2, a '*'.
const (
	messageHead        = "3\r\n$7\r\nmessage\r\n"
	patternMessageHead = "4\r\n$8\r\npmessage\r\n"
)

// readMessage finds the parts of a message and its end, which may lie behind what has come. end is
// 0 when too little has come to know it, and negative when the message is malformed.
func readMessage(b []byte) (m messageLayout, end int) {
	next := 1 + len(messageHead)
	switch {
	case len(b) < next || b[0] != '>' && b[0] != '*':
		return m, 0
	case string(b[1:next]) == messageHead:
	case len(b) > len(patternMessageHead) && string(b[1:1+len(patternMessageHead)]) == patternMessageHead:
		m.pattern, m.patternEnd = readBulkHead(b, 1+len(patternMessageHead))
		if m.pattern <= 0 || m.patternEnd+2 > len(b) {
			m.isMessage = true
			return m, min(m.pattern, 0)
		}
		next = m.patternEnd + 2
	default:
		return m, 0
	}
	m.isMessage = true
	m.channel, m.channelEnd = readBulkHead(b, next)
	if m.channel <= 0 {
		return m, m.channel
	}
	if m.channelEnd+2 > len(b) {
		return m, 0
	}
	m.payload, end = readBulkHead(b, m.channelEnd+2)
	if m.payload <= 0 {
		return m, m.payload
	}
	return m, end + 2
}

// readBulkHead reads the head of the bulk string at index i, and returns where the string begins
// and ends. start is 0 when the head has not come, and negative when there is none.
func readBulkHead(b []byte, i int) (start, end int) {
	if i >= len(b) {
		return 0, 0
	}
	n, start := readLengthLine(b, i)
	if start > 0 && (b[i] != '$' || n < 0) {
		return -1, 0
	}
	return start, start + n
}

// readLengthLine reads the number behind the first byte of the line at index i, and returns where
// the next line begins: 0 when the line has not come, negative when it holds no number.
func readLengthLine(b []byte, i int) (n, next int) {
	line := bytes.IndexByte(b[i:], '\n')
	if line < 0 {
		return 0, 0
	}
	if line < 3 || line > 12 || b[i+line-1] != '\r' {
		return 0, -1
	}
	if c := b[i+1]; line == 3 && c >= '0' && c <= '9' {
		return int(c - '0'), i + line + 1
	}
	n, err := strconv.Atoi(string(b[i+1 : i+line-1]))
	if err != nil || n < -1 {
		return 0, -1
	}
	return n, i + line + 1
}

// findReplyEnd returns the index behind the reply at index i: 0 when not all of it has come,
// negative when it is malformed or nests deeper than depth.
func findReplyEnd(b []byte, i, depth int) int {
	if i >= len(b) {
		return 0
	}
	values := 1
	switch b[i] {
	case '+', '-', ':', ',', '#', '(', '_':
		line := bytes.IndexByte(b[i:], '\n')
		if line < 0 {
			return 0
		}
		return i + line + 1
	case '$', '=', '!':
		n, next := readLengthLine(b, i)
		if next <= 0 || n < 0 {
			return next
		}
		if next+n+2 > len(b) {
			return 0
		}
		return next + n + 2
	case '%', '|':
		values = 2
	case '*', '>', '~':
	default:
		return -1
	}
	n, next := readLengthLine(b, i)
	if depth <= 0 {
		return -1
	}
	for range n * values {
		if next = findReplyEnd(b, next, depth-1); next <= 0 {
			return next
		}
	}
	return next
}
