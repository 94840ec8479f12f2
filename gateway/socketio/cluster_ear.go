package socketio

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// An ear is the connection of a line as go-redis sees it. go-redis makes it, asks for
// channels on it and reads what Redis says to that. Messages it does not see: they are taken
// out of the stream, whole, and handled where they lie. A value of go-redis for each would
// take nine allocations, and a node hears all that it casts itself.
//
// An ear that does not understand the stream leaves it to go-redis from there on.
type ear struct {
	net.Conn
	max  int // bytes of a payload; a longer one is heard as an empty one
	take func(channel, payload []byte)
	told func() // something came

	// owned by who reads
	buf   []byte // what has come
	from  int    // where in buf what is not handled yet begins
	pass  int    // bytes at from that are go-redis's
	drop  int    // bytes of a payload that is too long, still to come
	deaf  bool   // all is go-redis's
	wants int    // bytes at from that a message takes, if more than have come
}

// Sizes of an ear's buffer.
const (
	earBuffer = 32 << 10
	earReply  = 1 << 20 // what is no message is never longer
)

// listening is a client of its own for the connection of a line: that of a single server, or
// of Sentinel, with an ear. The caller closes it. Of others it is nil.
func listening(client redis.UniversalClient, listen func(net.Conn) net.Conn) *redis.Client {
	c, is := client.(*redis.Client)
	if !is {
		return nil
	}
	o := *c.Options()
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return listen(conn), nil
	}
	o.PoolSize, o.PipelinePoolSize, o.MinIdleConns = 1, -1, 0 // the subscription needs none of them
	return redis.NewClient(&o)
}

// Read hears messages until something comes for go-redis.
func (e *ear) Read(p []byte) (int, error) {
	for {
		e.scan()
		if e.pass > 0 {
			n := copy(p, e.buf[e.from:e.from+e.pass])
			e.from += n
			e.pass -= n
			return n, nil
		}
		if err := e.fill(); err != nil {
			return 0, err
		}
	}
}

// fill reads more.
func (e *ear) fill() error {
	switch rest := len(e.buf) - e.from; {
	case rest == 0 && cap(e.buf) > 2*earBuffer, cap(e.buf) == 0: // it was large once
		e.buf = make([]byte, 0, earBuffer)
	case e.from > 0:
		e.buf = e.buf[:copy(e.buf, e.buf[e.from:])]
	}
	e.from = 0
	if len(e.buf) == cap(e.buf) || e.wants > cap(e.buf) {
		e.buf = append(make([]byte, 0, max(2*cap(e.buf), e.wants)), e.buf...)
	}
	n, err := e.Conn.Read(e.buf[len(e.buf):cap(e.buf)])
	e.buf = e.buf[:len(e.buf)+n]
	if n > 0 {
		e.told()
		return nil
	}
	return err
}

// scan takes the messages that have come, as far as the first reply that is go-redis's.
func (e *ear) scan() {
	e.wants = 0
	for e.pass == 0 {
		b := e.buf[e.from:]
		if e.drop > 0 {
			n := min(e.drop, len(b))
			e.drop -= n
			e.from += n
			b = b[n:]
		}
		if len(b) == 0 {
			return
		}
		if e.deaf {
			e.pass = len(b)
			return
		}
		m, end := readMessage(b)
		switch {
		case m.is && end > 0 && end-m.payload-2 > e.max:
			e.drop = end
			e.take(b[m.channel:m.channelEnd], nil)
		case m.is && end > len(b):
			e.wants = end
			return
		case m.is && end > 0:
			e.from += end
			e.take(b[m.channel:m.channelEnd], b[m.payload:end-2])
		case !m.is:
			end = replyEnd(b, 0, 8)
			if end > 0 {
				e.pass = end
				return
			}
		}
		if end < 0 || end == 0 && len(b) > earReply {
			e.deaf = true
		} else if end == 0 {
			return
		}
	}
}

// A message lies in what was read.
type message struct {
	is                           bool // at least as far as it has come
	channel, channelEnd, payload int
}

// messageHead is how Redis begins a message, behind a '>' or, in its older protocol, a '*'.
const messageHead = "3\r\n$7\r\nmessage\r\n"

// readMessage finds the parts of a message and where it ends, which may be behind what has
// come; end is 0 when too little has come to know, and negative when it makes no sense.
func readMessage(b []byte) (m message, end int) {
	if len(b) <= len(messageHead) || b[0] != '>' && b[0] != '*' || string(b[1:1+len(messageHead)]) != messageHead {
		return m, 0
	}
	m.is = true
	m.channel, m.channelEnd = readBulk(b, 1+len(messageHead))
	if m.channel <= 0 {
		return m, m.channel
	}
	if m.channelEnd+2 > len(b) {
		return m, 0
	}
	m.payload, end = readBulk(b, m.channelEnd+2)
	if m.payload <= 0 {
		return m, m.payload
	}
	return m, end + 2
}

// readBulk reads the head of the string at i: where it begins and ends. start is 0 when the
// head has not come, and negative when there is none.
func readBulk(b []byte, i int) (start, end int) {
	if i >= len(b) {
		return 0, 0
	}
	n, start := readLength(b, i)
	if start > 0 && (b[i] != '$' || n < 0) {
		return -1, 0
	}
	return start, start + n
}

// readLength reads the number behind the first byte of a line, and where the next line
// begins: 0 when it has not come, negative when there is no number.
func readLength(b []byte, i int) (n, next int) {
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

// replyEnd finds where the reply at i ends: 0 when not all of it has come, negative when it
// makes no sense.
func replyEnd(b []byte, i, depth int) int {
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
		n, next := readLength(b, i)
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
	n, next := readLength(b, i)
	if depth <= 0 {
		return -1
	}
	for range n * values {
		if next = replyEnd(b, next, depth-1); next <= 0 {
			return next
		}
	}
	return next
}

// listen is what a line's connections are heard with.
func (l *line) listen(conn net.Conn) net.Conn {
	return &ear{
		Conn: conn, max: l.max, take: l.subs.take,
		told: func() { l.subs.heard.Store(time.Now().UnixNano()) },
	}
}
