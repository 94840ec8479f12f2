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
	"github.com/aeturnis/realtime/trade/ledger"
)

const (
	// resendFor is how long after a notification its outcome is sent again to a user who reconnects:
	// the connection over which it was sent may have been dead already.
	resendFor = time.Minute

	maxResent  = 50   // outcomes that one user is sent when they reconnect
	queueSize  = 8192 // users who may wait for that; others are sent theirs at a later reconnect
	resendPage = 128  // users who are served in one round trip

	retryAfter = 2 * time.Second // pause before the next try for a user, when Redis did not answer
	maxTries   = 10              // tries for a user
)

// notifyParties sends both parties how a trade ended, once over all nodes, and remembers the
// outcome for a party who is away. A gift is sent to the parties who are connected and not
// remembered. A mint has no parties.
func (c *core) notifyParties(ctx context.Context, d settlement) error {
	if d.kind == ledger.KindMint || d.kind == ledger.KindGift && d.Status != Completed {
		return nil
	}
	if d.kind == ledger.KindTrade {
		if err := c.rememberOutcome(ctx, d, c.cfg.Keep, d.audience()...); err != nil {
			return err
		}
	}
	isFirst, err := c.rdb.HSetNX(ctx, keys.Trade(d.TradeID), "told", 1).Result()
	if err != nil {
		return wrapRedisError(err, "trade "+d.TradeID+": tell")
	}
	if !isFirst {
		return nil
	}
	c.reportSettled(d)
	c.castToParties(ctx, outcomeEvent(d.Status), d)
	if d.kind != ledger.KindTrade {
		return nil
	}
	var reached []Party
	for _, p := range d.audience() {
		within, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		if n, _ := c.caster.Reach(within, "user:"+p.UserID); n > 0 {
			reached = append(reached, p)
		}
		cancel()
	}
	return c.rememberOutcome(ctx, d, resendFor, reached...)
}

// outcomeEvent returns the event that tells how a trade ended.
func outcomeEvent(ended Status) string {
	if ended == Completed {
		return "trade:completed"
	}
	return "trade:cancelled"
}

// rememberOutcome keeps an outcome for parties who come back within a time.
func (c *core) rememberOutcome(ctx context.Context, d settlement, within time.Duration, parties ...Party) error {
	if len(parties) == 0 {
		return nil
	}
	until := time.Now().Add(within).UnixMilli() // a hint: no order depends on it
	pipe := c.rdb.Pipeline()
	for _, p := range parties {
		pipe.ZAdd(ctx, keys.TradeOutcomes(p.UserID), redis.Z{Score: float64(until), Member: d.TradeID})
		pipe.PExpire(ctx, keys.TradeOutcomes(p.UserID), c.cfg.Keep)
	}
	_, err := pipe.Exec(ctx)
	return wrapRedisError(err, "trade "+d.TradeID+": remember")
}

// castToParties sends both parties an event about their trade. A party who misses it sees it in
// trade:state. A receiver who ignores the proposer is sent nothing.
func (c *core) castToParties(ctx context.Context, event string, d settlement) {
	ctx = context.WithoutCancel(ctx) // it happened, even if the caller has left
	parties := d.audience()
	rooms := make([]string, len(parties))
	for i, p := range parties {
		rooms[i] = "user:" + p.UserID
	}
	if err := c.caster.CastEach(ctx, rooms, event, d.Trade); err != nil {
		c.reportMissed(ctx, fmt.Errorf("trade %s: tell: %w", d.TradeID, err))
	}
}

func (c *core) reportMissed(ctx context.Context, err error) {
	if err != nil {
		c.cfg.Missed(ctx, err)
	}
}

// A Notifier observes the connections of a gateway. It sends users who connect the events about
// their trades that they may have missed: trade:completed and trade:cancelled for trades that ended
// while they were away, and trade:updated for those that are open. It sends an outcome again that
// was sent within the last minute, because that connection may have been dead. If Redis, or a part
// of it, does not answer, it tries again for twenty seconds.
type Notifier struct {
	service *Service
	queue   chan returningUser
}

// A returningUser is a user who connected, with the number of tries that failed.
type returningUser struct {
	event.Player
	tries int
}

// NewNotifier makes a notifier, which sends nothing until Run is called.
func NewNotifier(s *Service) *Notifier {
	return &Notifier{service: s, queue: make(chan returningUser, queueSize)}
}

// Connected puts a user on the queue. It does not wait.
func (n *Notifier) Connected(p event.Player) { n.enqueueUser(returningUser{Player: p}) }

// Recovered does nothing: the client has heard everything, or it was sent again.
func (n *Notifier) Recovered(event.Player, []string) {}

// CharacterChanged does the same as Connected: another character has other trades.
func (n *Notifier) CharacterChanged(p event.Player) { n.Connected(p) }

// Disconnected does nothing.
func (n *Notifier) Disconnected(event.Player) {}

func (n *Notifier) enqueueUser(u returningUser) {
	select {
	case n.queue <- u:
	default: // a storm of connects: the outcomes stay in Redis, for the user's next connect
	}
}

