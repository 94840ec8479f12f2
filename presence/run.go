package presence

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed renew_lease.lua
var renewLua string

var renewScript = redisx.NewScript(renewLua)

const (
	roundTripTimeout   = time.Second            // for one round trip
	retryDelay         = 250 * time.Millisecond // when Redis is away
	prolongInterval    = time.Minute
	channelKeysTTL     = 5 * time.Minute // a channel's keys outlive all its nodes by this
	indexTTL           = 24 * time.Hour
	scopesPerRoundTrip = 200  // places in one round trip
	namesPerCommand    = 5000 // names in one command
)

// runState is what the goroutine of Run knows.
type runState struct {
	node         string   // this node's name in Redis
	isRegistered bool     // Redis knows that it lives
	formerNodes  []string // names that this node had, to be swept
	nextRenewal  time.Time
	nextProlong  time.Time
	toProlong    []string // channels whose keys are still to be prolonged
	isFailing    bool
}

// Run tells Redis who is here, and sweeps what dead nodes left, until ctx ends. Then this
// node's users stay for Config.Grace, in which they may come back to another; when it is
// the last node, nobody is online any more.
func (s *Service) Run(ctx context.Context) error {
	s.node = rand.Text()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.reportFailure(s.endLease())
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		err := s.doDueWork(ctx)
		if ctx.Err() == nil {
			s.reportFailure(err)
		}
		timer.Reset(s.untilNextWork(err != nil))
	}
}

// reportFailure reports the first of several failures.
func (s *Service) reportFailure(err error) {
	if err != nil && !s.isFailing {
		s.cfg.Report(fmt.Errorf("presence: %w", err))
	}
	s.isFailing = err != nil
}

// untilNextWork is how long there is nothing to do, unless something happens.
func (s *Service) untilNextWork(failed bool) time.Duration {
	now := time.Now()
	next := s.nextRenewal
	s.mu.Lock()
	if len(s.leaving) > 0 && s.leaving[0].due.Before(next) {
		next = s.leaving[0].due
	}
	s.mu.Unlock()
	if failed {
		return retryDelay
	}
	return max(0, next.Sub(now))
}

// doDueWork does what is due.
func (s *Service) doDueWork(ctx context.Context) error {
	if now := time.Now(); !now.Before(s.nextRenewal) {
		if err := s.renewAndSweep(ctx, s.cfg.Lease*3/4); err != nil {
			return err
		}
		s.nextRenewal = now.Add(s.cfg.Lease / 8)
	}
	if err := s.flushChanges(ctx); err != nil {
		return err
	}
	if now := time.Now(); !now.Before(s.nextProlong) {
		s.nextProlong, s.toProlong = now.Add(prolongInterval), s.channelNames()
		if err := s.rdb.PExpire(ctx, keys.PresenceNode(s.node), indexTTL).Err(); err != nil {
			return fmt.Errorf("keep: %w", err)
		}
	}
	return s.prolongChannels(ctx)
}

// renewAndSweep renews the lease, and sweeps the dead. A lease that had ended is not renewed: others
// have taken our users out, so we tell of them anew, under another name.
func (s *Service) renewAndSweep(ctx context.Context, lease time.Duration) error {
	if err := s.indexFormerNodes(ctx); err != nil {
		return err
	}
	fresh, _, dead, err := s.renewLease(ctx, lease)
	if err != nil {
		return err
	}
	if fresh && s.isRegistered {
		s.formerNodes = append(s.formerNodes, s.node)
		s.node = rand.Text()
		s.markAllUncounted()
		if err := s.indexFormerNodes(ctx); err != nil {
			return err
		}
		if _, _, dead, err = s.renewLease(ctx, lease); err != nil {
			return err
		}
	}
	s.isRegistered, s.formerNodes = true, nil
	if err := s.keepGameKeys(ctx); err != nil {
		return err
	}
	for _, node := range dead {
		if node != s.node {
			err = errors.Join(err, s.sweepNode(ctx, node))
		}
	}
	return err
}

// renewLease is the beat: fresh tells that this node was not among the living.
func (s *Service) renewLease(ctx context.Context, lease time.Duration) (fresh bool, living int64, dead []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	args := []any{s.node, lease.Milliseconds()}
	for _, name := range s.formerNodes {
		args = append(args, name)
	}
	reply, err := renewScript.Do(ctx, s.rdb, []string{keys.PresenceNodes, keys.PresenceDead}, args...).Slice()
	if err != nil {
		return false, 0, nil, fmt.Errorf("beat: %w", err)
	}
	if len(reply) < 2 {
		return false, 0, nil, fmt.Errorf("beat: strange reply %v", reply)
	}
	added, _ := reply[0].(int64)
	living, _ = reply[1].(int64)
	for _, v := range reply[2:] {
		if name, ok := v.(string); ok {
			dead = append(dead, name)
		}
	}
	return added == 1, living, dead, nil
}

