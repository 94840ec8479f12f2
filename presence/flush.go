package presence

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed notify.lua
var notifyLua string

//go:embed enter.lua
var enterLua string

//go:embed leave.lua
var leaveLua string

var enterScript, leaveScript = redisx.NewScript(notifyLua + enterLua), redisx.NewScript(notifyLua + leaveLua)

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
			for _, c := range changes[:n] {
				s.doubts.addScopes(c.scope.name)
			}
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
		ids := make([]any, len(c.users))
		for i, u := range c.users {
			ids[i] = u.UserID
		}
		return s.leaveCall(name, s.node, 0, ids...), nil
	}
	ttl := channelKeysTTL
	if name == gameScope {
		ttl = 2 * s.cfg.Lease
	}
	args := []any{ttl.Milliseconds(), s.cfg.Crowd}
	for _, u := range c.users {
		shown, err := json.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("encode user: %w", err)
		}
		args = append(args, u.UserID, shown)
	}
	return &redisx.Call{Script: enterScript, Keys: enterScriptKeys(name, s.node), Args: args}, nil
}

// leaveCall returns a call of leave.lua that takes users out of the scope, either up to anyOf of
// the node's users or those with these ids, and settles what is pending there.
func (s *Service) leaveCall(name, node string, anyOf int, ids ...any) *redisx.Call {
	args := append([]any{anyOf, s.cfg.SeenFor.Milliseconds(), channelKeysTTL.Milliseconds(), s.cfg.Crowd}, ids...)
	return &redisx.Call{Script: leaveScript, Keys: leaveScriptKeys(name, node), Args: args}
}

// enterScriptKeys returns the keys of enter.lua, in its order.
func enterScriptKeys(name, node string) []string {
	return slices.Insert(scopeKeys(name, node), 4, keys.PresenceNotified(name), keys.PresencePending(name))
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
	return s.broadcastReply(ctx, c.scope.name, reply, scopeUse{isIndexed: true, isUnused: unused})
}

// broadcastReply broadcasts the events in the reply of a script to the members of a scope, and
// registers when the next pending one is due.
func (s *Service) broadcastReply(ctx context.Context, scope string, reply []any, use scopeUse) error {
	due, events, err := parseEvents(reply)
	if err != nil {
		return err
	}
	err = s.updateSettlement(ctx, scope, due, use)
	for i := 0; i+1 < len(events); i += 2 {
		var u User
		if e := json.Unmarshal([]byte(events[i+1]), &u); e != nil || u.UserID == "" {
			s.cfg.Report(&redisx.UnreadableError{Key: keys.PresenceWho(scope), Err: e})
			continue // the others are told nevertheless
		}
		name := "presence:left"
		if events[i] == "1" {
			name = "presence:joined"
		}
		err = errors.Join(err, s.broadcaster.Broadcast(ctx, scope, name, Movement{scope, u}))
	}
	return err
}

// unindexScope takes a scope out of the index of this node.
func (s *Service) unindexScope(ctx context.Context, name string) error {
	if err := s.rdb.SRem(ctx, keys.PresenceNode(s.node), name).Err(); err != nil {
		s.doubts.addScopes(name)
		return fmt.Errorf("update the index of this node: %w", err)
	}
	return nil
}

// parseEvents parses the reply of enter.lua and leave.lua: after how long the next pending event is
// due, negative if none is, and of each event "1" (joined) or "0" (left) and what is shown of the
// user.
func parseEvents(reply []any) (due time.Duration, events []string, err error) {
	if _, events, err = parseScriptReply(reply, 3); err != nil {
		return 0, nil, err
	}
	ms, ok := reply[2].(int64)
	if !ok {
		return 0, nil, fmt.Errorf("unexpected reply %v", reply)
	}
	return time.Duration(ms) * time.Millisecond, events, nil
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
