package loadtest

import (
	"bytes"
	"context"
	"sync"
)

// recoveryWorkload is the rooms of chat, for a run in which somebody else disturbs the servers or
// their Redis. Every member that stays connected must hear every acknowledged message once, and all
// members of a room in the same order. A message whose answer said `local: true` may be heard in
// another order. What a member missed must have been told to it: `gateway:status {missed: true}`.
type recoveryWorkload struct{ *chatWorkload }

func newRecovery(r *run) workload {
	w := recoveryWorkload{newRooms(r)}
	for i := range r.rooms {
		r.rooms[i].order = &roomOrder{speakers: make([]speakerOrder, len(r.rooms[i].speakers))}
	}
	return w
}

// appendEvent appends a message that is finished when it is answered: in an outage its deliveries
// may come much later.
func (w recoveryWorkload) appendEvent(c *client, id uint32, dst []byte) ([]byte, int, uint32) {
	event, _, seq := w.chatWorkload.appendEvent(c, id, dst)
	return event, 1, seq
}

var keyLocal = []byte(`"local":true`)

func (w recoveryWorkload) checkAnswer(c *client, seq uint32, args []byte) bool {
	c.acknowledged.add(seq)
	c.tally.acknowledged++
	room := &w.run.rooms[c.room]
	c.tally.expected += int64(len(room.members))
	if bytes.Contains(args, keyLocal) {
		c.tally.local++
		room.order.excuseMessage(c.speakerIndex, seq)
	}
	return w.chatWorkload.checkAnswer(c, seq, args)
}

func (w recoveryWorkload) recordRefusal(c *client, seq uint32, code string) {
	w.chatWorkload.recordRefusal(c, seq, code)
	if isOutcomeUncertain(code) { // it may be heard, and much later
		c.tally.expected += int64(len(w.run.rooms[c.room].members))
		w.run.rooms[c.room].order.excuseMessage(c.speakerIndex, seq)
	}
}

var (
	eventStatus = []byte(`["gateway:status",`)
	keyMissed   = []byte(`"missed":true`)
)

// checkPushedEvent notes that the server told a member that it missed messages: some of those that
// were sent until now.
func (w recoveryWorkload) checkPushedEvent(c *client, body []byte) {
	if !bytes.HasPrefix(body, eventStatus) || !bytes.Contains(body, keyMissed) {
		return
	}
	c.tally.notices++
	speakers := w.run.rooms[c.room].speakers
	if c.toldMissing == nil {
		c.toldMissing = make([]uint32, len(speakers))
	}
	for i, from := range speakers {
		c.toldMissing[i] = from.chatSent.Load()
	}
}

func (w recoveryWorkload) checkFinalState(_ context.Context, into *counts) error {
	for i := range w.run.rooms {
		into.reordered += w.run.rooms[i].order.countDisordered(w.run.clients)
	}
	return nil
}

// The bounds of what a roomOrder remembers.
const (
	orderWindow   = 1024 // the last messages of a speaker; older ones are not compared
	maxInversions = 4096 // of a room; further ones count as out of order, local or not
)

// A roomOrder compares the orders in which the members of a room hear its messages. The order to
// which they are compared is that in which messages were first heard by anybody: when all members
// hear the same order, whoever hears a message first has heard all before it, or misses them.
type roomOrder struct {
	mu         sync.Mutex     // taken while a tally's mu is held, and no other lock is taken under it
	next       uint32         // the place of the message that was heard last for the first time; guarded by mu
	speakers   []speakerOrder // by speakerIndex; guarded by mu
	inversions []inversion    // guarded by mu
	uncounted  int64          // inversions beyond maxInversions; guarded by mu
}

// A speakerOrder has the places of one speaker's last messages.
type speakerOrder struct {
	places  []firstHearing // a ring by seq; without a place nobody has heard the message
	end     uint32         // one more than the highest seq that was heard
	excused bitset         // messages that may be heard in any order
}

// A firstHearing is where a message stands in the room's order, and the index of the client that
// heard it first.
type firstHearing struct{ place, client uint32 }

// A heardMessage is a message of a room, and how it was first heard.
type heardMessage struct {
	firstHearing // place counts from 1; 0 means no message
	speaker      int
	seq          uint32
}

// An inversion is two messages that a member heard in the wrong order.
type inversion struct {
	late, before heardMessage
	bySpeaker    bool // the wrong order is that of one speaker's messages
}

// recordHearing compares a message that a member has just heard for the first time. newestSeq is
// the highest number that the member has heard from that speaker.
func (o *roomOrder) recordHearing(c *client, m heardMessage, newestSeq uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.speakers[m.speaker]
	if s.excused.contains(m.seq) {
		return
	}
	m.firstHearing = s.takePlace(m.seq, firstHearing{o.next + 1, c.index})
	o.next = max(o.next, m.place)
	switch {
	case m.place != 0 && m.place < c.latestHeard.place:
		o.recordInversion(inversion{late: m, before: c.latestHeard})
	case m.seq < newestSeq:
		o.recordInversion(inversion{late: m, before: heardMessage{speaker: m.speaker, seq: newestSeq}, bySpeaker: true})
	}
	if m.place > c.latestHeard.place {
		c.latestHeard = m
	}
}

func (o *roomOrder) recordInversion(i inversion) {
	if len(o.inversions) == maxInversions {
		o.uncounted++
		return
	}
	o.inversions = append(o.inversions, i)
}

// takePlace returns how a message was first heard: now, if nobody has heard it before. The place is
// 0 if the message is too old to know.
func (s *speakerOrder) takePlace(seq uint32, now firstHearing) firstHearing {
	for s.end <= seq {
		if len(s.places) < orderWindow {
			s.places = append(s.places, firstHearing{})
		} else {
			s.places[s.end%orderWindow] = firstHearing{}
		}
		s.end++
	}
	if s.end-seq > orderWindow {
		return firstHearing{}
	}
	first := &s.places[seq%orderWindow]
	if first.place == 0 {
		*first = now
	}
	return *first
}

// excuseMessage allows a message to be heard in any order.
func (o *roomOrder) excuseMessage(speaker int, seq uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.speakers[speaker].excused.add(seq)
}

// countDisordered returns how many deliveries were out of order, without those in which one of the
// two messages is excused. When the client that heard a message first has never heard the other
// one, that one was lost to it, and the order says nothing. All readers must have ended.
func (o *roomOrder) countDisordered(clients []*client) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.uncounted
	for _, i := range o.inversions {
		excused := o.speakers[i.late.speaker].excused.contains(i.late.seq) || o.speakers[i.before.speaker].excused.contains(i.before.seq)
		first := clients[i.late.client]
		if !excused && (i.bySpeaker || first.heardFrom[i.before.speaker].hasArrived(i.before.seq)) {
			n++
		}
	}
	return n
}
