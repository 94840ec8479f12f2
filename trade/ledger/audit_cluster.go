package trade

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

const (
	auditLooks = 50
	auditPause = 200 * time.Millisecond
)

// again looks at inventories of a Cluster that did not fit until each has fitted once, and then for escrow
// that nobody will end.
func (a *auditor) again(ctx context.Context) error {
	for try := 1; len(a.doubtful) > 0; try++ {
		doubtful := slices.Compact(slices.Sorted(slices.Values(a.doubtful)))
		a.doubtful = nil
		for _, c := range doubtful {
			shot := snapshot{character: c}
			var err error
			if shot.fields, err = a.s.rdb.HGetAll(ctx, keys.Inventory(c)).Result(); err != nil {
				return err
			}
			if err := a.replay(ctx); err != nil {
				return err
			}
			breaks := a.judge(shot)
			switch {
			case len(breaks) == 0:
			case try < auditLooks:
				a.doubtful = append(a.doubtful, c)
			default:
				for _, b := range breaks {
					a.wrong("%s", b)
				}
			}
		}
		if len(a.doubtful) == 0 {
			break
		}
		select {
		case <-time.After(auditPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if a.s.cluster {
		return a.escrow(ctx)
	}
	return nil
}

// escrow finds goods that are held for a trade that is over, or should be.
func (a *auditor) escrow(ctx context.Context) error {
	now, err := a.s.clock(ctx)
	if err != nil {
		return err
	}
	for _, c := range slices.Sorted(maps.Keys(a.owned)) {
		held, err := a.s.rdb.HKeys(ctx, keys.Inventory(c)).Result()
		if err != nil {
			return err
		}
		for _, field := range held {
			id, ok := strings.CutPrefix(field, "hold:")
			if !ok {
				continue
			}
			d, err := a.s.find(ctx, id)
			if err != nil && !errors.Is(err, fault.ErrNotFound) {
				return err
			}
			if err == nil && (d.Status == Settling && now < d.deadline+a.s.cfg.Skew.Milliseconds() || now < d.endedAt+a.s.cfg.Skew.Milliseconds()) {
				continue // under way
			}
			a.wrong("character %s: goods are in escrow for trade %s, which is %s", c, id, fmt.Sprintf("%q", d.Status))
		}
	}
	return nil
}
