package loadtest

import "context"

// mixedWorkload puts every client into a chat room and a fight. Of ten events six are pings, three
// are chat messages and one is a strike.
type mixedWorkload struct {
	ping   workload
	chat   workload
	combat workload
}

func newMixed(r *run) workload {
	m := &mixedWorkload{ping: pingWorkload{}, combat: newCombat(r)}
	r.speakers = nil // newChat sets the order of the speakers
	m.chat = newChat(r)
	return m
}

// The upper two bits of an event's note hold its kind.
const (
	kindPing = iota << 30
	kindChat
	kindCombat
	kindMask = 3 << 30
)

func (m *mixedWorkload) workloadOf(note uint32) workload {
	switch note & kindMask {
	case kindChat:
		return m.chat
	case kindCombat:
		return m.combat
	}
	return m.ping
}

func (m *mixedWorkload) prepareClients(ctx context.Context) error {
	if err := m.chat.prepareClients(ctx); err != nil {
		return err
	}
	return m.combat.prepareClients(ctx)
}

func (m *mixedWorkload) appendEvent(c *client, id uint32, dst []byte) ([]byte, int, uint32) {
	kind := uint32(kindPing)
	switch (c.eventsSent + c.index) % 10 {
	case 2, 5, 8:
		kind = kindChat
	case 9:
		kind = kindCombat
	}
	text, steps, note := m.workloadOf(kind).appendEvent(c, id, dst)
	return text, steps, kind | note
}

func (m *mixedWorkload) checkAnswer(c *client, note uint32, args []byte) bool {
	return m.workloadOf(note).checkAnswer(c, note&^kindMask, args)
}

func (m *mixedWorkload) recordRefusal(c *client, note uint32, code string) {
	m.workloadOf(note).recordRefusal(c, note&^kindMask, code)
}

func (m *mixedWorkload) recordDropped(c *client, note uint32) {
	m.workloadOf(note).recordDropped(c, note&^kindMask)
}

func (m *mixedWorkload) rejoinRooms(ctx context.Context, c *client) error {
	if err := m.chat.rejoinRooms(ctx, c); err != nil {
		return err
	}
	return m.combat.rejoinRooms(ctx, c)
}

func (m *mixedWorkload) checkPushedEvent(c *client, body []byte) { m.combat.checkPushedEvent(c, body) }

func (m *mixedWorkload) checkFinalState(ctx context.Context, into *counts) error {
	return m.combat.checkFinalState(ctx, into)
}
