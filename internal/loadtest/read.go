package loadtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// A scratch holds the buffers that one goroutine needs while it handles received bytes. A client
// that waits holds none.
type scratch struct {
	in       []byte
	out      []byte
	text     []byte
	toResume []*client // clients that may send again, because one of their events is finished
}

var scratchPool = sync.Pool{New: func() any {
	return &scratch{in: make([]byte, 64<<10), out: make([]byte, 0, 4<<10), text: make([]byte, 0, 1<<10)}
}}

func getScratch() *scratch  { return scratchPool.Get().(*scratch) }
func (s *scratch) release() { scratchPool.Put(s) }

func (s *scratch) queueResume(c *client) {
	if n := len(s.toResume); n == 0 || s.toResume[n-1] != c {
		s.toResume = append(s.toResume, c)
	}
}

// handleBytes handles the next bytes from the server. It stores an error in c.endErr. now is on the
// run's clock.
func (c *client) handleBytes(sc *scratch, b []byte, now int64) {
	if len(c.partialFrame) > 0 {
		c.partialFrame = append(c.partialFrame, b...)
		b = c.partialFrame
	}
	sc.out, sc.toResume = sc.out[:0], sc.toResume[:0]
	c.tally.mu.Lock()
	for c.endErr == nil {
		f, n, err := cutFirstFrame(b)
		if err != nil {
			c.endErr = err
		}
		if n == 0 {
			break
		}
		b = b[n:]
		c.handleFrame(sc, f, now)
	}
	c.tally.mu.Unlock()
	if len(b) == 0 || c.endErr != nil {
		c.partialFrame = nil
	} else {
		c.partialFrame = append(c.partialFrame[:0], b...)
	}
	if len(sc.out) > 0 {
		c.mu.Lock()
		c.writeFrames(sc.out)
		c.mu.Unlock()
	}
	for _, w := range sc.toResume {
		w.sendReadyEvents(sc, now)
	}
}

// handleFrame handles one frame. The caller holds the tally's mu.
func (c *client) handleFrame(sc *scratch, f frame, now int64) {
	switch f.opcode {
	case opText, opContinue:
		if (f.opcode == opContinue) != (c.partialMessage != nil) || len(c.partialMessage)+len(f.payload) > maxMessage {
			c.endErr = errBadFrame
			return
		}
		if !f.isFinal {
			c.partialMessage = append(append([]byte{}, c.partialMessage...), f.payload...)
			return
		}
		if c.partialMessage != nil {
			f.payload, c.partialMessage = append(c.partialMessage, f.payload...), nil
		}
		c.handleEngineIOPacket(sc, f.payload, now)
	case opPing:
		sc.out = appendFrame(sc.out, opPong, f.payload)
	case opPong:
	case opClose:
		c.endErr = errClosed
	default:
		c.endErr = errBadFrame
	}
}

