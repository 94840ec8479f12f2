package presence

import (
	"context"
	"errors"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// minSettleDelay is how long a settlement waits at least, so that a channel that many users enter
// and leave is not settled for each of them.
const minSettleDelay = 20 * time.Millisecond

// settlements are the scopes whose pending events (see notify.lua) this node must send later, by
// name, and when. While a node has a settlement, the scope is in the node's index in Redis: the
// node that sweeps a dead node takes its settlements over.
type settlements struct {
	due  map[string]time.Time
	next time.Time // no settlement is due before; zero if there are none
}

func (all *settlements) plan(scope string, at time.Time) {
	if _, isPlanned := all.due[scope]; isPlanned {
		return // that one is due earlier: it plans the next
	}
	if all.due == nil {
		all.due = map[string]time.Time{}
	}
	all.due[scope] = at
	if all.next.IsZero() || at.Before(all.next) {
		all.next = at
	}
}

// takeDue removes the scopes that are due, and returns them.
func (all *settlements) takeDue(now time.Time) (scopes []string) {
	if all.next.IsZero() || now.Before(all.next) {
		return nil
	}
	all.next = time.Time{}
	for scope, at := range all.due {
		switch {
		case !now.Before(at):
			scopes = append(scopes, scope)
			delete(all.due, scope)
		case all.next.IsZero() || at.Before(all.next):
			all.next = at
		}
	}
	return scopes
}

// settleScopes sends what is pending in the scopes whose settlement is due.
func (s *Service) settleScopes(ctx context.Context) error {
	scopes := s.settlements.takeDue(time.Now())
	for len(scopes) > 0 {
		part := scopes[:min(len(scopes), callsPerRoundTrip)]
		calls := make([]*redisx.Call, len(part))
		for i, name := range part {
			calls[i] = s.leaveCall(name, s.node, 0)
		}
		limited, cancel := context.WithTimeout(ctx, roundTripTimeout)
		redisx.RunScripts(limited, s.rdb, calls...)
		cancel()
		var failed error
		for i, name := range part {
			reply, err := calls[i].Slice()
			if err != nil {
				s.settlements.plan(name, time.Now())
			} else {
				err = s.broadcastReply(ctx, name, reply, scopeUse{isIndexed: true, isUnused: !s.hasScope(name)})
			}
			failed = errors.Join(failed, err)
		}
		if scopes = scopes[len(part):]; failed != nil {
			for _, name := range scopes {
				s.settlements.plan(name, time.Now())
			}
			return failed
		}
	}
	return nil
}

// A scopeUse is how this node uses a scope.
type scopeUse struct {
	isIndexed bool // the scope is in the index of this node
	isUnused  bool // the scope has no user here, and need not be in the index
}

// updateSettlement registers when the next pending event of a scope is due; due is negative if
// nothing is pending. Then a scope without users here is taken out of the index of this node; it is
// indexed again before a user enters it.
func (s *Service) updateSettlement(ctx context.Context, scope string, due time.Duration, use scopeUse) error {
	if due < 0 {
		delete(s.settlements.due, scope)
		if use.isUnused {
			return s.unindexScope(ctx, scope)
		}
		return nil
	}
	s.settlements.plan(scope, time.Now().Add(max(due, minSettleDelay)))
	if use.isIndexed {
		return nil
	}
	return s.addToNodeIndex(ctx, s.node, []any{scope})
}

func (s *Service) hasScope(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scopes[name] != nil
}
