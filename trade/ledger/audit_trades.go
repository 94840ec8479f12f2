package ledger

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// Values of the field status of a trade.
const (
	statusSettling  = "settling"
	statusCompleted = "completed"
)

// tradeID tells the keys of trades from the others that begin with "trade:".
var tradeID = regexp.MustCompile(`^[0-9A-Za-z]{26}$`)

// checkKeptTrades checks that every completed trade that is still kept is in the ledger, and no
// other trade is: what the ledger has is decided, and stays so.
func (a *auditor) checkKeptTrades(ctx context.Context) error {
	ids, err := a.scanKeys(ctx, keys.Trade("*"), func(key string) string { return strings.TrimPrefix(key, "trade:") })
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !tradeID.MatchString(id) })
	for page := range slices.Chunk(ids, pageSize) {
		pipe := a.rdb.Pipeline()
		reads := make([]*redis.SliceCmd, len(page))
		for i, id := range page {
			reads[i] = pipe.HMGet(ctx, keys.Trade(id), "status", "ref", "endedAt")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for i, id := range page {
			if err := a.checkKeptTrade(ctx, id, reads[i].Val()); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKeptTrade checks one of them by its fields status, ref and endedAt.
func (a *auditor) checkKeptTrade(ctx context.Context, id string, fields []any) error {
	status, isKept := fields[0].(string)
	switch {
	case !isKept: // it expired meanwhile
		return nil
	case a.refs[id]: // the entry of a mint has the ref of its key instead, under which many may have tried
		if status != statusCompleted {
			a.reportBreak("trade %s: in the ledger, and %s", id, status)
		}
		return nil
	case status != statusCompleted:
		return nil
	}
	ref := id
	if r, ok := fields[1].(string); ok && r != "" {
		ref = r
	}
	endedAt, _ := fields[2].(string)
	if a.isCluster && time.Since(time.UnixMilli(parseInteger(endedAt))) < a.skew {
		return nil // its entry may be under way; goods that moved without one are found in the inventories
	}
	// It may have been completed since the replay; then the index leads to its entry.
	isWritten, err := a.rdb.HExists(ctx, keys.TradeLedgerIndex, ref).Result()
	if err == nil && !isWritten {
		a.reportBreak("trade %s: completed, and not in the ledger", id)
	}
	return err
}

// checkHead checks that the ledger's newest entry is the one that its head names.
func (a *auditor) checkHead(ctx context.Context) error {
	for {
		var head *redis.StringCmd
		var newest *redis.XMessageSliceCmd
		_, err := a.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			head = tx.HGet(ctx, keys.TradeLedgerIndex, "head")
			newest = tx.XRevRangeN(ctx, keys.TradeLedger, "+", "-", 1)
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		last, err := newest.Result()
		if err != nil {
			return err
		}
		if len(last) > 0 && last[0].ID != a.streamID {
			before := a.streamID
			if err := a.replayEntries(ctx); err != nil {
				return err
			}
			if a.streamID != before {
				continue // trades go on
			}
		}
		want := ""
		if a.seq > 0 {
			want = fmt.Sprintf("%d:%s", a.seq, a.hash)
		}
		if head.Val() != want {
			a.reportBreak("the ledger ends at entry %d, its head says %q", a.seq, head.Val())
		}
		return nil
	}
}
