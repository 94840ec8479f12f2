package loadtest

import "context"

// mixed is everyone in a chat room and in a fight: of ten events six are pings, three chat messages, one is a strike.
type mixed struct {
	ping   talk
	chat   talk
	combat talk
}

func newMixed(r *run) talk {
	m := &mixed{ping: ping{}, combat: newCombat(r)}
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

func (m *mixed) of(note uint32) talk {
	switch note & kindMask {
	case kindChat:
		return m.chat
	case kindCombat:
		return m.combat
	}
	return m.ping
}

func (m *mixed) prepare(ctx context.Context) error {
	if err := m.chat.prepare(ctx); err != nil {
		return err
	}
	return m.combat.prepare(ctx)
}

func (m *mixed) say(c *client, id uint32, dst []byte) ([]byte, int, uint32) {
	kind := uint32(kindPing)
	switch (c.turn + c.index) % 10 {
	case 2, 5, 8:
		kind = kindChat
	case 9:
		kind = kindCombat
	}
	text, things, note := m.of(kind).say(c, id, dst)
	return text, things, kind | note
}

func (m *mixed) answered(c *client, note uint32, args []byte) bool {
	return m.of(note).answered(c, note&^kindMask, args)
}

func (m *mixed) refused(c *client, note uint32, code string) {
	m.of(note).refused(c, note&^kindMask, code)
}

func (m *mixed) dropped(c *client, note uint32) { m.of(note).dropped(c, note&^kindMask) }

func (m *mixed) rejoin(ctx context.Context, c *client) error {
	if err := m.chat.rejoin(ctx, c); err != nil {
		return err
	}
	return m.combat.rejoin(ctx, c)
}

func (m *mixed) told(c *client, body []byte) { m.combat.told(c, body) }

func (m *mixed) verdict(ctx context.Context, into *counts) error {
	return m.combat.verdict(ctx, into)
}