// indexFormerNodes makes sure that what this node wrote under a former name will be found: some of
// it may have been written after the others swept.
func (s *Service) indexFormerNodes(ctx context.Context) error {
	if len(s.formerNodes) == 0 {
		return nil
	}
	var names []any
	s.mu.Lock()
	for name := range s.scopes {
		names = append(names, name)
	}
	s.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	for _, node := range s.formerNodes {
		for some := range slices.Chunk(names, namesPerCommand) {
			if err := s.addToIndex(ctx, node, some); err != nil {
				return err
			}
		}
	}
	return nil
}

// addToIndex notes in which places a node has users, before it has.
func (s *Service) addToIndex(ctx context.Context, node string, names []any) error {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, keys.PresenceNode(node), names...)
		p.PExpire(ctx, keys.PresenceNode(node), indexTTL)
		return nil
	})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// markAllUncounted makes all that Redis was told be told again.
func (s *Service) markAllUncounted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.scopes {
		s.markUncounted(p)
	}
}

// markUncounted is forget for one place. mu is held.
func (s *Service) markUncounted(p *scope) {
	p.isIndexed = false
	for _, x := range p.members {
		x.isCounted = false
		s.markDirty(x)
	}
}

// keepGameKeys lets the keys of the game live on. They expire soon after the last node died.
func (s *Service) keepGameKeys(ctx context.Context) error {
	return s.keepKeys(ctx, 2*s.cfg.Lease, gameScope)
}

// channelNames are the places here besides the game.
func (s *Service) channelNames() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.scopes {
		if name != gameScope {
			names = append(names, name)
		}
	}
	return names
}

// isRenewalUrgent tells that half of the lease is over, and the beat can not wait any more.
func (s *Service) isRenewalUrgent() bool { return time.Now().After(s.nextRenewal.Add(s.cfg.Lease / 4)) }

// prolongChannels lets the keys of the channels live on, as long as the beat can wait.
func (s *Service) prolongChannels(ctx context.Context) error {
	for len(s.toProlong) > 0 && !s.isRenewalUrgent() {
		n := min(len(s.toProlong), scopesPerRoundTrip)
		if err := s.keepKeys(ctx, channelKeysTTL, s.toProlong[:n]...); err != nil {
			return err
		}
		s.toProlong = s.toProlong[n:]
	}
	return nil
}

// keepKeys lets the keys of places live on. Where Redis has lost ours, they are told anew.
func (s *Service) keepKeys(ctx context.Context, ttl time.Duration, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	alive := make([]*redis.BoolCmd, len(names))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			all := scopeKeys(name, s.node)
			for _, key := range all {
				b := p.PExpire(ctx, key, ttl)
				if key == keys.PresenceOn(name, s.node) {
					alive[i] = b
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, name := range names {
		if p := s.scopes[name]; p != nil && !alive[i].Val() && p.hasCountedMembers() {
			s.markUncounted(p)
		}
	}
	return nil
}

// hasCountedMembers tells whether Redis should have any of a place's users. Service.mu is held.
func (p *scope) hasCountedMembers() bool {
	for _, x := range p.members {
		if x.isCounted {
			return true
		}
	}
	return false
}

// scopeKeys are the keys that enter.lua takes, in its order.
func scopeKeys(name, node string) []string {
	all := []string{keys.PresenceUsers(name), keys.PresenceWho(name), keys.PresenceCounts(name), keys.PresenceOn(name, node)}
	if name == gameScope {
		all = append(all, keys.OnlineUsers)
	}
	return all
}

// endLease lets the lease end after the grace, or sweeps at once when nobody else would.
func (s *Service) endLease() error {
	if !s.isRegistered {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*roundTripTimeout)
	defer cancel()
	fresh, living, _, err := s.renewLease(ctx, max(s.cfg.Grace, time.Millisecond))
	if err != nil || fresh || living > 1 {
		return err
	}
	if err := s.sweepNode(ctx, s.node); err != nil {
		return err
	}
	return s.rdb.ZRem(ctx, keys.PresenceNodes, s.node).Err()
}
