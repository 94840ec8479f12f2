package trade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

const (
	maxBreaks = 200
	batch     = 500
)

// A Report is what Audit found.
type Report struct {
	Entries    int64               `json:"entries"` // of the ledger
	Trades     int64               `json:"trades"`  // completed, of these
	Mints      int64               `json:"mints"`   // of these
	Characters int                 `json:"characters"`
	Minted     map[string]*big.Int `json:"minted"` // inventory field ("item:sword", "gold") → how much came into being
	Breaks     []string            `json:"breaks"` // what is wrong, each in a sentence; at most 200
}

// Clean tells whether nothing is wrong.
func (r Report) Clean() bool { return len(r.Breaks) == 0 }

// Audit proves that nothing was lost or doubled. The ledger is replayed from its beginning: its
// chain is whole, no trade or mint stands in it twice, nobody gave what they did not have, and
// every inventory, with what it has in escrow, is exactly what the ledger says (so the sum over all
// inventories is the sum of the mints, for each item and for gold). Every completed trade that is still kept
// is in it, and no other; and nothing is in escrow for a trade that is over.
//
// It may run while trades go on: an inventory is read together with the number of the newest
// entry, and compared with the ledger up to there. On a Cluster the two can not be read at once: an
// inventory that differs is looked at again for 10 s, in which a dead process's trades are settled by the
// sweeper, and is a break when it never fitted. It reads every inventory into memory.
//
// The error tells that the audit could not be done, not that it found something.
func (s *Service) Audit(ctx context.Context) (Report, error) {
	a := &auditor{s: s, owned: map[string]map[string]int64{}, refs: map[string]bool{}}
	a.report.Minted, a.report.Breaks = map[string]*big.Int{}, []string{}
	if err := a.run(ctx); err != nil {
		return Report{}, trouble(err, "trade: audit")
	}
	return a.report, nil
}

type auditor struct {
	s      *Service
	report Report

	// The replay, up to the newest entry that was read.
	owned  map[string]map[string]int64 // character → inventory field → amount
	refs   map[string]bool
	seq    int64
	hash   string
	stream string // id of that entry

	waiting  []snapshot // inventories to be compared, by seq
	doubtful []string   // characters whose inventories did not fit; they may be in the middle of something
}

// A snapshot is an inventory as it was right after the entry seq.
type snapshot struct {
	character string
	seq       int64
	fields    map[string]string
}

func (a *auditor) run(ctx context.Context) error {
	characters, err := a.scan(ctx, keys.Inventory("*"), func(key string) string {
		return strings.TrimSuffix(strings.TrimPrefix(key, "char:"), ":inventory")
	})
	if err != nil {
		return err
	}
	if err := a.snap(ctx, characters); err != nil {
		return err
	}
	if err := a.replay(ctx); err != nil {
		return err
	}
	// Whom the ledger knows and the scan did not: new since, or their key is gone.
	var unseen []string
	for c := range a.owned {
		if _, ok := slices.BinarySearch(characters, c); !ok {
			unseen = append(unseen, c)
		}
	}
	slices.Sort(unseen)
	if err := a.snap(ctx, unseen); err != nil {
		return err
	}
	if err := a.replay(ctx); err != nil {
		return err
	}
	a.report.Characters = len(characters) + len(unseen)
	if err := a.again(ctx); err != nil {
		return err
	}
	if err := a.kept(ctx); err != nil {
		return err
	}
	return a.end(ctx)
}

// scan lists what stands in the keys that match, sorted.
func (a *auditor) scan(ctx context.Context, match string, part func(key string) string) ([]string, error) {
	var mu sync.Mutex
	var found []string // guarded by mu
	each := func(ctx context.Context, rdb redis.Cmdable) error {
		it := rdb.Scan(ctx, 0, match, batch).Iterator()
		for it.Next(ctx) {
			mu.Lock()
			found = append(found, part(it.Val()))
			mu.Unlock()
		}
		return it.Err()
	}
	var err error
	if cluster, ok := a.s.rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return each(ctx, master) })
	} else {
		err = each(ctx, a.s.rdb)
	}
	slices.Sort(found)
	return slices.Compact(found), err
}

// snap reads inventories, each batch in one transaction with the head of the ledger; on a Cluster
// right after it.
func (a *auditor) snap(ctx context.Context, characters []string) error {
	pipelined := a.s.rdb.TxPipelined
	if a.s.cluster {
		pipelined = a.s.rdb.Pipelined
	}
	for page := range slices.Chunk(characters, batch) {
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
			a.waiting = append(a.waiting, snapshot{c, number(seq), fields})
		}
	}
	slices.SortStableFunc(a.waiting, func(x, y snapshot) int { return cmp.Compare(x.seq, y.seq) })
	return nil
}

// replay reads the ledger on to its end, and compares the snapshots on the way.
func (a *auditor) replay(ctx context.Context) error {
	a.compare(a.seq)
	for {
		from := "-"
		if a.stream != "" {
			from = "(" + a.stream
		}
		msgs, err := a.s.rdb.XRangeN(ctx, keys.TradeLedger, from, "+", batch).Result()
		if err != nil {
			return err
		}
		for _, m := range msgs {
			a.apply(m)
			a.compare(a.seq)
		}
		if len(msgs) == 0 {
			break
		}
		if err := a.indexed(ctx, msgs); err != nil {
			return err
		}
	}
	a.compare(1 << 62) // what claims to be newer than the ledger: its end was cut off
	return nil
}

