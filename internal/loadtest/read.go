package loadtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"
)

// A scratch is what one goroutine needs while it handles what came in; clients that wait have none.
type scratch struct {
	in   []byte
	out  []byte
	text []byte
	wake []*client // whose window opened
}

var scratches = sync.Pool{New: func() any {
	return &scratch{in: make([]byte, 64<<10), out: make([]byte, 0, 4<<10), text: make([]byte, 0, 1<<10)}
}}

func getScratch() *scratch { return scratches.Get().(*scratch) }
func (s *scratch) put()    { scratches.Put(s) }

func (s *scratch) opened(c *client) {
	if n := len(s.wake); n == 0 || s.wake[n-1] != c {
		s.wake = append(s.wake, c)
	}
}

// feed takes the next bytes from the server; errors end up in c.ended. now is on the run's clock.
func (c *client) feed(sc *scratch, b []byte, now int64) {
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	sc.out, sc.wake = sc.out[:0], sc.wake[:0]
	c.tally.mu.Lock()
	for c.ended == nil {
		f, n, err := cutFrame(b)
		if err != nil {
			c.ended = err
		}
		if n == 0 {
			break
		}
		b = b[n:]
		c.frame(sc, f, now)
	}
	c.tally.mu.Unlock()
	if len(b) == 0 || c.ended != nil {
		c.rest = nil
	} else {
		c.rest = append(c.rest[:0], b...)
	}
	if len(sc.out) > 0 {
		c.mu.Lock()
		c.write(sc.out)
		c.mu.Unlock()
	}
	for _, w := range sc.wake {
		w.pump(sc, now)
	}
}

// frame handles one frame. The caller holds the tally.
func (c *client) frame(sc *scratch, f frame, now int64) {
	switch f.op {
	case opText, opContinue:
		if (f.op == opContinue) != (c.part != nil) || len(c.part)+len(f.payload) > maxMessage {
			c.ended = errFrame
			return
		}
		if !f.final {
			c.part = append(append([]byte{}, c.part...), f.payload...)
			return
		}
		if c.part != nil {
			f.payload, c.part = append(c.part, f.payload...), nil
		}
		c.packet(sc, f.payload, now)
	case opPing:
		sc.out = appendFrame(sc.out, opPong, f.payload)
	case opPong:
	case opClose:
		c.ended = errGone
	default:
		c.ended = errFrame
	}
}

// packet handles one Engine.IO packet.
func (c *client) packet(sc *scratch, p []byte, now int64) {
	switch {
	case len(p) >= 2 && p[0] == '4':
		c.message(sc, p[1], p[2:], now)
	case len(p) == 1 && p[0] == '2':
		sc.out = appendFrame(sc.out, opText, []byte("3"))
		_ = c.conn.SetReadDeadline(time.Now().Add(c.beat))
	case len(p) == 1 && p[0] == '1':
		c.ended = errGone
	case len(p) == 1 && p[0] == '6':
	case len(p) > 2 && p[0] == '0' && !c.joined:
		var open struct {
			SID                       string
			PingInterval, PingTimeout int64
		}
		if json.Unmarshal(p[1:], &open) != nil || open.SID == "" {
			c.ended = errFrame
			return
		}
		c.beat = time.Duration(min(max(open.PingInterval+open.PingTimeout, 1000), 600_000))*time.Millisecond + 5*time.Second
		sc.out = appendFrame(sc.out, opText, []byte(`40{"sessionId":`+strconv.Quote(c.secret)+`}`))
	default:
		c.tally.wrong++
	}
}

var (
	eventChat    = []byte(`["chat:message",`)
	eventSession = []byte(`["session",`)
	eventError   = []byte(`["error",`)
	eventClosing = []byte(`["gateway:closing",`)
)

// message handles one Socket.IO packet.
func (c *client) message(sc *scratch, kind byte, body []byte, now int64) {
	switch kind {
	case '2':
		switch {
		case bytes.HasPrefix(body, eventChat):
			c.hear(sc, body[len(eventChat):], now)
		case bytes.HasPrefix(body, eventError):
			c.tally.wrong++ // all that we ask has an acknowledgement
			code, _ := stringAfter(body, keyCode)
			c.tally.fail("error " + string(code[:min(len(code), 40)]))
		case bytes.HasPrefix(body, eventClosing):
			c.closing(body[len(eventClosing):])
		case bytes.HasPrefix(body, eventSession):
			c.hello = true
			if user, ok := stringAfter(body, keyUser); !ok || string(user) != c.user {
				c.tally.wrong++ // somebody else's session
			}
		case c.run.talk != nil:
			c.run.talk.told(c, body)
		}
	case '3':
		c.answered(sc, body, now)
	case '0':
		if c.joined || !bytes.HasPrefix(body, []byte(`{"sid":"`)) {
			c.tally.wrong++
		}
		c.joined = true
	case '1':
		c.ended = refusal("DISCONNECT")
	case '4':
		var no struct {
			Message string
			Data    struct{ Code string }
		}
		if json.Unmarshal(body, &no) != nil || no.Message == "" {
			c.ended = errFrame
			return
		}
		if no.Data.Code == "" {
			no.Data.Code = no.Message[:min(len(no.Message), 60)]
		}
		c.ended = refusal(no.Data.Code)
	default:
		c.tally.wrong++
	}
}

