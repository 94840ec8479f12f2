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
	usersPerCall      = 100
	callsPerRoundTrip = 64
)

// A Movement says that a user has joined or left a channel.
type Movement struct {
	Channel string `json:"channel"`
	User    User   `json:"user"`
}

// A change is a group of users that enter or leave one scope, in one call of a script.
type change struct {
	scope   *scope
	isEnter bool
	members []*member
	users   []User // of members, at the time of the change
}

// flushChanges updates Redis with who is on this node, until the lease needs to be renewed: a node
// with many changes must not be taken for dead. The rest follows in the next round.
func (s *Service) flushChanges(ctx context.Context) error {
	changes := s.collectChanges()
	for len(changes) > 0 {
		n := min(len(changes), callsPerRoundTrip)
		if err := s.sendChanges(ctx, changes[:n]); err != nil {
			s.markDirtyAgain(changes)
			return err
		}
		if changes = changes[n:]; s.isRenewalUrgent() {
			s.markDirtyAgain(changes)
			return nil
		}
	}
	return nil
}

// markDirtyAgain marks the members of changes that were not made as dirty again.
func (s *Service) markDirtyAgain(changes []*change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		for _, m := range c.members {
			m.isStale = m.isStale || c.isEnter
			s.markDirty(m)
		}
	}
}

// collectChanges returns the differences between the dirty members and what Redis knows.
func (s *Service) collectChanges() (all []*change) {
	now := time.Now()
	open := map[*scope][2]*change{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.leaving) > 0 && !now.Before(s.leaving[0].due) {
		m := s.leaving[0].member
		s.leaving = s.leaving[1:]
		switch {
		case m.conns > 0:
			m.isLeaving = false
		case now.Before(m.graceUntil): // the user came back and left again
			s.leaving = append(s.leaving, pendingLeave{m, m.graceUntil})
		default:
			m.isLeaving = false
			s.markDirty(m)
		}
	}
	list := s.dirty
	s.dirty = nil
	for _, m := range list {
		m.isDirty = false
		isEnter := m.conns > 0 || now.Before(m.graceUntil)
		switch {
		case isEnter && m.isCounted && !m.isStale:
			continue
		case !isEnter && !m.isCounted:
			s.removeMember(m)
			continue
		}
		pair := open[m.scope]
		i := 0
		if isEnter {
			i, m.isStale = 1, false
		}
		if pair[i] == nil || len(pair[i].members) == usersPerCall {
			pair[i] = &change{scope: m.scope, isEnter: isEnter}
			open[m.scope] = pair
			all = append(all, pair[i])
		}
		pair[i].members = append(pair[i].members, m)
		pair[i].users = append(pair[i].users, m.user)
	}
	return all
}

// removeMember removes a member, and its scope if it was the last one there. It is called with mu
// held.
func (s *Service) removeMember(m *member) (empty bool) {
	if m.scope.members[m.user.UserID] == m {
		delete(m.scope.members, m.user.UserID)
	}
	if len(m.scope.members) == 0 && s.scopes[m.scope.name] == m.scope {
		delete(s.scopes, m.scope.name)
		return true
	}
	return false
}

