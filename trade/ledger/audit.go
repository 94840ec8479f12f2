package ledger

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	maxBreaks = 200
	pageSize  = 500 // keys or entries that are read in one round trip
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

// Clean tells whether the audit found nothing wrong.
func (r Report) Clean() bool { return len(r.Breaks) == 0 }

// Audit checks that no goods were lost or doubled. It replays the ledger from its beginning and
// checks:
//
//   - the chain of hashes is whole, and no trade or mint stands in the ledger twice;
//   - no character gave what they did not have;
//   - every inventory, with what it has in escrow, is exactly what the ledger says, so that the sum
//     over all inventories is the sum of the mints, for each item and for gold;
//   - every completed trade that is still kept is in the ledger, and no other trade is;
//   - nothing is in escrow for a trade that is over.
//
// It may run while trades go on: an inventory is read together with the number of the newest entry,
// and compared with the ledger up to there. On a Cluster the two cannot be read at once: an
// inventory that differs is looked at again for 10 s, in which the sweeper settles the trades of a
// dead process. It is reported as a break only if it never fitted. Audit reads every inventory into
// memory, and scans all keys of Redis.
//
// An error means that the audit could not be done. What it found is in Report.Breaks.
func (l *Ledger) Audit(ctx context.Context) (Report, error) {
	a := &auditor{Ledger: l, owned: map[string]map[string]int64{}, refs: map[string]bool{}}
	a.report.Minted, a.report.Breaks = map[string]*big.Int{}, []string{}
	if err := a.auditAll(ctx); err != nil {
		return Report{}, fmt.Errorf("audit: %w", err)
	}
	return a.report, nil
}

type auditor struct {
	*Ledger
	report Report

	// The replay, up to the newest entry that was read.
	owned    map[string]map[string]int64 // character → inventory field → amount
	refs     map[string]bool
	seq      int64
	hash     string
	streamID string // of that entry

	waiting  []snapshot // inventories to be compared, by seq
	doubtful []string   // characters whose inventories differed; their trades may be under way
}

// A snapshot is an inventory as it was right after the entry seq.
type snapshot struct {
	character string
	seq       int64
	fields    map[string]string
}

func (a *auditor) auditAll(ctx context.Context) error {
	characters, err := a.scanKeys(ctx, keys.Inventory("*"), func(key string) string {
		return strings.TrimSuffix(strings.TrimPrefix(key, "char:"), ":inventory")
	})
	if err != nil {
		return err
	}
	if err := a.takeSnapshots(ctx, characters); err != nil {
		return err
	}
	if err := a.replayEntries(ctx); err != nil {
		return err
	}
	// Characters that the ledger knows and the scan did not find: they are new since, or their key is
	// gone.
	var unscanned []string
	for c := range a.owned {
		if _, ok := slices.BinarySearch(characters, c); !ok {
			unscanned = append(unscanned, c)
		}
	}
	slices.Sort(unscanned)
	if err := a.takeSnapshots(ctx, unscanned); err != nil {
		return err
	}
	if err := a.replayEntries(ctx); err != nil {
		return err
	}
	a.report.Characters = len(characters) + len(unscanned)
	if a.isCluster {
		if err := a.recheckDoubtful(ctx); err != nil {
			return err
		}
		if err := a.checkEscrow(ctx); err != nil {
			return err
		}
	}
	if err := a.checkKeptTrades(ctx); err != nil {
		return err
	}
	return a.checkHead(ctx)
}

// scanKeys lists the part of each key that matches the pattern, sorted.
func (a *auditor) scanKeys(ctx context.Context, pattern string, part func(key string) string) ([]string, error) {
	var mu sync.Mutex
	var found []string // guarded by mu
	err := redisx.ForEachMaster(ctx, a.rdb, func(ctx context.Context, server redis.UniversalClient) error {
		it := server.Scan(ctx, 0, pattern, pageSize).Iterator()
		for it.Next(ctx) {
			mu.Lock()
			found = append(found, part(it.Val()))
			mu.Unlock()
		}
		return it.Err()
	})
	slices.Sort(found)
	return slices.Compact(found), err
}

// reportBreak notes what is wrong.
func (a *auditor) reportBreak(format string, args ...any) {
	switch n := len(a.report.Breaks); {
	case n < maxBreaks-1:
		a.report.Breaks = append(a.report.Breaks, fmt.Sprintf(format, args...))
	case n == maxBreaks-1:
		a.report.Breaks = append(a.report.Breaks, "and more")
	}
}
