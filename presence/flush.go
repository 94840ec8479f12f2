package presence

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed enter.lua
var enterLua string

//go:embed leave.lua
var leaveLua string

var enterScript, leaveScript = redisx.NewScript(enterLua), redisx.NewScript(leaveLua)

const (
	usersPerCall      = 100 // users in one call of a script
	callsPerRoundTrip = 64  // calls in one round trip
)

// A Movement is what members of a channel are told of one user.
type Movement struct {
	Channel string `json:"channel"`
	User    User   `json:"user"`
}

// A change is users that enter or leave one place, for one call of a script.
type change struct {
	scope   *scope
	isEnter bool
	members []*member
	users   []User // of seats, as they were then
}

// flushChanges brings Redis in line with who is here, as long as the beat can wait: a node that has much to tell must
// not be taken for dead meanwhile. What is left comes next.
func (s *Service) flushChanges(ctx context.Context) error {
	changes := s.collectChanges()
	for len(changes) > 0 {
		n := min(len(changes), callsPerRoundTrip)
		if err := s.sendChanges(ctx, changes[:n]); err != nil {
			s.putBack(changes)
			return err
		}
		if changes = changes[n:]; s.isRenewalUrgent() {
			s.putBack(changes)
			return nil
		}
	}
	return nil
}

// putBack makes changes due again.
func (s *Service) putBack(changes []*change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		for _, x := range c.members {
			x.isStale = x.isStale || c.isEnter
			s.markDirty(x)
		}
	}
}

// collectChanges takes what differs from what Redis was told.
func (s *Service) collectChanges() (all []*change) {
	now := time.Now()
	open := map[*scope][2]*change{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.leaving) > 0 && !now.Before(s.leaving[0].due) {
		x := s.leaving[0].member
		s.leaving = s.leaving[1:]
		switch {
		case x.conns > 0:
			x.isLeaving = false
		case now.Before(x.graceUntil): // it came, and went again
			s.leaving = append(s.leaving, pendingLeave{x, x.graceUntil})
		default:
			x.isLeaving = false
			s.markDirty(x)
		}
	}
	list := s.dirty
	s.dirty = nil
	for _, x := range list {
		x.isDirty = false
		enter := x.conns > 0 || now.Before(x.graceUntil)
		switch {
		case enter && x.isCounted && !x.isStale:
			continue
		case !enter && !x.isCounted:
			s.removeMember(x)
			continue
		}
		pair := open[x.scope]
		i := 0
		if enter {
			i, x.isStale = 1, false
		}
		if pair[i] == nil || len(pair[i].members) == usersPerCall {
			pair[i] = &change{scope: x.scope, isEnter: enter}
			open[x.scope] = pair
			all = append(all, pair[i])
		}
		pair[i].members = append(pair[i].members, x)
		pair[i].users = append(pair[i].users, x.user)
	}
	return all
}

// removeMember forgets a seat, and its place with the last. mu is held.
func (s *Service) removeMember(x *member) (empty bool) {
	if x.scope.members[x.user.UserID] == x {
		delete(x.scope.members, x.user.UserID)
	}
	if len(x.scope.members) == 0 && s.scopes[x.scope.name] == x.scope {
		delete(s.scopes, x.scope.name)
		return true
	}
	return false
}

