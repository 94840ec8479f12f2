package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// MaxWalked is how many entries History and OwnedAt look at, at most.
const MaxWalked = 2_000_000

// A HistoryQuery says which entries History returns.
type HistoryQuery struct {
	CharacterID string    // who gave or got something
	ItemID      string    // an item, or GoldField; "" is everything
	Since       time.Time // zero is all
	Most        int       // how many entries are returned
}

// History returns the entries by which goods came to a character or left it, newest first. isWhole
// is false when there may be more: after Most of them, or after MaxWalked entries of the ledger. Of
// an entry that cannot be read nobody knows whose it is: it is left out, and the audit names it.
func (l *Ledger) History(ctx context.Context, q HistoryQuery) (entries []Entry, isWhole bool, err error) {
	entries = []Entry{}
	isWhole, err = l.walkBack(ctx, "+", q.Since, func(e Entry, readErr error) bool {
		if readErr != nil || !slices.ContainsFunc(e.Moves, func(m Move) bool {
			return (m.From == q.CharacterID || m.To == q.CharacterID) && m.Has(q.ItemID)
		}) {
			return true
		}
		if len(entries) == q.Most {
			return false
		}
		entries = append(entries, e)
		return true
	})
	return entries, isWhole, err
}

// Has tells whether a move has an item, or with GoldField gold; "" is anything.
func (m Move) Has(itemID string) bool {
	return itemID == "" || itemID == GoldField && m.Gold > 0 || m.Quantity(itemID) > 0
}

// walkBack calls visit with the entries that are newer than since, the newest first, from the
// stream id newest on. It returns false when visit did, or MaxWalked entries were visited.
func (l *Ledger) walkBack(ctx context.Context, newest string, since time.Time, visit func(e Entry, readErr error) bool) (isWhole bool, err error) {
	oldest := "-"
	if !since.IsZero() {
		oldest = strconv.FormatInt(max(0, since.UnixMilli()+1), 10)
	}
	for walked := 0; walked < MaxWalked; walked += pageSize {
		messages, err := l.rdb.XRevRangeN(ctx, keys.TradeLedger, newest, oldest, pageSize).Result()
		if err != nil {
			return false, fmt.Errorf("read the ledger: %w", err)
		}
		for _, m := range messages {
			if e, readErr := parseEntry(m); !visit(e, readErr) {
				return false, nil
			}
		}
		if len(messages) < pageSize {
			return true, nil
		}
		newest = "(" + messages[len(messages)-1].ID
	}
	return false, nil
}

// ErrTooOld says that more than MaxWalked entries lie between a time and now.
var ErrTooOld = errors.New("ledger: too much has happened since")

// OwnedAt returns what a character owned at a time: what it owns now, without what the ledger says
// of later. Goods in escrow count as owned. On a Cluster the inventory and the ledger are read one
// after the other, so that a trade which is settled meanwhile may be missing or count already.
// Errors: ErrTooOld, ErrUnreadable of a later entry, and those of Redis.
func (l *Ledger) OwnedAt(ctx context.Context, characterID string, at time.Time) (Goods, error) {
	pipelined := l.rdb.TxPipelined
	if l.isCluster {
		pipelined = l.rdb.Pipelined
	}
	var newest *redis.XMessageSliceCmd
	var inventory *redis.MapStringStringCmd
	_, err := pipelined(ctx, func(tx redis.Pipeliner) error {
		newest = tx.XRevRangeN(ctx, keys.TradeLedger, "+", "-", 1)
		inventory = tx.HGetAll(ctx, keys.Inventory(characterID))
		return nil
	})
	if err != nil {
		return Goods{}, fmt.Errorf("read the inventory of %s: %w", characterID, err)
	}
	owned, err := countOwned(inventory.Val())
	if err != nil {
		return Goods{}, fmt.Errorf("%s: %w", keys.Inventory(characterID), err)
	}
	if head := newest.Val(); len(head) > 0 {
		var unreadable error
		isWhole, err := l.walkBack(ctx, head[0].ID, at, func(e Entry, readErr error) bool {
			if readErr != nil {
				unreadable = readErr
				return false
			}
			for _, m := range e.Moves {
				undoMove(owned, m, characterID)
			}
			return true
		})
		switch {
		case err != nil:
			return Goods{}, err
		case unreadable != nil:
			return Goods{}, unreadable
		case !isWhole:
			return Goods{}, ErrTooOld
		}
	}
	return goodsOf(owned), nil
}

// undoMove takes back what a move did to the goods of a character.
func undoMove(owned map[string]int64, m Move, characterID string) {
	fields := m.InventoryFields()
	for i := 0; i+1 < len(fields); i += 2 {
		field, n := fields[i].(string), fields[i+1].(int64)
		if m.To == characterID {
			owned[field] -= n
		}
		if m.From == characterID {
			owned[field] += n
		}
	}
}

// countOwned reads all amounts of an inventory, those in escrow too.
func countOwned(fields map[string]string) (map[string]int64, error) {
	owned := map[string]int64{}
	for field, value := range fields {
		words := []string{field, value}
		if strings.HasPrefix(field, "hold:") {
			words = strings.Fields(value)
		} else if field != GoldField && !strings.HasPrefix(field, itemPrefix) {
			continue
		}
		for i := 0; i+1 < len(words); i += 2 {
			n, err := parseAmount(words[i+1])
			if err != nil {
				return nil, fmt.Errorf("field %q: %w", field, err)
			}
			owned[words[i]] += n
		}
	}
	return owned, nil
}

// goodsOf returns amounts by inventory field as goods, without those that are 0. Where the ledger
// and the inventory disagree, an amount may be negative; the audit says why.
func goodsOf(owned map[string]int64) Goods {
	g := Goods{Items: []Line{}, Gold: owned[GoldField]}
	for _, field := range slices.Sorted(maps.Keys(owned)) {
		if item, ok := strings.CutPrefix(field, itemPrefix); ok && owned[field] != 0 {
			g.Items = append(g.Items, Line{ItemID: item, Qty: owned[field]})
		}
	}
	return g
}
