package ledger

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aeturnis/realtime/keys"
)

// Together 10 s, in which the sweeper settles what a dead process left.
const (
	recheckTimes = 50
	recheckPause = 200 * time.Millisecond
)

// recheckDoubtful looks at the inventories of a Cluster that differed until each has fitted once.
func (a *auditor) recheckDoubtful(ctx context.Context) error {
	for try := 1; len(a.doubtful) > 0; try++ {
		doubtful := slices.Compact(slices.Sorted(slices.Values(a.doubtful)))
		a.doubtful = nil
		for _, c := range doubtful {
			shot := snapshot{character: c}
			var err error
			if shot.fields, err = a.rdb.HGetAll(ctx, keys.Inventory(c)).Result(); err != nil {
				return err
			}
			if err := a.replayEntries(ctx); err != nil {
				return err
			}
			breaks := a.compareInventory(shot)
			switch {
			case len(breaks) == 0:
			case try < recheckTimes:
				a.doubtful = append(a.doubtful, c)
			default:
				for _, b := range breaks {
					a.reportBreak("%s", b)
				}
			}
		}
		if len(a.doubtful) == 0 {
			break
		}
		select {
		case <-time.After(recheckPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// checkEscrow finds goods that are held for a trade that is over, or should be.
func (a *auditor) checkEscrow(ctx context.Context) error {
	clock, err := a.rdb.Time(ctx).Result()
	if err != nil {
		return err
	}
	now := clock.UnixMilli()
	for _, c := range slices.Sorted(maps.Keys(a.owned)) {
		fields, err := a.rdb.HKeys(ctx, keys.Inventory(c)).Result()
		if err != nil {
			return err
		}
		for _, field := range fields {
			id, isEscrow := strings.CutPrefix(field, "hold:")
			if !isEscrow {
				continue
			}
			trade, err := a.rdb.HMGet(ctx, keys.Trade(id), "status", "deadline", "endedAt").Result()
			if err != nil {
				return err
			}
			status, _ := trade[0].(string)
			deadline, _ := trade[1].(string)
			endedAt, _ := trade[2].(string)
			mayHold := parseInteger(endedAt)
			if status == statusSettling {
				mayHold = max(mayHold, parseInteger(deadline))
			}
			if now >= mayHold+a.skew.Milliseconds() { // else the trade is under way
				a.reportBreak("character %s: goods are in escrow for trade %s, which is %q", c, id, status)
			}
		}
	}
	return nil
}
