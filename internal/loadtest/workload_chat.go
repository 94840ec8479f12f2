package loadtest

import (
	"bytes"
	"context"
	"fmt"
)

// chat is rooms in which some or all speak; every member must hear every message once, in its speaker's order, byte
// for byte.
type chat struct {
	silent
	run   *run
	rooms [][]byte // the start of a chat:message, by room
}

// newChat puts everyone into rooms of Config.RoomSize, in which all speak.
func newChat(r *run) talk {
	for at := 0; at < len(r.clients); at += r.cfg.RoomSize {
		members := r.clients[at:min(at+r.cfg.RoomSize, len(r.clients))]
		r.furnish(members, members)
	}
	// Neighbours in the order of the open loop are in different rooms, as players are.
	for place := range r.cfg.RoomSize {
		for _, room := range r.rooms {
			if place < len(room.speakers) {
				r.speakers = append(r.speakers, room.speakers[place])
			}
		}
	}
	return newChatOf(r)
}

// newFanout puts everyone into one room, in which the first few speak.
func newFanout(r *run) talk {
	r.speakers = r.clients[:r.cfg.Speakers]
	r.furnish(r.clients, r.speakers)
	return newChatOf(r)
}

func newChatOf(r *run) *chat {
	t := &chat{run: r}
	for _, room := range r.rooms {
		t.rooms = append(t.rooms, fmt.Appendf(nil, `["chat:message",{"channel":%q,"text":"`, room.name))
	}
	return t
}

// furnish makes a room.
func (r *run) furnish(members, speakers []*client) {
	n := len(r.rooms)
	r.rooms = append(r.rooms, room{fmt.Sprintf("zone:lt-%s-%d", r.tag, n), members, speakers})
	for _, c := range members {
		c.room, c.heard = n, make([]stream, len(speakers))
	}
	for i, c := range speakers {
		c.place = i
	}
}

func (t *chat) prepare(ctx context.Context) error {
	return each(ctx, t.run.clients, t.join)
}

func (t *chat) join(ctx context.Context, c *client) error {
	if _, err := c.request(ctx, fmt.Sprintf(`["chat:join",{"channel":%q}]`, t.run.rooms[c.room].name)); err != nil {
		return fmt.Errorf("chat:join: %w", err)
	}
	return nil
}

// rejoin: what is said from when the join is answered must be heard, and what was said since
// the last that was heard may be.
func (t *chat) rejoin(ctx context.Context, c *client) error {
	if err := t.join(ctx, c); err != nil {
		return err
	}
	c.tally.mu.Lock() // the reader's
	defer c.tally.mu.Unlock()
	for place, from := range t.run.rooms[c.room].speakers {
		h := &c.heard[place]
		h.excuse(c.parted[place], from.said.Load())
	}
	return nil
}

func (t *chat) dropped(c *client, seq uint32) { c.unsure.add(seq) }

func (t *chat) say(c *client, id uint32, dst []byte) ([]byte, int, uint32) {
	seq := c.said.Load()
	c.said.Store(seq + 1)
	dst = append(dst, t.rooms[c.room]...)
	dst = appendText(dst, mark{c.index, seq, id}, t.run.cfg.TextBytes)
	return append(dst, `"}]`...), 1 + len(t.run.rooms[c.room].members), seq
}

// keyID is what the receipt of a message carries.
var keyID = []byte(`"id":"`)

func (t *chat) answered(c *client, _ uint32, args []byte) bool {
	return !c.hello || bytes.Contains(args, keyID)
}

func (t *chat) refused(c *client, seq uint32, code string) {
	if !open(code) {
		c.silenced.add(seq)
	} else {
		c.unsure.add(seq)
	}
}

// open are the codes after which nobody knows whether it was done.
func open(code string) bool {
	return code == "UNAVAILABLE" || code == "TIMEOUT" || code == "INTERNAL"
}