// Run serves the queue until ctx ends, many users in one round trip. It returns nil.
func (n *Notifier) Run(ctx context.Context) error {
	for {
		var users []returningUser
		select {
		case <-ctx.Done():
			return nil
		case u := <-n.queue:
			users = append(users, u)
		}
		for hasMore := true; hasMore && len(users) < resendPage; {
			select {
			case u := <-n.queue:
				users = append(users, u)
			default:
				hasMore = false
			}
		}
		n.notifyUsers(ctx, users)
	}
}

// notifyUsers sends users what they missed, and enqueues those again for whom Redis did not answer.
func (n *Notifier) notifyUsers(ctx context.Context, users []returningUser) {
	within, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	users = slices.DeleteFunc(users, func(u returningUser) bool {
		if u.tries == 0 {
			return false
		}
		reached, _ := n.service.caster.Reach(within, "user:"+u.UserID)
		return reached == 0 // they left meanwhile, and are told when they come back
	})
	players := make([]event.Player, len(users))
	for i, u := range users {
		players[i] = u.Player
	}
	var first error
	for i, err := range n.service.resendToUsers(within, players) {
		if err == nil {
			continue
		}
		if first == nil {
			first = fmt.Errorf("trade: notify %d users who came back: %w", len(users), err)
		}
		u := users[i]
		isAway := errors.Is(err, fault.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
		if u.tries++; u.tries < maxTries && isAway {
			time.AfterFunc(retryAfter, func() { n.enqueueUser(u) })
		}
	}
	if ctx.Err() == nil {
		n.service.reportMissed(ctx, first)
	}
}

// Resend sends these users now what a Notifier sends users who connect.
func (s *Service) Resend(ctx context.Context, users ...event.Player) error {
	return errors.Join(s.resendToUsers(ctx, users)...)
}

// resendToUsers sends users what they missed, and returns an error or nil for each of them. A
// failure for one user does not affect the others.
func (s *Service) resendToUsers(ctx context.Context, users []event.Player) []error {
	since := strconv.FormatInt(time.Now().UnixMilli(), 10)
	ended, open := make([]*redis.StringSliceCmd, len(users)), make([]*redis.StringSliceCmd, len(users))
	pipe := s.rdb.Pipeline()
	for i, p := range users {
		ended[i] = pipe.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: keys.TradeOutcomes(p.UserID), ByScore: true, Start: "(" + since, Stop: "+inf", Count: maxResent,
		})
		open[i] = pipe.HKeys(ctx, keys.CharacterTrades(p.CharacterID))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	errs := make([]error, len(users))
	for i, p := range users {
		errs[i] = errors.Join(
			wrapRedisError(ended[i].Err(), "trade: outcomes"), s.resendOutcomes(ctx, p, ended[i].Val()),
			wrapRedisError(open[i].Err(), "trade: open trades"), s.resendOpenTrades(ctx, p, open[i].Val()))
	}
	return errs
}

// resendOutcomes sends a user how trades ended. Outcomes that cannot be sent now stay in Redis.
func (s *Service) resendOutcomes(ctx context.Context, p event.Player, ids []string) error {
	var notified []string
	var failed error
	for _, id := range ids {
		t, err := s.findAnyTrade(ctx, id)
		if errors.Is(err, fault.ErrNotFound) {
			continue
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if err := s.caster.Cast(ctx, "user:"+p.UserID, outcomeEvent(t.Status), t); err != nil {
			return errors.Join(failed, fmt.Errorf("trade %s: tell: %w", id, err))
		}
		notified = append(notified, id)
	}
	if len(notified) == 0 {
		return failed
	}
	outcomes, now := keys.TradeOutcomes(p.UserID), time.Now()
	pipe := s.rdb.Pipeline()
	pipe.ZRemRangeByScore(ctx, outcomes, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	for _, id := range notified {
		once := redis.Z{Score: float64(now.Add(resendFor).UnixMilli()), Member: id}
		pipe.ZAddArgs(ctx, outcomes, redis.ZAddArgs{XX: true, LT: true, Members: []redis.Z{once}})
	}
	_, err := pipe.Exec(ctx)
	return errors.Join(failed, wrapRedisError(err, "trade: outcomes"))
}

// resendOpenTrades sends a user their open trades.
func (s *Service) resendOpenTrades(ctx context.Context, p event.Player, ids []string) error {
	var failed error
	for _, id := range ids {
		d, err := s.findSettlement(ctx, id)
		switch {
		case errors.Is(err, fault.ErrNotFound):
			continue
		case err != nil:
			failed = errors.Join(failed, err)
			continue
		case d.isDecided() || !d.isPartyOf(p.UserID):
			continue
		}
		if err := s.caster.Cast(ctx, "user:"+p.UserID, "trade:updated", d.Trade); err != nil {
			return errors.Join(failed, fmt.Errorf("trade %s: tell: %w", id, err))
		}
	}
	return failed
}