// sendChanges makes changes in one round trip, and tells players of them.
func (s *Service) sendChanges(ctx context.Context, changes []*change) error {
	if err := s.indexScopes(ctx, changes); err != nil {
		return err
	}
	calls := make([]*redisx.Call, len(changes))
	for i, c := range changes {
		var err error
		if calls[i], err = s.scriptCall(c); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	redisx.RunScripts(limited, s.rdb, calls...)
	var failed error
	for i, c := range changes {
		reply, err := calls[i].Slice()
		if err == nil {
			err = s.applyReply(ctx, c, reply)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// indexScopes notes in which places this node will have users.
func (s *Service) indexScopes(ctx context.Context, changes []*change) error {
	var names []any
	for _, c := range changes {
		if c.isEnter && !c.scope.isIndexed {
			names = append(names, c.scope.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if err := s.addToIndex(ctx, s.node, names); err != nil {
		return err
	}
	for _, c := range changes {
		c.scope.isIndexed = c.scope.isIndexed || c.isEnter
	}
	return nil
}

func (s *Service) scriptCall(c *change) (*redisx.Call, error) {
	name := c.scope.name
	if !c.isEnter {
		args := []any{0, s.cfg.SeenFor.Milliseconds()}
		for _, u := range c.users {
			args = append(args, u.UserID)
		}
		return &redisx.Call{Script: leaveScript, Keys: leaveKeys(name, s.node), Args: args}, nil
	}
	ttl := channelKeysTTL
	if name == gameScope {
		ttl = 2 * s.cfg.Lease
	}
	args := []any{ttl.Milliseconds()}
	for _, u := range c.users {
		shown, err := json.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("show a user: %w", err)
		}
		args = append(args, u.UserID, shown)
	}
	return &redisx.Call{Script: enterScript, Keys: scopeKeys(name, s.node), Args: args}, nil
}

// leaveKeys are the keys that leave.lua takes, in its order.
func leaveKeys(name, node string) []string {
	all := scopeKeys(name, node)
	if name == gameScope {
		all = append(all, keys.PresenceSeen)
	}
	return all
}

// applyReply takes note of what Redis did, and tells players.
func (s *Service) applyReply(ctx context.Context, c *change, reply []any) error {
	now := time.Now()
	unused := false
	s.mu.Lock()
	for _, x := range c.members {
		x.isCounted = c.isEnter
		if !c.isEnter && x.conns == 0 && !now.Before(x.graceUntil) {
			unused = s.removeMember(x) || unused
		}
	}
	s.mu.Unlock()
	if unused { // it is indexed again before anybody enters
		if err := s.rdb.SRem(ctx, keys.PresenceNode(s.node), c.scope.name).Err(); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	if !c.isEnter {
		return s.broadcastLeft(ctx, c.scope.name, reply)
	}
	count, came, err := parseReply(reply, 1)
	if err != nil {
		return err
	}
	if c.scope.name == gameScope || count > s.cfg.Crowd {
		return nil
	}
	for _, id := range came {
		for _, u := range c.users {
			if u.UserID == id {
				err = errors.Join(err, s.broadcaster.Broadcast(ctx, c.scope.name, "presence:joined", Movement{c.scope.name, u}))
			}
		}
	}
	return err
}

// broadcastLeft tells players who left, of what leave.lua replied.
func (s *Service) broadcastLeft(ctx context.Context, place string, reply []any) error {
	count, gone, err := parseReply(reply, 2)
	if err != nil || place == gameScope || count+len(gone) > s.cfg.Crowd {
		return err
	}
	for _, shown := range gone {
		var u User
		if err := json.Unmarshal([]byte(shown), &u); err != nil {
			return fmt.Errorf("what was shown of a user: %w", err)
		}
		err = errors.Join(err, s.broadcaster.Broadcast(ctx, place, "presence:left", Movement{place, u}))
	}
	return err
}

// parseReply reads a reply: a number first, and strings from the given place on.
func parseReply(reply []any, from int) (count int, rest []string, err error) {
	if len(reply) < from {
		return 0, nil, fmt.Errorf("strange reply %v", reply)
	}
	n, ok := reply[0].(int64)
	for _, v := range reply[from:] {
		text, is := v.(string)
		rest, ok = append(rest, text), ok && is
	}
	if !ok {
		return 0, nil, fmt.Errorf("strange reply %v", reply)
	}
	return int(n), rest, nil
}

// sweepNode takes out the users of a node that is dead.
func (s *Service) sweepNode(ctx context.Context, node string) error {
	index := keys.PresenceNode(node)
	for {
		places, err := s.rdb.SRandMemberN(ctx, index, 32).Result()
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if len(places) == 0 {
			if err := s.rdb.SRem(ctx, keys.PresenceDead, node).Err(); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			return nil
		}
		for _, name := range places {
			if err := s.sweepScope(ctx, name, node); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if err := s.rdb.SRem(ctx, index, name).Err(); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
		}
	}
}

func (s *Service) sweepScope(ctx context.Context, name, node string) error {
	for {
		reply, err := leaveScript.Do(ctx, s.rdb, leaveKeys(name, node), usersPerCall, s.cfg.SeenFor.Milliseconds()).Slice()
		if err != nil {
			return err
		}
		if err := s.broadcastLeft(ctx, name, reply); err != nil {
			return err
		}
		if n, _ := reply[1].(int64); n < usersPerCall {
			return nil
		}
	}
}
