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
var beatLua string

var beatScript = redisx.NewScript(beatLua)

const (
	patience   = time.Second            // for one round trip
	retryAfter = 250 * time.Millisecond // when Redis is away
	tidyEvery  = time.Minute
	keepPlaces = 5 * time.Minute // a channel's keys outlive all its nodes by this
	keepIndex  = 24 * time.Hour
	perKeep    = 200  // places in one round trip
	perIndex   = 5000 // names in one command
)

// run is what the goroutine of Run knows.
type run struct {
	node       string   // this node's name in Redis
	registered bool     // Redis knows that it lives
	former     []string // names that this node had, to be swept
	nextBeat   time.Time
	nextTidy   time.Time
	tidying    []string // channels whose keys are still to be prolonged
	failing    bool
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
			s.failed(s.farewell())
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		err := s.round(ctx)
		if ctx.Err() == nil {
			s.failed(err)
		}
		timer.Reset(s.rest(err != nil))
	}
}

// failed reports the first of several failures.
func (s *Service) failed(err error) {
	if err != nil && !s.failing {
		s.cfg.Report(fmt.Errorf("presence: %w", err))
	}
	s.failing = err != nil
}

// rest is how long there is nothing to do, unless something happens.
func (s *Service) rest(failed bool) time.Duration {
	now := time.Now()
	next := s.nextBeat
	s.mu.Lock()
	if len(s.leaving) > 0 && s.leaving[0].due.Before(next) {
		next = s.leaving[0].due
	}
	s.mu.Unlock()
	if failed {
		return retryAfter
	}
	return max(0, next.Sub(now))
}

// round does what is due.
func (s *Service) round(ctx context.Context) error {
	if now := time.Now(); !now.Before(s.nextBeat) {
		if err := s.pulse(ctx, s.cfg.Lease*3/4); err != nil {
			return err
		}
		s.nextBeat = now.Add(s.cfg.Lease / 8)
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if now := time.Now(); !now.Before(s.nextTidy) {
		s.nextTidy, s.tidying = now.Add(tidyEvery), s.channels()
		if err := s.rdb.PExpire(ctx, keys.PresenceNode(s.node), keepIndex).Err(); err != nil {
			return fmt.Errorf("keep: %w", err)
		}
	}
	return s.prolong(ctx)
}

// pulse renews the lease, and sweeps the dead. A lease that had ended is not renewed: others
// have taken our users out, so we tell of them anew, under another name.
func (s *Service) pulse(ctx context.Context, lease time.Duration) error {
	if err := s.condemn(ctx); err != nil {
		return err
	}
	fresh, _, dead, err := s.sign(ctx, lease)
	if err != nil {
		return err
	}
	if fresh && s.registered {
		s.former = append(s.former, s.node)
		s.node = rand.Text()
		s.forget()
		if err := s.condemn(ctx); err != nil {
			return err
		}
		if _, _, dead, err = s.sign(ctx, lease); err != nil {
			return err
		}
	}
	s.registered, s.former = true, nil
	if err := s.keepGame(ctx); err != nil {
		return err
	}
	for _, node := range dead {
		if node != s.node {
			err = errors.Join(err, s.sweep(ctx, node))
		}
	}
	return err
}

// sign is the beat: fresh tells that this node was not among the living.
func (s *Service) sign(ctx context.Context, lease time.Duration) (fresh bool, living int64, dead []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := []any{s.node, lease.Milliseconds()}
	for _, name := range s.former {
		args = append(args, name)
	}
	reply, err := beatScript.Do(ctx, s.rdb, []string{keys.PresenceNodes, keys.PresenceDead}, args...).Slice()
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

// condemn makes sure that what this node wrote under a former name will be found: some of
// it may have been written after the others swept.
func (s *Service) condemn(ctx context.Context) error {
	if len(s.former) == 0 {
		return nil
	}
	var names []any
	s.mu.Lock()
	for name := range s.places {
		names = append(names, name)
	}
	s.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	for _, node := range s.former {
		for some := range slices.Chunk(names, perIndex) {
			if err := s.index(ctx, node, some); err != nil {
				return err
			}
		}
	}
	return nil
}

// index notes in which places a node has users, before it has.
func (s *Service) index(ctx context.Context, node string, names []any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, keys.PresenceNode(node), names...)
		p.PExpire(ctx, keys.PresenceNode(node), keepIndex)
		return nil
	})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// forget makes all that Redis was told be told again.
func (s *Service) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.places {
		s.forgetPlace(p)
	}
}

// forgetPlace is forget for one place. mu is held.
func (s *Service) forgetPlace(p *place) {
	p.indexed = false
	for _, x := range p.seats {
		x.told = false
		s.look(x)
	}
}

// keepGame lets the keys of the game live on. They expire soon after the last node died.
func (s *Service) keepGame(ctx context.Context) error { return s.keep(ctx, 2*s.cfg.Lease, game) }

// channels are the places here besides the game.
func (s *Service) channels() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.places {
		if name != game {
			names = append(names, name)
		}
	}
	return names
}

// mustBeat tells that half of the lease is over, and the beat can not wait any more.
func (s *Service) mustBeat() bool { return time.Now().After(s.nextBeat.Add(s.cfg.Lease / 4)) }

// prolong lets the keys of the channels live on, as long as the beat can wait.
func (s *Service) prolong(ctx context.Context) error {
	for len(s.tidying) > 0 && !s.mustBeat() {
		n := min(len(s.tidying), perKeep)
		if err := s.keep(ctx, keepPlaces, s.tidying[:n]...); err != nil {
			return err
		}
		s.tidying = s.tidying[n:]
	}
	return nil
}

// keep lets the keys of places live on. Where Redis has lost ours, they are told anew.
func (s *Service) keep(ctx context.Context, ttl time.Duration, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	alive := make([]*redis.BoolCmd, len(names))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			all := placeKeys(name, s.node)
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
		if p := s.places[name]; p != nil && !alive[i].Val() && p.toldAny() {
			s.forgetPlace(p)
		}
	}
	return nil
}

// toldAny tells whether Redis should have any of a place's users. Service.mu is held.
func (p *place) toldAny() bool {
	for _, x := range p.seats {
		if x.told {
			return true
		}
	}
	return false
}

// placeKeys are the keys that enter.lua takes, in its order.
func placeKeys(name, node string) []string {
	all := []string{keys.PresenceUsers(name), keys.PresenceWho(name), keys.PresenceCounts(name), keys.PresenceOn(name, node)}
	if name == game {
		all = append(all, keys.OnlineUsers)
	}
	return all
}

// farewell lets the lease end after the grace, or sweeps at once when nobody else would.
func (s *Service) farewell() error {
	if !s.registered {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	fresh, living, _, err := s.sign(ctx, max(s.cfg.Grace, time.Millisecond))
	if err != nil || fresh || living > 1 {
		return err
	}
	if err := s.sweep(ctx, s.node); err != nil {
		return err
	}
	return s.rdb.ZRem(ctx, keys.PresenceNodes, s.node).Err()
}
