package loadtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// trade is pairs who give each other one coin at a time. At the end everyone must own what the answers say, and
// the coins of all together must be as many as before.
type trade struct {
	silent
	run     *run
	item    string
	paired  []*client // all but, perhaps, a last one
	traders []trader  // by the client's index
}

type trader struct {
	partner *client
	before  []byte // the event up to the idempotency key
	keys    uint32 // used so far; guarded by the client's mu
	given   bitset // keys answered with ok; owned by the reader
	denied  bitset // keys of which the server said that nothing moved; owned by the reader
}

// coins is what everyone starts with: more than can be given away in a run.
const coins = 1_000_000_000

// repeats: every so manyth event repeats the key before, and must move nothing.
const repeats = 8

func newTrade(r *run) talk {
	t := &trade{run: r, item: "lt-" + r.tag + "-coin", traders: make([]trader, len(r.clients))}
	for i := 0; i+1 < len(r.clients); i += 2 {
		a, b := r.clients[i], r.clients[i+1]
		t.traders[i].partner, t.traders[i+1].partner = b, a
		t.paired = append(t.paired, a, b)
		r.speakers = append(r.speakers, a)
		if !r.cfg.OneSided {
			r.speakers = append(r.speakers, b)
		}
	}
	for _, c := range t.paired {
		d := &t.traders[c.index]
		d.before = fmt.Appendf(nil, `["trade:execute",{"to":%q,"give":{"items":[{"itemId":%q,"qty":1}],"gold":0},"idempotencyKey":"lt-%s-`, d.partner.user, t.item, r.tag)
	}
	return t
}

func (t *trade) prepare(ctx context.Context) error {
	r := t.run
	if r.redis == nil {
		return errors.New("the inventories are read from Redis: name it")
	}
	if len(r.speakers) == 0 {
		return errors.New("at least two clients are needed")
	}
	if r.cfg.Mint == nil && r.speakers[0].hello {
		return errors.New("this server keeps books of what was minted: Config.Mint is needed")
	}
	if r.cfg.Mint != nil {
		return each(ctx, t.paired, func(ctx context.Context, c *client) error {
			return r.cfg.Mint(ctx, c.user, t.item, coins)
		})
	}
	return r.piped(ctx, t.paired, func(p redis.Pipeliner, c *client) {
		p.HSet(ctx, keys.Inventory(c.user), "item:"+t.item, coins)
	})
}

func (t *trade) say(c *client, _ uint32, dst []byte) ([]byte, int, uint32) {
	d := &t.traders[c.index]
	key := d.keys
	if c.hello && !t.run.cfg.Fresh && c.turn%repeats == repeats-1 {
		key-- // turn 0 is never a repeat, so there was one before
	} else {
		d.keys++
	}
	dst = append(dst, d.before...)
	dst = strconv.AppendUint(dst, uint64(key), 10)
	return append(dst, `"}]`...), 1, key
}

func (t *trade) answered(c *client, key uint32, _ []byte) bool {
	t.traders[c.index].given.add(key)
	return true
}

func (t *trade) refused(c *client, key uint32, code string) {
	if !open(code) {
		t.traders[c.index].denied.add(key)
	}
}

// bounds are the least and the most that c can have given, by the answers.
func (t *trade) bounds(c *client) (least, most int64) {
	d := &t.traders[c.index]
	for key := range d.keys {
		switch {
		case d.given.has(key):
			least, most = least+1, most+1
		case !d.denied.has(key):
			most++ // no answer, or one that leaves it open
		}
	}
	return least, most
}

func (t *trade) verdict(ctx context.Context, into *counts) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.run.cfg.Timeout)
	defer cancel()
	owned := make([]*redis.StringCmd, 0, len(t.paired))
	if err := t.run.piped(ctx, t.paired, func(p redis.Pipeliner, c *client) {
		owned = append(owned, p.HGet(ctx, keys.Inventory(c.user), "item:"+t.item))
	}); err != nil {
		return fmt.Errorf("inventories: %w", err)
	}
	sum := int64(0)
	for i, c := range t.paired {
		has, err := owned[i].Int64()
		if err != nil {
			return fmt.Errorf("inventory of client %d: %w", c.index, err)
		}
		sum += has
		gaveLeast, gaveMost := t.bounds(c)
		gotLeast, gotMost := t.bounds(t.traders[c.index].partner)
		if has < coins-gaveMost+gotLeast || has > coins-gaveLeast+gotMost {
			into.wrong++
		}
	}
	if t.run.cfg.Mint == nil { // else they are in the server's books
		if err := t.run.piped(ctx, t.paired, func(p redis.Pipeliner, c *client) { p.Del(ctx, keys.Inventory(c.user)) }); err != nil {
			return fmt.Errorf("inventories: %w", err)
		}
	}
	if sum != coins*int64(len(t.paired)) {
		into.wrong++ // coins were made or destroyed
	}
	return nil
}
