package loadtest

import (
	"bytes"
	"context"
	"fmt"
)

// chatWorkload is rooms in which some or all members send. Every member must receive every message
// once, in its speaker's order and unchanged.
type chatWorkload struct {
	noopWorkload
	run           *run
	eventPrefixes [][]byte // the start of a chat:message event, by room
}

// newChat puts all clients into rooms of Config.RoomSize members, all of which send.
func newChat(r *run) workload { return newRooms(r) }

// newRooms makes the rooms of newChat.
func newRooms(r *run) *chatWorkload {
	for at := 0; at < len(r.clients); at += r.cfg.RoomSize {
		members := r.clients[at:min(at+r.cfg.RoomSize, len(r.clients))]
		r.addChatRoom(members, members)
	}
	// Clients that send one after the other are in different rooms, as real players are.
	for place := range r.cfg.RoomSize {
		for _, room := range r.rooms {
			if place < len(room.speakers) {
				r.speakers = append(r.speakers, room.speakers[place])
			}
		}
	}
	return newChatInRooms(r)
}

// newFanout puts all clients into one room, in which the first Config.Speakers send.
func newFanout(r *run) workload {
	r.speakers = r.clients[:r.cfg.Speakers]
	r.addChatRoom(r.clients, r.speakers)
	return newChatInRooms(r)
}

func newChatInRooms(r *run) *chatWorkload {
	t := &chatWorkload{run: r}
	for _, room := range r.rooms {
		t.eventPrefixes = append(t.eventPrefixes, fmt.Appendf(nil, `["chat:message",{"channel":%q,"text":"`, room.name))
	}
	return t
}

// addChatRoom adds a room and puts the members and speakers into it.
func (r *run) addChatRoom(members, speakers []*client) {
	n := len(r.rooms)
	r.rooms = append(r.rooms, room{name: fmt.Sprintf("zone:lt-%s-%d", r.tag, n), members: members, speakers: speakers})
	for _, c := range members {
		c.room, c.heardFrom = n, make([]sequenceTracker, len(speakers))
	}
	for i, c := range speakers {
		c.speakerIndex = i
	}
}

func (t *chatWorkload) prepareClients(ctx context.Context) error {
	return forEachClient(ctx, t.run.clients, t.joinChatRoom)
}

func (t *chatWorkload) joinChatRoom(ctx context.Context, c *client) error {
	if _, err := c.callForOK(ctx, fmt.Sprintf(`["chat:join",{"channel":%q}]`, t.run.rooms[c.room].name)); err != nil {
		return fmt.Errorf("chat:join: %w", err)
	}
	return nil
}

// rejoinRooms joins the room again. Messages that are sent after the join was answered must arrive.
// Messages between the last one that arrived and that answer may be missing.
func (t *chatWorkload) rejoinRooms(ctx context.Context, c *client) error {
	if err := t.joinChatRoom(ctx, c); err != nil {
		return err
	}
	c.tally.mu.Lock() // handleChatMessage uses heardFrom under this lock
	defer c.tally.mu.Unlock()
	for place, from := range t.run.rooms[c.room].speakers {
		h := &c.heardFrom[place]
		h.excuseRange(c.heardAtEnd[place], from.chatSent.Load())
	}
	return nil
}

func (t *chatWorkload) recordDropped(c *client, seq uint32) { c.uncertainChat.add(seq) }

func (t *chatWorkload) appendEvent(c *client, id uint32, dst []byte) ([]byte, int, uint32) {
	seq := c.chatSent.Load()
	c.chatSent.Store(seq + 1)
	dst = append(dst, t.eventPrefixes[c.room]...)
	dst = appendChatText(dst, chatStamp{c.index, seq, id, uint32(c.nextDue / stampUnit)}, t.run.cfg.TextBytes)
	return append(dst, `"}]`...), 1 + len(t.run.rooms[c.room].members), seq
}

// keyID precedes the id in the answer to chat:message.
var keyID = []byte(`"id":"`)

func (t *chatWorkload) checkAnswer(c *client, _ uint32, args []byte) bool {
	return !c.gotSession || bytes.Contains(args, keyID)
}

func (t *chatWorkload) recordRefusal(c *client, seq uint32, code string) {
	if !isOutcomeUncertain(code) {
		c.refusedChat.add(seq)
	} else {
		c.uncertainChat.add(seq)
	}
}

// isOutcomeUncertain reports whether an answer with this code leaves open if the event happened.
func isOutcomeUncertain(code string) bool {
	return code == "UNAVAILABLE" || code == "TIMEOUT" || code == "INTERNAL"
}