// apply checks one entry and carries it out.
func (a *auditor) apply(m redis.XMessage) {
	e, err := parse(m)
	name := fmt.Sprintf("ledger entry %d (%s)", e.Seq, m.ID)
	if !e.fits {
		a.wrong("%s: its hash does not fit its content", name)
	}
	if e.Seq != a.seq+1 {
		a.wrong("%s: comes after entry %d", name, a.seq)
	} else if e.Prev != a.hash {
		a.wrong("%s: does not name the hash of the entry before", name)
	}
	a.seq, a.hash, a.stream = max(a.seq, e.Seq), e.Hash, m.ID
	a.report.Entries++
	if err != nil {
		a.wrong("%s: unreadable", name)
		return
	}
	if a.refs[e.Ref] {
		a.wrong("%s: %s %s is in the ledger twice", name, e.Kind, e.Ref)
	}
	a.refs[e.Ref] = true
	if e.Kind == "mint" {
		a.report.Mints++
	} else {
		a.report.Trades++
	}
	for _, move := range e.Moves {
		a.move(name, e.Kind == "mint", move)
	}
}

func (a *auditor) move(name string, mint bool, m Move) {
	if mint != (m.From == "") {
		a.wrong("%s: goods without an origin", name)
	}
	if err := m.check(""); err != nil {
		a.wrong("%s: %v", name, err)
		return
	}
	args := m.Goods.fields()
	for i := 0; i < len(args); i += 2 {
		field, n := args[i].(string), args[i+1].(int64)
		if mint {
			if a.report.Minted[field] == nil {
				a.report.Minted[field] = new(big.Int)
			}
			a.report.Minted[field].Add(a.report.Minted[field], big.NewInt(n))
		} else if left := a.add(m.From, field, -n); left < 0 {
			a.wrong("%s: %s of character %s falls to %d", name, field, m.From, left)
		}
		a.add(m.To, field, n)
	}
}

func (a *auditor) add(character, field string, n int64) int64 {
	owned := a.owned[character]
	if owned == nil {
		owned = map[string]int64{}
		a.owned[character] = owned
	}
	owned[field] += n
	return owned[field]
}

// compare judges the snapshots that were taken at seq or before.
func (a *auditor) compare(seq int64) {
	for len(a.waiting) > 0 && a.waiting[0].seq <= seq {
		shot := a.waiting[0]
		a.waiting = a.waiting[1:]
		switch breaks := a.judge(shot); {
		case len(breaks) == 0:
		case a.s.cluster:
			a.doubtful = append(a.doubtful, shot.character)
		default:
			for _, b := range breaks {
				a.wrong("%s", b)
			}
		}
	}
}

// judge compares an inventory with the ledger as far as it was replayed.
func (a *auditor) judge(shot snapshot) (breaks []string) {
	wrong := func(format string, args ...any) {
		breaks = append(breaks, fmt.Sprintf("character %s: ", shot.character)+fmt.Sprintf(format, args...))
	}
	owned, has := a.owned[shot.character], map[string]int64{}
	for _, field := range slices.Sorted(maps.Keys(shot.fields)) {
		v := shot.fields[field]
		if strings.HasPrefix(field, "done:") {
			continue
		}
		if trade, held := strings.CutPrefix(field, "hold:"); held {
			words := strings.Fields(v)
			for i := 0; i+1 < len(words); i += 2 {
				n, err := parseAmount(words[i+1])
				if err != nil {
					wrong("%s in escrow for trade %s: %v", words[i], trade, err)
				}
				has[words[i]] += n
			}
			continue
		}
		n, err := parseAmount(v)
		switch {
		case field != goldField && !strings.HasPrefix(field, "item:"):
			wrong("unknown inventory field %s", field)
		case err != nil:
			wrong("%s: %v", field, err)
			has[field] = owned[field]
		default:
			has[field] += n
		}
	}
	for _, field := range slices.Sorted(maps.Keys(has)) {
		if has[field] != owned[field] {
			wrong("%s is %d, the ledger says %d", field, has[field], owned[field])
		}
	}
	for _, field := range slices.Sorted(maps.Keys(owned)) {
		if _, ok := has[field]; !ok && owned[field] != 0 {
			wrong("%s is 0, the ledger says %d", field, owned[field])
		}
	}
	return breaks
}

// indexed checks that the index knows these entries, under their own ids.
func (a *auditor) indexed(ctx context.Context, msgs []redis.XMessage) error {
	refs := make([]string, len(msgs))
	for i, m := range msgs {
		refs[i], _ = m.Values["ref"].(string)
	}
	ids, err := a.s.rdb.HMGet(ctx, keys.TradeLedgerIndex, refs...).Result()
	if err != nil {
		return err
	}
	for i, m := range msgs {
		if ids[i] != m.ID {
			a.wrong("ledger entry %s: the index does not lead to %s", m.ID, refs[i])
		}
	}
	return nil
}

func (a *auditor) wrong(format string, args ...any) {
	switch n := len(a.report.Breaks); {
	case n < maxBreaks-1:
		a.report.Breaks = append(a.report.Breaks, fmt.Sprintf(format, args...))
	case n == maxBreaks-1:
		a.report.Breaks = append(a.report.Breaks, "and more")
	}
}
