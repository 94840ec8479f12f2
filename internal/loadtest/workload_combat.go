package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// combatWorkload makes every client strike a training dummy of its own. Each strike that was
// answered with ok must be announced in one combat:update, and the versions of the updates must
// rise by one.
type combatWorkload struct {
	noopWorkload
	run    *run
	fights []fight // by the client's index
}

type fight struct {
	id      string // does not change after prepareClients
	event   []byte
	strikes uint32          // strikes that were answered with ok; owned by the reader
	updates sequenceTracker // version minus 2 of each combat:update, because the first is 2; owned by the reader
}

func newCombat(r *run) workload {
	r.speakers = r.clients
	return &combatWorkload{run: r, fights: make([]fight, len(r.clients))}
}

// prepareClients starts the fights. A server that sends no `session` is not the gateway and may not
// know combat:start. There, only the answers are checked.
func (t *combatWorkload) prepareClients(ctx context.Context) error {
	return forEachClient(ctx, t.run.clients, func(ctx context.Context, c *client) error {
		f := &t.fights[c.index]
		f.id = "lt-" + t.run.tag + "-" + strconv.Itoa(int(c.index))
		if c.gotSession {
			args, err := c.callForOK(ctx, `["combat:start",{"npc":"training-dummy"}]`)
			if err != nil {
				return fmt.Errorf("combat:start: %w", err)
			}
			id, ok := stringAfter(args, keyCombat)
			if !ok || len(id) == 0 || len(id) > 128 {
				return errors.New("combat:start: no combatId")
			}
			f.id = string(id)
		}
		f.event = fmt.Appendf(nil, `["combat:action",{"combatId":%q,"action":"attack"}]`, f.id)
		return nil
	})
}

func (t *combatWorkload) appendEvent(c *client, _ uint32, dst []byte) ([]byte, int, uint32) {
	return append(dst, t.fights[c.index].event...), 1, 0
}

func (t *combatWorkload) checkAnswer(c *client, _ uint32, args []byte) bool {
	f := &t.fights[c.index]
	f.strikes++
	if !c.gotSession {
		return true
	}
	id, ok := stringAfter(args, keyCombat)
	return ok && string(id) == f.id
}

var (
	eventUpdate = []byte(`["combat:update",`)
	keyVersion  = []byte(`"version":`)
)

func (t *combatWorkload) checkPushedEvent(c *client, body []byte) {
	if !c.gotSession || !bytes.HasPrefix(body, eventUpdate) {
		return
	}
	f := &t.fights[c.index]
	if id, ok := stringAfter(body, keyCombat); !ok || string(id) != f.id {
		c.tally.wrong++
		return
	}
	i := bytes.Index(body, keyVersion)
	if i < 0 {
		c.tally.wrong++
		return
	}
	version, _, ok := readNumber(body[i+len(keyVersion):])
	if !ok || version < 2 {
		c.tally.wrong++
		return
	}
	switch f.updates.recordArrival(version - 2) {
	case arrivedAgain:
		c.tally.doubled++
		return
	case arrivedLate:
		c.tally.reordered++
	}
	c.tally.delivered++
}

// rejoinRooms asks for combat:state, which puts the connection back into the room of its fight.
// Every strike that was answered must be part of that state; otherwise it was lost.
func (t *combatWorkload) rejoinRooms(ctx context.Context, c *client) error {
	if !c.gotSession {
		return nil
	}
	f := &t.fights[c.index]
	args, err := c.callForOK(ctx, fmt.Sprintf(`["combat:state",{"combatId":%q}]`, f.id))
	if err != nil {
		return fmt.Errorf("combat:state: %w", err)
	}
	i := bytes.Index(args, keyVersion)
	if i < 0 {
		return errors.New("combat:state: no version")
	}
	version, _, ok := readNumber(args[i+len(keyVersion):])
	if !ok || version < 1 {
		return errors.New("combat:state: no version")
	}
	c.tally.mu.Lock() // handleAnswer uses the fight under this lock
	defer c.tally.mu.Unlock()
	if done := version - 1; done < f.strikes {
		c.tally.lost += int64(f.strikes - done)
	}
	f.updates.excuseRange(f.updates.next, version-1)
	return nil
}

func (t *combatWorkload) checkFinalState(_ context.Context, into *counts) error {
	for _, c := range t.run.clients {
		f := &t.fights[c.index]
		if !c.gotSession || c.lostConnection {
			continue
		}
		into.lost += int64(f.updates.countMissing(max(f.strikes, f.updates.next), nil))
	}
	return nil
}
