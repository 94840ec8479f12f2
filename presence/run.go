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
	roundTripTimeout   = time.Second
	retryDelay         = 250 * time.Millisecond // after a failure of Redis
	prolongInterval    = time.Minute
	channelKeysTTL     = 5 * time.Minute // how long the keys of a channel outlive all of its nodes
	indexTTL           = 24 * time.Hour
	scopesPerRoundTrip = 200
	namesPerCommand    = 5000
)

// runState is used by the goroutine of Run only.
type runState struct {
	node         string   // the name of this node in Redis
	isRegistered bool     // Redis lists this node as live
	formerNodes  []string // earlier names of this node, still to be swept
	nextRenewal  time.Time
	nextProlong  time.Time
	toProlong    []string // channels whose keys are still to be prolonged in this round
	settlements  settlements
	doubts       doubts
	isFailing    bool
}

// Run updates Redis with who is on this node, and sweeps dead nodes, until ctx ends. After that,
// the users of this node stay present for Config.Grace, so that they can come back on another node.
// If this is the last node, its users are gone at once.
func (s *Service) Run(ctx context.Context) error {
	s.node = rand.Text()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.reportFailure(s.endNodeLease())
			return nil
		case <-s.wake.C():
		case <-timer.C:
		}
		err := s.doDueWork(ctx)
		if ctx.Err() == nil {
			s.reportFailure(err)
		}
		timer.Reset(s.untilNextWork(err != nil))
	}
}

// reportFailure reports the first of several failures in a row.
func (s *Service) reportFailure(err error) {
	if err != nil && !s.isFailing {
		s.cfg.Report(fmt.Errorf("presence: %w", err))
	}
	s.isFailing = err != nil
}

// untilNextWork returns how long Run may sleep if nothing happens.
func (s *Service) untilNextWork(failed bool) time.Duration {
	now := time.Now()
	next := s.nextRenewal
	s.mu.Lock()
	if len(s.leaving) > 0 && s.leaving[0].due.Before(next) {
		next = s.leaving[0].due
	}
	s.mu.Unlock()
	for _, at := range []time.Time{s.settlements.next, s.doubts.due} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	if failed {
		return retryDelay
	}
	return max(0, next.Sub(now))
}

// doDueWork renews the lease, updates Redis, and prolongs keys, each if it is due.
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
	if err := s.settleDoubts(ctx); err != nil {
		return err
	}
	if err := s.settleScopes(ctx); err != nil {
		return err
	}
	if now := time.Now(); !now.Before(s.nextProlong) {
		s.nextProlong, s.toProlong = now.Add(prolongInterval), s.channelNames()
		if err := s.rdb.PExpire(ctx, keys.PresenceNode(s.node), indexTTL).Err(); err != nil {
			return fmt.Errorf("prolong keys: %w", err)
		}
	}
	return s.prolongChannels(ctx)
}

// renewAndSweep renews the lease and sweeps dead nodes. If the lease had ended, other nodes have
// taken our users out: then this node takes a new name, and adds its users again under it.
func (s *Service) renewAndSweep(ctx context.Context, lease time.Duration) error {
	if err := s.indexFormerNodes(ctx); err != nil {
		return err
	}
	isNew, _, dead, err := s.renewNodeLease(ctx, lease)
	if err != nil {
		return err
	}
	if isNew && s.isRegistered {
		s.formerNodes = append(s.formerNodes, s.node)
		s.node = rand.Text()
		s.markAllUncounted()
		if err := s.indexFormerNodes(ctx); err != nil {
			return err
		}
		if _, _, dead, err = s.renewNodeLease(ctx, lease); err != nil {
			return err
		}
	}
	s.isRegistered, s.formerNodes = true, nil
	if err := s.keepGameKeys(ctx); err != nil {
		return err
	}
	for _, node := range dead {
		if node != s.node {
			err = errors.Join(err, s.sweepDeadNode(ctx, node))
		}
	}
	return err
}

