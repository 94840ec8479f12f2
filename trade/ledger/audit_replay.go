package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// takeSnapshots reads inventories, each page in one transaction with the head of the ledger; on a
// Cluster right after it.
func (a *auditor) takeSnapshots(ctx context.Context, characters []string) error {
	pipelined := a.rdb.TxPipelined
	if a.isCluster {
		pipelined = a.rdb.Pipelined
	}
	for page := range slices.Chunk(characters, pageSize) {
		var head *redis.StringCmd
		reads := make([]*redis.MapStringStringCmd, len(page))
		_, err := pipelined(ctx, func(tx redis.Pipeliner) error {
			head = tx.HGet(ctx, keys.TradeLedgerIndex, "head")
			for i, c := range page {
				reads[i] = tx.HGetAll(ctx, keys.Inventory(c))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		seq, _, _ := strings.Cut(head.Val(), ":")
		for i, c := range page {
			fields, err := reads[i].Result()
			if err != nil {
				return fmt.Errorf("%s: %w", keys.Inventory(c), err)
			}
			a.waiting = append(a.waiting, snapshot{c, parseInteger(seq), fields})
		}
	}
	slices.SortStableFunc(a.waiting, func(x, y snapshot) int { return cmp.Compare(x.seq, y.seq) })
	return nil
}

// replayEntries reads the ledger on to its end, and compares the snapshots on the way.
func (a *auditor) replayEntries(ctx context.Context) error {
	a.compareSnapshots(a.seq)
	for {
		start := "-"
		if a.streamID != "" {
			start = "(" + a.streamID
		}
		messages, err := a.rdb.XRangeN(ctx, keys.TradeLedger, start, "+", pageSize).Result()
		if err != nil {
			return err
		}
		for _, m := range messages {
			a.applyEntry(m)
			a.compareSnapshots(a.seq)
		}
		if len(messages) == 0 {
			break
		}
		if err := a.checkIndex(ctx, messages); err != nil {
			return err
		}
	}
	a.compareSnapshots(1 << 62) // also those that claim to be newer than the ledger: its end was cut off
	return nil
}

// applyEntry checks one entry and carries it out.
func (a *auditor) applyEntry(message redis.XMessage) {
	e, err := parseEntry(message)
	name := fmt.Sprintf("ledger entry %d (%s)", e.Seq, message.ID)
	if !e.hashFits {
		a.reportBreak("%s: its hash does not fit its content", name)
	}
	if e.Seq != a.seq+1 {
		a.reportBreak("%s: comes after entry %d", name, a.seq)
	} else if e.Prev != a.hash {
		a.reportBreak("%s: does not name the hash of the entry before", name)
	}
	a.seq, a.hash, a.streamID = max(a.seq, e.Seq), e.Hash, message.ID
	a.report.Entries++
	if err != nil {
		a.reportBreak("%s: unreadable", name)
		return
	}
	if a.refs[e.Ref] {
		a.reportBreak("%s: %s %s is in the ledger twice", name, e.Kind, e.Ref)
	}
	a.refs[e.Ref] = true
	if e.Kind == KindMint {
		a.report.Mints++
	} else {
		a.report.Trades++
	}
	for _, move := range e.Moves {
		a.applyMove(name, e.Kind == KindMint, move)
	}
}

func (a *auditor) applyMove(entryName string, isMint bool, m Move) {
	if isMint != (m.From == "") {
		a.reportBreak("%s: goods without an origin", entryName)
	}
	if err := m.Check(""); err != nil {
		a.reportBreak("%s: %v", entryName, err)
		return
	}
	args := m.InventoryFields()
	for i := 0; i < len(args); i += 2 {
		field, n := args[i].(string), args[i+1].(int64)
		if isMint {
			if a.report.Minted[field] == nil {
				a.report.Minted[field] = new(big.Int)
			}
			a.report.Minted[field].Add(a.report.Minted[field], big.NewInt(n))
		} else if left := a.addAmount(m.From, field, -n); left < 0 {
			a.reportBreak("%s: %s of character %s falls to %d", entryName, field, m.From, left)
		}
		a.addAmount(m.To, field, n)
	}
}

// addAmount adds to what a character owns by the ledger, and returns what it is then.
func (a *auditor) addAmount(character, field string, n int64) int64 {
	owned := a.owned[character]
	if owned == nil {
		owned = map[string]int64{}
		a.owned[character] = owned
	}
	owned[field] += n
	return owned[field]
}

// checkIndex checks that the index knows these entries, under their own ids.
func (a *auditor) checkIndex(ctx context.Context, messages []redis.XMessage) error {
	refs := make([]string, len(messages))
	for i, m := range messages {
		refs[i], _ = m.Values["ref"].(string)
	}
	ids, err := a.rdb.HMGet(ctx, keys.TradeLedgerIndex, refs...).Result()
	if err != nil {
		return err
	}
	for i, m := range messages {
		if ids[i] != m.ID {
			a.reportBreak("ledger entry %s: the index does not lead to %s", m.ID, refs[i])
		}
	}
	return nil
}

// compareSnapshots compares the inventories that were read at seq or before.
func (a *auditor) compareSnapshots(seq int64) {
	for len(a.waiting) > 0 && a.waiting[0].seq <= seq {
		shot := a.waiting[0]
		a.waiting = a.waiting[1:]
		breaks := a.compareInventory(shot)
		if len(breaks) > 0 && a.isCluster {
			a.doubtful = append(a.doubtful, shot.character)
			continue
		}
		for _, b := range breaks {
			a.reportBreak("%s", b)
		}
	}
}

// compareInventory compares an inventory with the ledger as far as it was replayed.
func (a *auditor) compareInventory(shot snapshot) (breaks []string) {
	note := func(format string, args ...any) {
		breaks = append(breaks, fmt.Sprintf("character %s: ", shot.character)+fmt.Sprintf(format, args...))
	}
	owned, held := a.owned[shot.character], map[string]int64{}
	for _, field := range slices.Sorted(maps.Keys(shot.fields)) {
		value := shot.fields[field]
		if strings.HasPrefix(field, "done:") {
			continue
		}
		if trade, isEscrow := strings.CutPrefix(field, "hold:"); isEscrow {
			words := strings.Fields(value)
			for i := 0; i+1 < len(words); i += 2 {
				n, err := parseAmount(words[i+1])
				if err != nil {
					note("%s in escrow for trade %s: %v", words[i], trade, err)
				}
				held[words[i]] += n
			}
			continue
		}
		n, err := parseAmount(value)
		switch {
		case field != GoldField && !strings.HasPrefix(field, itemPrefix):
			note("unknown inventory field %s", field)
		case err != nil:
			note("%s: %v", field, err)
			held[field] = owned[field]
		default:
			held[field] += n
		}
	}
	for _, field := range slices.Sorted(maps.Keys(held)) {
		if held[field] != owned[field] {
			note("%s is %d, the ledger says %d", field, held[field], owned[field])
		}
	}
	for _, field := range slices.Sorted(maps.Keys(owned)) {
		if _, ok := held[field]; !ok && owned[field] != 0 {
			note("%s is 0, the ledger says %d", field, owned[field])
		}
	}
	return breaks
}
