package trade

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

const (
	returning = 50   // trades that a user is told when they come back, at most
	arriving  = 8192 // users who wait for that, at most; more are told when they come back again
	together  = 128  // of them, in one round trip
)

// Returns tells those who connect what became of their trades while they were away: trade:completed and
// trade:cancelled for those that ended, trade:updated for those that are open. An outcome that was told
// within the last minute is told again: that connection may have been dead. It is a gateway's witness.
type Returns struct {
	s     *Service
	queue chan event.Player
}

// NewReturns makes them; Run must run somewhere.
func NewReturns(s *Service) *Returns {
	return &Returns{s: s, queue: make(chan event.Player, arriving)}
}

// Came puts a user on the list. It does not wait.
func (r *Returns) Came(p event.Player) {
	select {
	case r.queue <- p:
	default: // a storm of connects: what is to be told stays where it is
	}
}

// Changed is Came: another character has other trades.
func (r *Returns) Changed(p event.Player) { r.Came(p) }

// Went does nothing.
func (r *Returns) Went(event.Player) {}

// Run serves the list until ctx ends, many users in one round trip. It returns nil.
func (r *Returns) Run(ctx context.Context) error {
	for {
		var some []event.Player
		select {
		case <-ctx.Done():
			return nil
		case p := <-r.queue:
			some = append(some, p)
		}
		for more := true; more && len(some) < together; {
			select {
			case p := <-r.queue:
				some = append(some, p)
			default:
				more = false
			}
		}
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		if err := r.s.Returned(within, some...); err != nil && ctx.Err() == nil {
			r.s.missed(ctx, err)
		}
		cancel()
	}
}

// Returned tells these users now.
func (s *Service) Returned(ctx context.Context, users ...event.Player) error {
	now := time.Now()
	since := strconv.FormatInt(now.UnixMilli(), 10)
	ended, open := make([]*redis.StringSliceCmd, len(users)), make([]*redis.StringSliceCmd, len(users))
	pipe := s.rdb.Pipeline()
	for i, p := range users {
		ended[i] = pipe.ZRangeArgs(ctx, redis.ZRangeArgs{Key: keys.TradeOutcomes(p.UserID), ByScore: true, Start: "(" + since, Stop: "+inf", Count: returning})
		open[i] = pipe.HKeys(ctx, keys.CharacterTrades(p.CharacterID))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return trouble(err, "trade: who comes back")
	}
	var all error
	for i, p := range users {
		all = errors.Join(all, s.retell(ctx, p, ended[i].Val()), s.remind(ctx, p, open[i].Val()))
	}
	return all
}

// retell tells outcomes.
func (s *Service) retell(ctx context.Context, p event.Player, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		t, err := s.Show(ctx, id)
		if errors.Is(err, fault.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		name := "trade:completed"
		if t.Status != Completed {
			name = "trade:cancelled"
		}
		if err := s.cast.Cast(ctx, "user:"+p.UserID, name, t); err != nil {
			return fmt.Errorf("trade %s: tell: %w", id, err)
		}
	}
	outcomes, now := keys.TradeOutcomes(p.UserID), time.Now()
	pipe := s.rdb.Pipeline()
	pipe.ZRemRangeByScore(ctx, outcomes, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	for _, id := range ids {
		once := redis.Z{Score: float64(now.Add(retold).UnixMilli()), Member: id}
		pipe.ZAddArgs(ctx, outcomes, redis.ZAddArgs{XX: true, LT: true, Members: []redis.Z{once}})
	}
	_, err := pipe.Exec(ctx)
	return trouble(err, "trade: outcomes")
}

// remind tells open trades.
func (s *Service) remind(ctx context.Context, p event.Player, ids []string) error {
	for _, id := range ids {
		d, err := s.find(ctx, id)
		switch {
		case errors.Is(err, fault.ErrNotFound):
			continue
		case err != nil:
			return err
		case d.over() || !d.involves(p.UserID):
			continue
		}
		if err := s.cast.Cast(ctx, "user:"+p.UserID, "trade:updated", d.Trade); err != nil {
			return fmt.Errorf("trade %s: tell: %w", id, err)
		}
	}
	return nil
}