// renewNodeLease runs renew_lease.lua. isNew tells that this node was not among the live ones.
func (s *Service) renewNodeLease(ctx context.Context, lease time.Duration) (isNew bool, living int64, dead []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	args := []any{s.node, lease.Milliseconds()}
	for _, name := range s.formerNodes {
		args = append(args, name)
	}
	reply, err := renewScript.Do(ctx, s.rdb, []string{keys.PresenceNodes, keys.PresenceDead}, args...).Slice()
	if err != nil {
		return false, 0, nil, fmt.Errorf("renew lease: %w", err)
	}
	if len(reply) < 2 {
		return false, 0, nil, fmt.Errorf("renew lease: unexpected reply %v", reply)
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

// indexFormerNodes makes sure that the next sweep finds everything that this node wrote under an
// earlier name: it may have written some of it after other nodes had swept.
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
			if err := s.addToNodeIndex(ctx, node, some); err != nil {
				return err
			}
		}
	}
	return nil
}

// addToNodeIndex adds scopes to the index of a node. This happens before the node has users in
// them.
func (s *Service) addToNodeIndex(ctx context.Context, node string, names []any) error {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, keys.PresenceNode(node), names...)
		p.PExpire(ctx, keys.PresenceNode(node), indexTTL)
		return nil
	})
	if err != nil {
		return fmt.Errorf("update the index of this node: %w", err)
	}
	return nil
}

// markAllUncounted makes Run add all users of this node to Redis again.
func (s *Service) markAllUncounted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.scopes {
		s.markUncounted(sc)
	}
}

// markUncounted is markAllUncounted for one scope. It is called with mu held.
func (s *Service) markUncounted(sc *scope) {
	sc.isIndexed = false
	for _, m := range sc.members {
		m.isCounted = false
		s.markDirty(m)
	}
}

// keepGameKeys prolongs the keys of the game. They expire soon after the last node has died.
func (s *Service) keepGameKeys(ctx context.Context) error {
	return s.prolongKeys(ctx, 2*s.cfg.Lease, gameScope)
}

// channelNames returns the scopes on this node, without the game.
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

// isRenewalUrgent tells that half of the lease is over, so that its renewal must come next.
func (s *Service) isRenewalUrgent() bool { return time.Now().After(s.nextRenewal.Add(s.cfg.Lease / 4)) }

// prolongChannels prolongs the keys of the channels, until the lease needs to be renewed.
func (s *Service) prolongChannels(ctx context.Context) error {
	for len(s.toProlong) > 0 && !s.isRenewalUrgent() {
		n := min(len(s.toProlong), scopesPerRoundTrip)
		if err := s.prolongKeys(ctx, channelKeysTTL, s.toProlong[:n]...); err != nil {
			return err
		}
		s.toProlong = s.toProlong[n:]
	}
	return nil
}

// prolongKeys prolongs the keys of scopes. If Redis has lost our key of a scope, its users are
// added again.
func (s *Service) prolongKeys(ctx context.Context, ttl time.Duration, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	alive := make([]*redis.BoolCmd, len(names))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			for _, key := range scopeKeys(name, s.node) {
				b := p.PExpire(ctx, key, ttl)
				if key == keys.PresenceOn(name, s.node) {
					alive[i] = b
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("prolong keys: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, name := range names {
		if sc := s.scopes[name]; sc != nil && !alive[i].Val() && sc.hasCountedMembers() {
			s.markUncounted(sc)
		}
	}
	return nil
}

// hasCountedMembers tells whether Redis should have users of this scope for this node. It is called
// with Service.mu held.
func (sc *scope) hasCountedMembers() bool {
	for _, m := range sc.members {
		if m.isCounted {
			return true
		}
	}
	return false
}

// scopeKeys returns the keys that say who is in a scope.
func scopeKeys(name, node string) []string {
	all := []string{keys.PresenceUsers(name), keys.PresenceWho(name), keys.PresenceCounts(name), keys.PresenceOn(name, node)}
	if name == gameScope {
		all = append(all, keys.OnlineUsers)
	}
	return all
}

// endNodeLease lets the lease end after the grace. If no other node lives, it sweeps this node at
// once.
func (s *Service) endNodeLease() error {
	if !s.isRegistered {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*roundTripTimeout)
	defer cancel()
	isNew, living, _, err := s.renewNodeLease(ctx, max(s.cfg.Grace, time.Millisecond))
	if err != nil || isNew || living > 1 {
		return err
	}
	if err := s.sweepDeadNode(ctx, s.node); err != nil {
		return err
	}
	return s.rdb.ZRem(ctx, keys.PresenceNodes, s.node).Err()
}
