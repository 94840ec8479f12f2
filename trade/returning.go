package trade

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	tellAgain = 2 * time.Second // when Redis did not answer,
	tellMost  = 10              // so often
)

// Returns tells those who connect what became of their trades while they were away: trade:completed and
// trade:cancelled for those that ended, trade:updated for those that are open. An outcome that was told
// within the last minute is told again: that connection may have been dead. Where Redis does not answer, or a part of it, it
// is asked again for twenty seconds. It is a gateway's witness.
type Returns struct {
	s     *Service
	queue chan arrival
}

// An arrival is a user who came, and how often they could not be told.
type arrival struct {
	event.Player
	tries int
}

// NewReturns makes them; Run must run somewhere.
func NewReturns(s *Service) *Returns {
	return &Returns{s: s, queue: make(chan arrival, arriving)}
}

// Came puts a user on the list. It does not wait.
func (r *Returns) Came(p event.Player) { r.put(arrival{Player: p}) }

func (r *Returns) put(a arrival) {
	select {
	case r.queue <- a:
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
		var some []arrival
		select {
		case <-ctx.Done():
			return nil
		case a := <-r.queue:
			some = append(some, a)
		}
		for more := true; more && len(some) < together; {
			select {
			case a := <-r.queue:
				some = append(some, a)
			default:
				more = false
			}
		}
		r.tell(ctx, some)
	}
}

// tell tells some, and puts those on the list again for whom Redis did not answer.
func (r *Returns) tell(ctx context.Context, some []arrival) {
	within, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	some = slices.DeleteFunc(some, func(a arrival) bool {
		if a.tries == 0 {
			return false
		}
		n, _ := r.s.cast.Reach(within, "user:"+a.UserID)
		return n == 0 // they left meanwhile, and are told when they come back
	})
	users := make([]event.Player, len(some))
	for i, a := range some {
		users[i] = a.Player
	}
	var first error
	for i, err := range r.s.returned(within, users) {
		if err == nil {
			continue
		}
		if first == nil {
			first = fmt.Errorf("trade: who comes back, %d: %w", len(some), err)
		}
		a := some[i]
		if a.tries++; a.tries < tellMost && (errors.Is(err, fault.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)) {
			time.AfterFunc(tellAgain, func() { r.put(a) })
		}
	}
	if ctx.Err() == nil {
		r.s.missed(ctx, first)
	}
}

// Returned tells these users now.
func (s *Service) Returned(ctx context.Context, users ...event.Player) error {
	return errors.Join(s.returned(ctx, users)...)
}

// returned tells users, and says of each what could not be told. What fails for one does not concern the others.
func (s *Service) returned(ctx context.Context, users []event.Player) []error {
	since := strconv.FormatInt(time.Now().UnixMilli(), 10)
	ended, open := make([]*redis.StringSliceCmd, len(users)), make([]*redis.StringSliceCmd, len(users))
	pipe := s.rdb.Pipeline()
	for i, p := range users {
		ended[i] = pipe.ZRangeArgs(ctx, redis.ZRangeArgs{Key: keys.TradeOutcomes(p.UserID), ByScore: true, Start: "(" + since, Stop: "+inf", Count: returning})
		open[i] = pipe.HKeys(ctx, keys.CharacterTrades(p.CharacterID))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	errs := make([]error, len(users))
	for i, p := range users {
		errs[i] = errors.Join(
			trouble(ended[i].Err(), "trade: outcomes"), s.retell(ctx, p, ended[i].Val()),
			trouble(open[i].Err(), "trade: open trades"), s.remind(ctx, p, open[i].Val()))
	}
	return errs
}

// retell tells outcomes. Those that can not be told now stay where they are.
func (s *Service) retell(ctx context.Context, p event.Player, ids []string) error {
	var heard []string
	var untold error
	for _, id := range ids {
		t, err := s.Show(ctx, id)
		if errors.Is(err, fault.ErrNotFound) {
			continue
		}
		if err != nil {
			untold = errors.Join(untold, err)
			continue
		}
		name := "trade:completed"
		if t.Status != Completed {
			name = "trade:cancelled"
		}
		if err := s.cast.Cast(ctx, "user:"+p.UserID, name, t); err != nil {
			return errors.Join(untold, fmt.Errorf("trade %s: tell: %w", id, err))
		}
		heard = append(heard, id)
	}
	if len(heard) == 0 {
		return untold
	}
	outcomes, now := keys.TradeOutcomes(p.UserID), time.Now()
	pipe := s.rdb.Pipeline()
	pipe.ZRemRangeByScore(ctx, outcomes, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	for _, id := range heard {
		once := redis.Z{Score: float64(now.Add(retold).UnixMilli()), Member: id}
		pipe.ZAddArgs(ctx, outcomes, redis.ZAddArgs{XX: true, LT: true, Members: []redis.Z{once}})
	}
	_, err := pipe.Exec(ctx)
	return errors.Join(untold, trouble(err, "trade: outcomes"))
}

// remind tells open trades.
func (s *Service) remind(ctx context.Context, p event.Player, ids []string) error {
	var untold error
	for _, id := range ids {
		d, err := s.find(ctx, id)
		switch {
		case errors.Is(err, fault.ErrNotFound):
			continue
		case err != nil:
			untold = errors.Join(untold, err)
			continue
		case d.over() || !d.involves(p.UserID):
			continue
		}
		if err := s.cast.Cast(ctx, "user:"+p.UserID, "trade:updated", d.Trade); err != nil {
			return errors.Join(untold, fmt.Errorf("trade %s: tell: %w", id, err))
		}
	}
	return untold
}
