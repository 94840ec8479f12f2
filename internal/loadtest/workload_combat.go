package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// combat is everyone striking a training dummy of his own. Each strike that is answered with ok must be told in one
// combat:update, with versions that rise by one.
type combat struct {
	silent
	run    *run
	fights []fight // by the client's index
}

type fight struct {
	id      string // static after prepare
	event   []byte
	ok      uint32 // strikes that were done; owned by the reader
	updates stream // versions, the first of which is 2; owned by the reader
}

func newCombat(r *run) talk {
	r.speakers = r.clients
	return &combat{run: r, fights: make([]fight, len(r.clients))}
}

// prepare starts the fights. A server that says no `session` is not the gateway and may have no combat:start: there only
// the answers are checked.
func (t *combat) prepare(ctx context.Context) error {
	return each(ctx, t.run.clients, func(ctx context.Context, c *client) error {
		f := &t.fights[c.index]
		f.id = "lt-" + t.run.tag + "-" + strconv.Itoa(int(c.index))
		if c.hello {
			args, err := c.request(ctx, `["combat:start",{"npc":"training-dummy"}]`)
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

func (t *combat) say(c *client, _ uint32, dst []byte) ([]byte, int, uint32) {
	return append(dst, t.fights[c.index].event...), 1, 0
}

func (t *combat) answered(c *client, _ uint32, args []byte) bool {
	f := &t.fights[c.index]
	f.ok++
	if !c.hello {
		return true
	}
	id, ok := stringAfter(args, keyCombat)
	return ok && string(id) == f.id
}

var (
	eventUpdate = []byte(`["combat:update",`)
	keyVersion  = []byte(`"version":`)
)

func (t *combat) told(c *client, body []byte) {
	if !c.hello || !bytes.HasPrefix(body, eventUpdate) {
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
	version, _, ok := number(body[i+len(keyVersion):])
	if !ok || version < 2 {
		c.tally.wrong++
		return
	}
	switch f.updates.saw(version - 2) {
	case again:
		c.tally.doubled++
		return
	case late:
		c.tally.reordered++
	}
	c.tally.delivered++
}

// rejoin: combat:state puts the connection back into its fight's room. A strike that was
// answered is in the state, or it was lost.
func (t *combat) rejoin(ctx context.Context, c *client) error {
	if !c.hello {
		return nil
	}
	f := &t.fights[c.index]
	args, err := c.request(ctx, fmt.Sprintf(`["combat:state",{"combatId":%q}]`, f.id))
	if err != nil {
		return fmt.Errorf("combat:state: %w", err)
	}
	i := bytes.Index(args, keyVersion)
	if i < 0 {
		return errors.New("combat:state: no version")
	}
	version, _, ok := number(args[i+len(keyVersion):])
	if !ok || version < 1 {
		return errors.New("combat:state: no version")
	}
	c.tally.mu.Lock() // the reader's
	defer c.tally.mu.Unlock()
	if done := version - 1; done < f.ok {
		c.tally.lost += int64(f.ok - done)
	}
	f.updates.excuse(f.updates.next, version-1)
	return nil
}

func (t *combat) verdict(_ context.Context, into *counts) error {
	for _, c := range t.run.clients {
		f := &t.fights[c.index]
		if !c.hello || c.died {
			continue
		}
		into.lost += int64(f.updates.missing(max(f.ok, f.updates.next), nil))
	}
	return nil
}