// sendChanges makes changes in one round trip, and broadcasts them.
func (s *Service) sendChanges(ctx context.Context, changes []*change) error {
	if err := s.indexScopes(ctx, changes); err != nil {
		return err
	}
	calls := make([]*redisx.Call, len(changes))
	for i, c := range changes {
		var err error
		if calls[i], err = s.makeScriptCall(c); err != nil {
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
			err = s.applyScriptReply(ctx, c, reply)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// indexScopes adds the scopes in which this node will have users to the index of this node.
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
	if err := s.addToNodeIndex(ctx, s.node, names); err != nil {
		return err
	}
	for _, c := range changes {
		c.scope.isIndexed = c.scope.isIndexed || c.isEnter
	}
	return nil
}

func (s *Service) makeScriptCall(c *change) (*redisx.Call, error) {
	name := c.scope.name
	if !c.isEnter {
		args := []any{0, s.cfg.SeenFor.Milliseconds()}
		for _, u := range c.users {
			args = append(args, u.UserID)
		}
		return &redisx.Call{Script: leaveScript, Keys: leaveScriptKeys(name, s.node), Args: args}, nil
	}
	ttl := channelKeysTTL
	if name == gameScope {
		ttl = 2 * s.cfg.Lease
	}
	args := []any{ttl.Milliseconds()}
	for _, u := range c.users {
		shown, err := json.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("encode user: %w", err)
		}
		args = append(args, u.UserID, shown)
	}
	return &redisx.Call{Script: enterScript, Keys: enterScriptKeys(name, s.node), Args: args}, nil
}

// leaveScriptKeys returns the keys of leave.lua, in its order.
func leaveScriptKeys(name, node string) []string {
	all := enterScriptKeys(name, node)
	if name == gameScope {
		all = append(all, keys.PresenceSeen)
	}
	return all
}

// applyScriptReply registers that Redis has made a change, and broadcasts it.
func (s *Service) applyScriptReply(ctx context.Context, c *change, reply []any) error {
	now := time.Now()
	unused := false
	s.mu.Lock()
	for _, m := range c.members {
		m.isCounted = c.isEnter
		if !c.isEnter && m.conns == 0 && !now.Before(m.graceUntil) {
			unused = s.removeMember(m) || unused
		}
	}
	s.mu.Unlock()
	if unused { // a scope is indexed again before a user enters it
		if err := s.rdb.SRem(ctx, keys.PresenceNode(s.node), c.scope.name).Err(); err != nil {
			return fmt.Errorf("update the index of this node: %w", err)
		}
	}
	if !c.isEnter {
		return s.broadcastLeft(ctx, c.scope.name, reply)
	}
	count, came, err := parseScriptReply(reply, 1)
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

// broadcastLeft broadcasts who has left, from the reply of leave.lua.
func (s *Service) broadcastLeft(ctx context.Context, scope string, reply []any) error {
	count, gone, err := parseScriptReply(reply, 2)
	if err != nil || scope == gameScope || count+len(gone) > s.cfg.Crowd {
		return err
	}
	for _, shown := range gone {
		var u User
		if e := json.Unmarshal([]byte(shown), &u); e != nil || u.UserID == "" {
			s.cfg.Report(&redisx.UnreadableError{Key: keys.PresenceWho(scope), Err: e})
			continue // the others are told nevertheless
		}
		err = errors.Join(err, s.broadcaster.Broadcast(ctx, scope, "presence:left", Movement{scope, u}))
	}
	return err
}

// parseScriptReply parses the reply of a script: a number first, and strings from the index from
// on.
func parseScriptReply(reply []any, from int) (count int, rest []string, err error) {
	if len(reply) < from {
		return 0, nil, fmt.Errorf("unexpected reply %v", reply)
	}
	n, ok := reply[0].(int64)
	for _, v := range reply[from:] {
		text, is := v.(string)
		rest, ok = append(rest, text), ok && is
	}
	if !ok {
		return 0, nil, fmt.Errorf("unexpected reply %v", reply)
	}
	return int(n), rest, nil
}

// sweepDeadNode takes the users of a dead node out of all scopes.
func (s *Service) sweepDeadNode(ctx context.Context, node string) error {
	index := keys.PresenceNode(node)
	for {
		scopes, err := s.rdb.SRandMemberN(ctx, index, 32).Result()
		if err != nil {
			return fmt.Errorf("sweep dead node: %w", err)
		}
		if len(scopes) == 0 {
			if err := s.rdb.SRem(ctx, keys.PresenceDead, node).Err(); err != nil {
				return fmt.Errorf("sweep dead node: %w", err)
			}
			return nil
		}
		for _, name := range scopes {
			if err := s.sweepScopeOfNode(ctx, name, node); err != nil {
				return fmt.Errorf("sweep dead node: %w", err)
			}
			if err := s.rdb.SRem(ctx, index, name).Err(); err != nil {
				return fmt.Errorf("sweep dead node: %w", err)
			}
		}
	}
}

func (s *Service) sweepScopeOfNode(ctx context.Context, name, node string) error {
	for {
		reply, err := leaveScript.Do(ctx, s.rdb, leaveScriptKeys(name, node), usersPerCall, s.cfg.SeenFor.Milliseconds()).Slice()
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
