package trade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// kept checks that every completed trade that is still kept is in the ledger, and no other: what the ledger has is decided, and stays so.
func (a *auditor) kept(ctx context.Context) error {
	ids, err := a.scan(ctx, keys.Trade("*"), func(key string) string { return strings.TrimPrefix(key, "trade:") })
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !tradeID.MatchString(id) })
	for page := range slices.Chunk(ids, batch) {
		pipe := a.s.rdb.Pipeline()
		reads := make([]*redis.SliceCmd, len(page))
		for i, id := range page {
			reads[i] = pipe.HMGet(ctx, keys.Trade(id), "status", "ref", "endedAt")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for i, id := range page {
			if err := a.keeps(ctx, id, reads[i].Val()); err != nil {
				return err
			}
		}
	}
	return nil
}

// keeps checks one of them by its status, ref and endedAt.
func (a *auditor) keeps(ctx context.Context, id string, h []any) error {
	status, known := h[0].(string)
	switch {
	case !known: // its time was over meanwhile
		return nil
	case a.refs[id]: // a mint's entry is under the name of its key, which many may have tried
		if status != string(Completed) {
			a.wrong("trade %s: in the ledger, and %s", id, status)
		}
		return nil
	case status != string(Completed):
		return nil
	}
	ref := id
	if r, ok := h[1].(string); ok && r != "" {
		ref = r
	}
	if ended, _ := h[2].(string); a.s.cluster && time.Since(time.UnixMilli(number(ended))) < a.s.cfg.Skew {
		return nil // its entry may be under way; goods that moved without one do not fit
	}
	// It may have been completed since the replay; then the index leads to it.
	written, err := a.s.rdb.HExists(ctx, keys.TradeLedgerIndex, ref).Result()
	if err == nil && !written {
		a.wrong("trade %s: completed, and not in the ledger", id)
	}
	return err
}

// end checks that the ledger's newest entry is the one that its head names.
func (a *auditor) end(ctx context.Context) error {
	for {
		var head *redis.StringCmd
		var newest *redis.XMessageSliceCmd
		_, err := a.s.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
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
		if len(last) > 0 && last[0].ID != a.stream {
			before := a.stream
			if err := a.replay(ctx); err != nil {
				return err
			}
			if a.stream != before {
				continue // trades go on
			}
		}
		want := ""
		if a.seq > 0 {
			want = fmt.Sprintf("%d:%s", a.seq, a.hash)
		}
		if head.Val() != want {
			a.wrong("the ledger ends at entry %d, its head says %q", a.seq, head.Val())
		}
		return nil
	}
}
