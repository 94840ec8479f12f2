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
	sweepEvery  = time.Second
	sweepMost   = 2000 // trades of one pass,
	sweepers    = 16   // so many at a time
	sweepPasses = 10   // without a pause, where there are more
)

// Sweep looks, at once and then every second until ctx ends, at trades whose time is over, and ends them: open
// ones expire; what a dead process left unsettled is finished or undone, by the decision alone. It runs on
// every node: each step is safe to be done twice. It returns nil.
func (s *Service) Sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		for range sweepPasses {
			looked, err := s.SweepOnce(ctx)
			if err != nil && ctx.Err() == nil {
				s.missed(ctx, fmt.Errorf("trade: sweep: %w", err))
			}
			if looked < sweepMost || err != nil || ctx.Err() != nil {
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

// SweepOnce looks at what is due now, at most 2,000 trades, and returns how many these were. What can not be settled now is put
// off, and keeps no other trade waiting: on a Cluster one master may be away while the others serve. Where there is one
// server, and that is away, it stops.
func (s *Service) SweepOnce(ctx context.Context) (looked int, err error) {
	due, err := s.scripts.Do(ctx, dueScript, []string{keys.OpenTrades}, sweepMost).StringSlice()
	if err != nil {
		return 0, trouble(err, "list")
	}
	now := number(due[0])
	var all sync.WaitGroup
	var mu sync.Mutex
	failed, stop := 0, false // guarded by mu, as err is
	at := make(chan struct{}, sweepers)
	for i := 1; i+1 < len(due); i += 2 {
		at <- struct{}{}
		mu.Lock()
		ends := stop
		mu.Unlock()
		if ends || ctx.Err() != nil {
			break
		}
		looked++
		all.Go(func() {
			defer func() { <-at }()
			failure := s.look(ctx, due[i], now, number(due[i+1]))
			if failure == nil {
				return
			}
			away := errors.Is(failure, fault.ErrUnavailable) || errors.Is(failure, context.DeadlineExceeded)
			if s.cluster || !away {
				s.putOff(ctx, due[i], due[i+1], away)
			}
			mu.Lock()
			defer mu.Unlock()
			if failed++; err == nil {
				err = failure
			}
			stop = stop || away && !s.cluster
		})
	}
	all.Wait()
	if err == nil {
		return looked, ctx.Err()
	}
	return looked, fmt.Errorf("%w (%d of %d)", err, failed, looked)
}

// putOff sees to it that a trade that failed does not stand before all others for ever: a part of Redis that is away is back
// soon, and what can not be read will not be readable soon.
func (s *Service) putOff(ctx context.Context, id, since string, away bool) {
	later := time.Minute
	if away {
		later = lookAgain
	}
	_ = s.scripts.Do(ctx, watchScript, []string{keys.OpenTrades}, id, later.Milliseconds(), "", since).Err() // else it comes first again
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
		// Unless somebody has begun to settle it since: then it must be looked at sooner.
		err := s.scripts.Do(ctx, watchScript, []string{keys.OpenTrades}, id, "", d.ExpiresAt, since).Err()
		return trouble(err, "trade "+id+": watch")
	case d.over():
		return s.concluded(ctx, d)
	}
	return s.resolve(ctx, id, false)
}
