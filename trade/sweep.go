package trade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

const (
	sweepEvery = time.Second
	sweepMost  = 200 // trades at once
)

// Sweep looks, at once and then every second until ctx ends, at trades whose time is over, and ends them: open
// ones expire; what a dead process left unsettled is finished or undone, by the decision alone. It runs on
// every node: each step is safe to be done twice. It returns nil.
func (s *Service) Sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if _, err := s.SweepOnce(ctx); err != nil && ctx.Err() == nil {
			s.missed(ctx, fmt.Errorf("trade: sweep: %w", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// SweepOnce looks at what is due now, at most 200 trades, and returns how many these were.
func (s *Service) SweepOnce(ctx context.Context) (looked int, err error) {
	due, err := s.scripts.Do(ctx, dueScript, []string{keys.OpenTrades}, sweepMost).StringSlice()
	if err != nil {
		return 0, trouble(err, "list")
	}
	now := number(due[0])
	var all error
	for i := 1; i+1 < len(due); i += 2 {
		if ctx.Err() != nil {
			return looked, ctx.Err()
		}
		looked++
		if err := s.look(ctx, due[i], now, number(due[i+1])); err != nil {
			all = errors.Join(all, err)
			if errors.Is(err, fault.ErrUnavailable) {
				return looked, all
			}
			// What can not be read now must not stand before all others for ever.
			_, _ = s.watch(ctx, due[i], time.Minute.Milliseconds())
		}
	}
	return looked, all
}

// look looks at one trade that has been due since a time, Unix ms.
func (s *Service) look(ctx context.Context, id string, now, since int64) error {
	d, err := s.find(ctx, id)
	// A begin may be on its way to another node, whose clock is behind: until then it stays.
	late := now > since+s.cfg.Skew.Milliseconds() || !s.cluster
	switch {
	case errors.Is(err, fault.ErrNotFound) && late:
		return trouble(s.rdb.ZRem(ctx, keys.OpenTrades, id).Err(), "trade "+id+": forget")
	case errors.Is(err, fault.ErrNotFound):
		return nil
	case err != nil:
		return err
	case d.Status == Open && d.ExpiresAt > now:
		if !late {
			return nil
		}
		_, err := s.scripts.Do(ctx, watchScript, []string{keys.OpenTrades}, id, "", d.ExpiresAt).Result()
		return trouble(err, "trade "+id+": watch")
	case d.over():
		return s.concluded(ctx, d)
	}
	return s.resolve(ctx, id, false)
}
