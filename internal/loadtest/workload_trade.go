package loadtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// tradeWorkload makes pairs of clients give each other one coin at a time. At the end every client
// must own what the answers imply, and the number of all coins must be unchanged.
type tradeWorkload struct {
	noopWorkload
	run           *run
	item          string
	pairedClients []*client // all clients, except the last of an odd number
	traders       []trader  // by the client's index
}

type trader struct {
	partner       *client
	eventPrefix   []byte // the event up to the idempotency key's number
	keysUsed      uint32 // how many keys were used so far; guarded by the client's mu
	confirmedKeys bitset // keys that were answered with ok; owned by the reader
	refusedKeys   bitset // keys for which the server said that nothing moved; owned by the reader
}

// startingCoins is how many coins every client starts with, more than it can give away in a run.
const startingCoins = 1_000_000_000

// repeatEvery is the distance between events that repeat the key before them. A repeat must move
// nothing.
const repeatEvery = 8

func newTrade(r *run) workload {
	t := &tradeWorkload{run: r, item: "lt-" + r.tag + "-coin", traders: make([]trader, len(r.clients))}
	for i := 0; i+1 < len(r.clients); i += 2 {
		a, b := r.clients[i], r.clients[i+1]
		t.traders[i].partner, t.traders[i+1].partner = b, a
		t.pairedClients = append(t.pairedClients, a, b)
		r.speakers = append(r.speakers, a)
		if !r.cfg.OneSided {
			r.speakers = append(r.speakers, b)
		}
	}
	for _, c := range t.pairedClients {
		d := &t.traders[c.index]
		d.eventPrefix = fmt.Appendf(nil, `["trade:execute",{"to":%q,"give":{"items":[{"itemId":%q,"qty":1}],"gold":0},"idempotencyKey":"lt-%s-`, d.partner.user, t.item, r.tag)
	}
	return t
}

func (t *tradeWorkload) prepareClients(ctx context.Context) error {
	r := t.run
	if r.redis == nil {
		return errors.New("the trade scenario reads the inventories from Redis: set its URL")
	}
	if len(r.speakers) == 0 {
		return errors.New("at least two clients are needed")
	}
	if r.cfg.Mint == nil && r.speakers[0].gotSession {
		return errors.New("this server records minted items in a ledger: Config.Mint is needed")
	}
	if r.cfg.Mint != nil {
		return forEachClient(ctx, t.pairedClients, func(ctx context.Context, c *client) error {
			return r.cfg.Mint(ctx, c.user, t.item, startingCoins)
		})
	}
	return r.runInPipelines(ctx, t.pairedClients, func(p redis.Pipeliner, c *client) {
		p.HSet(ctx, keys.Inventory(c.user), "item:"+t.item, startingCoins)
	})
}

func (t *tradeWorkload) appendEvent(c *client, _ uint32, dst []byte) ([]byte, int, uint32) {
	d := &t.traders[c.index]
	key := d.keysUsed
	if c.gotSession && !t.run.cfg.Fresh && c.eventsSent%repeatEvery == repeatEvery-1 {
		key-- // event 0 is never a repeat, so a key was used before
	} else {
		d.keysUsed++
	}
	dst = append(dst, d.eventPrefix...)
	dst = strconv.AppendUint(dst, uint64(key), 10)
	return append(dst, `"}]`...), 1, key
}

func (t *tradeWorkload) checkAnswer(c *client, key uint32, _ []byte) bool {
	t.traders[c.index].confirmedKeys.add(key)
	return true
}

func (t *tradeWorkload) recordRefusal(c *client, key uint32, code string) {
	if !isOutcomeUncertain(code) {
		t.traders[c.index].refusedKeys.add(key)
	}
}

// givenBounds returns the least and the most that c can have given, according to the answers.
func (t *tradeWorkload) givenBounds(c *client) (least, most int64) {
	d := &t.traders[c.index]
	for key := range d.keysUsed {
		switch {
		case d.confirmedKeys.contains(key):
			least, most = least+1, most+1
		case !d.refusedKeys.contains(key):
			most++ // there was no answer, or one that leaves the outcome open
		}
	}
	return least, most
}

func (t *tradeWorkload) checkFinalState(ctx context.Context, into *counts) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.run.cfg.Timeout)
	defer cancel()
	owned := make([]*redis.StringCmd, 0, len(t.pairedClients))
	if err := t.run.runInPipelines(ctx, t.pairedClients, func(p redis.Pipeliner, c *client) {
		owned = append(owned, p.HGet(ctx, keys.Inventory(c.user), "item:"+t.item))
	}); err != nil {
		return fmt.Errorf("inventories: %w", err)
	}
	sum := int64(0)
	for i, c := range t.pairedClients {
		has, err := owned[i].Int64()
		if err != nil {
			return fmt.Errorf("inventory of client %d: %w", c.index, err)
		}
		sum += has
		gaveLeast, gaveMost := t.givenBounds(c)
		gotLeast, gotMost := t.givenBounds(t.traders[c.index].partner)
		if has < startingCoins-gaveMost+gotLeast || has > startingCoins-gaveLeast+gotMost {
			into.wrong++
		}
	}
	if t.run.cfg.Mint == nil { // minted items stay, because they are in the server's ledger
		if err := t.run.runInPipelines(ctx, t.pairedClients, func(p redis.Pipeliner, c *client) { p.Del(ctx, keys.Inventory(c.user)) }); err != nil {
			return fmt.Errorf("inventories: %w", err)
		}
	}
	if sum != startingCoins*int64(len(t.pairedClients)) {
		into.wrong++ // coins were created or destroyed
	}
	return nil
}