// handleEngineIOPacket handles one Engine.IO packet.
func (c *client) handleEngineIOPacket(sc *scratch, p []byte, now int64) {
	switch {
	case len(p) >= 2 && p[0] == '4':
		c.handleSocketIOPacket(sc, p[1], p[2:], now)
	case len(p) == 1 && p[0] == '2':
		sc.out = appendFrame(sc.out, opText, []byte("3"))
		_ = c.conn.SetReadDeadline(time.Now().Add(c.readTimeout))
	case len(p) == 1 && p[0] == '1':
		c.endErr = errClosed
	case len(p) == 1 && p[0] == '6':
	case len(p) > 2 && p[0] == '0' && !c.isJoined:
		var open struct {
			SID                       string
			PingInterval, PingTimeout int64
		}
		if json.Unmarshal(p[1:], &open) != nil || open.SID == "" {
			c.endErr = errBadFrame
			return
		}
		c.readTimeout = time.Duration(min(max(open.PingInterval+open.PingTimeout, 1000), 600_000))*time.Millisecond + 5*time.Second
		sc.out = appendFrame(sc.out, opText, c.appendAuth([]byte("40")))
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

// handleSocketIOPacket handles one Socket.IO packet.
func (c *client) handleSocketIOPacket(sc *scratch, kind byte, body []byte, now int64) {
	switch kind {
	case '2':
		if len(c.pid) > 0 {
			if offset, ok := lastText(body); ok {
				c.offset = append(c.offset[:0], offset...)
			}
		}
		switch {
		case bytes.HasPrefix(body, eventChat):
			c.handleChatMessage(sc, body[len(eventChat):], now)
		case bytes.HasPrefix(body, eventError):
			c.tally.wrong++ // every event that we send has an acknowledgement, so `error` never answers one
			code, _ := stringAfter(body, keyCode)
			c.tally.countErrorCode("error " + string(code[:min(len(code), 40)]))
		case bytes.HasPrefix(body, eventClosing):
			c.handleClosing(body[len(eventClosing):])
		case bytes.HasPrefix(body, eventSession):
			c.gotSession = true
			if user, ok := stringAfter(body, keyUser); !ok || string(user) != c.user {
				c.tally.wrong++ // the session belongs to another player
			}
			if c.awaitsSession && bytes.Contains(body, recovered) != c.isRecovered.Load() {
				c.tally.wrong++
			}
			c.awaitsSession = false
		case c.run.workload != nil:
			c.run.workload.checkPushedEvent(c, body)
		}
	case '3':
		c.handleAnswer(sc, body, now)
	case '0':
		if c.isJoined || !bytes.HasPrefix(body, []byte(`{"sid":"`)) {
			c.tally.wrong++
		}
		c.isJoined = true
		if c.run.keepsState() {
			c.takeState(body)
		}
	case '1':
		c.endErr = refusal("DISCONNECT")
	case '4':
		var no struct {
			Message string
			Data    struct{ Code string }
		}
		if json.Unmarshal(body, &no) != nil || no.Message == "" {
			c.endErr = errBadFrame
			return
		}
		if no.Data.Code == "" {
			no.Data.Code = no.Message[:min(len(no.Message), 60)]
		}
		c.endErr = refusal(no.Data.Code)
	default:
		c.tally.wrong++
	}
}

// takeState takes the state that the answer to CONNECT gives the client, `{"sid":…,"pid":…}`. The
// client is recovered when its pid is the one that it presented, and then its sid must be the same.
func (c *client) takeState(body []byte) {
	sid, _ := stringAfter(body, keySID)
	pid, _ := stringAfter(body, keyPID)
	isRecovered := len(pid) > 0 && bytes.Equal(pid, c.pid)
	c.isRecovered.Store(isRecovered)
	if isRecovered && !bytes.Equal(sid, c.sid) {
		c.tally.wrong++
	}
	c.sid, c.pid = append(c.sid[:0], sid...), append(c.pid[:0], pid...)
}

// handleAnswer handles an acknowledgement, `id[{…}]`.
func (c *client) handleAnswer(sc *scratch, body []byte, now int64) {
	t := c.tally
	id, args, ok := readNumber(body)
	if !ok || id >= c.nextID.Load() {
		t.wrong++ // no event has this id
		return
	}
	order := c.acks.recordArrival(id)
	if order == arrivedAgain {
		t.doubled++
		return
	}
	if q := c.pendingCall.Load(); q != nil && q.id == id {
		c.completeStep(id, true)
		q.answer <- bytes.Clone(args)
		return
	}
	if order == arrivedLate {
		t.reordered++
	}
	s := c.slotForEvent(id)
	if uint32(s.state.Load()>>32) != id {
		return // the event was given up long ago, and countLosses does not count it
	}
	t.answered++
	recordLatency(t.answers, now-s.due.Load())
	said, code := parseAnswer(args)
	switch said {
	case outcomeOK:
		if !c.run.workload.checkAnswer(c, s.note.Load(), args) {
			t.wrong++
		}
	case outcomeRefused:
		t.refused++
		t.countErrorCode(code)
		if isServerFault(code) {
			t.wrong++
		}
		c.run.workload.recordRefusal(c, s.note.Load(), code)
	case outcomeWrong:
		t.wrong++
	}
	if c.completeStep(id, said != outcomeOK) {
		sc.queueResume(c)
	}
}

// isServerFault reports whether a correct server never answers a correct event with this code.
func isServerFault(code string) bool {
	return code == "INTERNAL" || code == "INVALID" || code == "UNKNOWN_EVENT"
}

// handleChatMessage checks and counts one delivered chat message.
func (c *client) handleChatMessage(sc *scratch, body []byte, now int64) {
	r, t := c.run, c.tally
	text, ok := stringAfter(body, keyText)
	if !ok {
		t.wrong++
		return
	}
	m, ok := parseChatText(text)
	if !ok || int(m.sender) >= len(r.clients) {
		t.wrong++
		return
	}
	from := r.clients[m.sender]
	user, _ := stringAfter(body, keyUser)
	room, _ := stringAfter(body, keyRoom)
	if c.room < 0 || from.room != c.room || from.speakerIndex < 0 || m.seq >= from.chatSent.Load() || len(text) != r.cfg.TextBytes ||
		string(user) != from.user || string(room) != r.rooms[c.room].name {
		t.wrong++ // it was never sent, or by another client, or to another room
		return
	}
	order := r.rooms[c.room].order
	heard := &c.heardFrom[from.speakerIndex]
	arrived := heard.recordArrival(m.seq)
	if arrived == arrivedAgain {
		t.doubled++
		return
	}
	t.delivered++
	if order != nil {
		order.recordHearing(c, heardMessage{speaker: from.speakerIndex, seq: m.seq}, heard.next-1)
		recordLatency(t.deliveries, now-int64(m.due)*stampUnit)
		return
	}
	if arrived == arrivedLate {
		t.reordered++
	}
	if s := from.slotForEvent(m.id); uint32(s.state.Load()>>32) == m.id {
		recordLatency(t.deliveries, now-s.due.Load())
		if !r.cfg.Reconnect && from.completeStep(m.id, false) {
			sc.queueResume(from)
		}
	}
}

// readUntilClosed reads until the connection ends. If the server ended it, the end is counted, and
// with Config.Reconnect the client reconnects.
func (c *client) readUntilClosed() {
	if c.endErr == nil {
		c.readAll()
	}
	c.mu.Lock()
	c.isConnected.Store(false) // under mu, so that no call begins after this
	c.conn.Close()
	c.mu.Unlock()
	if q := c.pendingCall.Load(); q != nil {
		close(q.answer)
	}
	if c.isLeaving.Load() {
		return
	}
	if c.run.beginReturn(c) {
		switch {
		case c.run.keepsState():
			c.countEnd()
		case !c.closeAnnounced:
			c.countDisconnection()
		}
		c.resumeTraffic(c.run.now())
		return
	}
	c.lostConnection = true
	c.countDisconnection()
}

// maxReconnectIn is the longest wait before a reconnect that gateway:closing can ask for.
const maxReconnectIn = time.Minute

// handleClosing handles the payload of gateway:closing, `{"code":…,"reconnectInMs":…}]`.
func (c *client) handleClosing(body []byte) {
	c.closeAnnounced, c.reconnectIn = true, time.Second
	if i := bytes.Index(body, keyReconnect); i >= 0 {
		if ms, _, ok := readNumber(body[i+len(keyReconnect):]); ok {
			c.reconnectIn = min(time.Duration(ms)*time.Millisecond, maxReconnectIn)
		}
	}
}

var keyReconnect = []byte(`"reconnectInMs":`)

// countEnd counts a connection that ended in recovery with Config.Reconnect, which is no fault.
func (c *client) countEnd() {
	c.tally.mu.Lock()
	c.tally.ended++
	c.tally.mu.Unlock()
}

// countDisconnection counts a connection that the server ended.
func (c *client) countDisconnection() {
	why := "disconnected"
	var no refusal
	if errors.As(c.endErr, &no) {
		why += " by " + string(no)
	} else if errors.Is(c.endErr, errBadFrame) || errors.Is(c.endErr, errTooLarge) {
		why += ": protocol"
	}
	c.tally.mu.Lock()
	c.tally.disconnections++
	c.tally.countErrorCode(why)
	c.tally.mu.Unlock()
}
