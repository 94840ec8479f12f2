package loadtest

import "context"

// mixedWorkload is everyone in a chat room and in a fight: of ten events six are pings, three chat messages, one is a strike.
type mixedWorkload struct {
	ping   workload
	chat   workload
	combat workload
}

func newMixed(r *run) workload {
	m := &mixedWorkload{ping: pingWorkload{}, combat: newCombat(r)}
	r.speakers = nil // the rooms set the order
	m.chat = newChat(r)
	return m
}

// The kind of an event stands in the upper two bits of its note.
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
	text, things, note := m.workloadOf(kind).appendEvent(c, id, dst)
	return text, things, kind | note
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