// answered handles an acknowledgement, `id[{…}]`.
func (c *client) answered(sc *scratch, body []byte, now int64) {
	t := c.tally
	id, args, ok := number(body)
	if !ok || id >= c.next.Load() {
		t.wrong++ // nobody asked
		return
	}
	order := c.acks.saw(id)
	if order == again {
		t.doubled++
		return
	}
	if q := c.question.Load(); q != nil && q.id == id {
		c.progress(id, true)
		q.answer <- bytes.Clone(args)
		return
	}
	if order == late {
		t.reordered++
	}
	s := c.slot(id)
	if uint32(s.state.Load()>>32) != id {
		return // given up long ago; the verdict will not miss it
	}
	t.answered++
	record(t.answers, now-s.due.Load())
	said, code := judge(args)
	switch said {
	case outcomeOK:
		if !c.run.talk.answered(c, s.note.Load(), args) {
			t.wrong++
		}
	case outcomeRefused:
		t.refused++
		t.fail(code)
		if ours(code) {
			t.wrong++
		}
		c.run.talk.refused(c, s.note.Load(), code)
	case outcomeWrong:
		t.wrong++
	}
	if c.progress(id, said != outcomeOK) {
		sc.opened(c)
	}
}

// ours are the codes that a correct server never answers to a correct question.
func ours(code string) bool {
	return code == "INTERNAL" || code == "INVALID" || code == "UNKNOWN_EVENT"
}

// hear handles a chat message.
func (c *client) hear(sc *scratch, body []byte, now int64) {
	r, t := c.run, c.tally
	text, ok := stringAfter(body, keyText)
	if !ok {
		t.wrong++
		return
	}
	m, ok := readText(text)
	if !ok || int(m.sender) >= len(r.clients) {
		t.wrong++
		return
	}
	from := r.clients[m.sender]
	user, _ := stringAfter(body, keyUser)
	room, _ := stringAfter(body, keyRoom)
	if c.room < 0 || from.room != c.room || from.place < 0 || m.seq >= from.said.Load() || len(text) != r.cfg.TextBytes ||
		string(user) != from.user || string(room) != r.rooms[c.room].name {
		t.wrong++ // not said, not here, or not by this one
		return
	}
	switch c.heard[from.place].saw(m.seq) {
	case again:
		t.doubled++
		return
	case late:
		t.reordered++
	}
	t.delivered++
	if s := from.slot(m.id); uint32(s.state.Load()>>32) == m.id {
		record(t.deliveries, now-s.due.Load())
		if !r.cfg.Reconnect && from.progress(m.id, false) {
			sc.opened(from)
		}
	}
}

// listen reads until the connection ends, and counts an end that was not ours.
func (c *client) listen() {
	if c.ended == nil {
		c.readAll()
	}
	c.mu.Lock()
	c.alive.Store(false) // under mu, so that no question is asked after this
	c.conn.Close()
	c.mu.Unlock()
	if q := c.question.Load(); q != nil {
		close(q.answer)
	}
	if c.leaving.Load() {
		return
	}
	if c.run.away(c) {
		if !c.told {
			c.disconnected()
		}
		c.comeBackFrom(c.run.now())
		return
	}
	c.died = true
	c.disconnected()
}

// maxReconnectIn bounds what a goodbye can ask for.
const maxReconnectIn = time.Minute

// closing is a goodbye, `{"code":…,"reconnectInMs":…}]`.
func (c *client) closing(body []byte) {
	c.told, c.reconnectIn = true, time.Second
	if i := bytes.Index(body, keyReconnect); i >= 0 {
		if ms, _, ok := number(body[i+len(keyReconnect):]); ok {
			c.reconnectIn = min(time.Duration(ms)*time.Millisecond, maxReconnectIn)
		}
	}
}

var keyReconnect = []byte(`"reconnectInMs":`)

// disconnected counts an end that was not ours.
func (c *client) disconnected() {
	why := "disconnected"
	var no refusal
	if errors.As(c.ended, &no) {
		why += " by " + string(no)
	} else if errors.Is(c.ended, errFrame) || errors.Is(c.ended, errTooLarge) {
		why += ": protocol"
	}
	c.tally.mu.Lock()
	c.tally.disconnections++
	c.tally.fail(why)
	c.tally.mu.Unlock()
}
