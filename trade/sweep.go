package trade

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

const (
	sweepInterval  = time.Second
	sweepPage      = 2000 // trades in one pass
	sweepWorkers   = 16   // trades that one pass handles at the same time
	maxSweepPasses = 10   // passes without a pause, while trades are left
)

// Sweep ends trades whose time is over, at once and then every second until ctx ends. Open trades
// expire. A settlement that a dead process left is finished if it was decided, and else undone.
// Sweep may run on every node, because no step does harm when it is done twice. It returns nil.
func (s *Service) Sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		for range maxSweepPasses {
			looked, err := s.SweepOnce(ctx)
			if err != nil && ctx.Err() == nil {
				s.reportMissed(ctx, fmt.Errorf("trade: sweep: %w", err))
			}
			if looked < sweepPage || err != nil || ctx.Err() != nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// SweepOnce handles the trades that are due now, at most 2,000, and returns how many it looked at.
// It postpones a trade that it cannot handle, so that this trade does not block the others: on a
// Cluster one master may be away while the others serve. With one server it stops when that is
// away.
func (s *Service) SweepOnce(ctx context.Context) (looked int, err error) {
	due, err := s.scripts.Do(ctx, dueScript, []string{keys.OpenTrades}, sweepPage).StringSlice()
	if err != nil {
		return 0, wrapRedisError(err, "list")
	}
	now := parseInteger(due[0])
	var all sync.WaitGroup
	var mu sync.Mutex
	failed, stops := 0, false // guarded by mu, as err is
	slots := make(chan struct{}, sweepWorkers)
	for i := 1; i+1 < len(due); i += 2 {
		slots <- struct{}{}
		mu.Lock()
		stopped := stops
		mu.Unlock()
		if stopped || ctx.Err() != nil {
			break
		}
		looked++
		all.Go(func() {
			defer func() { <-slots }()
			failure := s.sweepDueTrade(ctx, due[i], now, parseInteger(due[i+1]))
			if failure == nil {
				return
			}
			isAway := errors.Is(failure, fault.ErrUnavailable) || errors.Is(failure, context.DeadlineExceeded)
			allAway := isAway && !s.isCluster
			if !allAway {
				s.postponeCheck(ctx, due[i], due[i+1], isAway)
			}
			mu.Lock()
			defer mu.Unlock()
			if failed++; err == nil {
				err = failure
			}
			stops = stops || allAway
		})
	}
	all.Wait()
	if err == nil {
		return looked, ctx.Err()
	}
	return looked, fmt.Errorf("%w (%d of %d)", err, failed, looked)
}

// postponeCheck makes a trade that failed due later, so that it does not come first in every pass:
// in 2 s if a part of Redis is away, and in a minute if the trade cannot be read.
func (s *Service) postponeCheck(ctx context.Context, id, since string, isAway bool) {
	after := time.Minute
	if isAway {
		after = recheckAfter
	}
	_ = s.scripts.Do(ctx, watchScript, []string{keys.OpenTrades}, id, after.Milliseconds(), "", since).Err() // else it comes first again
}

// sweepDueTrade looks at one trade that has been due since a time, Unix ms.
func (s *Service) sweepDueTrade(ctx context.Context, id string, now, since int64) error {
	d, err := s.findSettlement(ctx, id)
	// The command that makes the trade may be on its way to another node, whose clock is behind: until
	// then the trade stays on the list.
	isLate := now > since+s.cfg.Skew.Milliseconds()
	switch {
	case errors.Is(err, fault.ErrNotFound) && isLate:
		return wrapRedisError(s.rdb.ZRem(ctx, keys.OpenTrades, id).Err(), "trade "+id+": forget")
	case errors.Is(err, fault.ErrNotFound):
		return nil
	case err != nil:
		return err
	case d.Status == Open && d.ExpiresAt > now && !isLate:
		return nil
	case d.Status == Open && d.ExpiresAt > now:
		// This changes nothing if another process has begun to settle it since: that is due sooner.
		err := s.scripts.Do(ctx, watchScript, []string{keys.OpenTrades}, id, "", d.ExpiresAt, since).Err()
		return wrapRedisError(err, "trade "+id+": watch")
	case d.Status == Open && d.ExpiresAt > 0:
		return s.expireTrade(ctx, id)
	case d.isDecided():
		return s.tryFinalize(ctx, d)
	}
	return s.endUnfinished(ctx, id, "due")
}

// expireTrade ends an open trade whose time is over.
func (s *Service) expireTrade(ctx context.Context, id string) error {
	d, _, err := s.changeStatus(ctx, id, statusTransition{from: Open, to: Expired, condition: "due"})
	if err == nil && d.isDecided() {
		s.finalize(ctx, d)
	}
	return err
}
