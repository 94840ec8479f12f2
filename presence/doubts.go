package presence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// doubtDelay is how long after a failure the doubts are settled: until then Redis has run all that
// it had received.
const doubtDelay = time.Second

// doubts are what Redis may hold wrongly. A call whose answer was lost may still run: a Redis that
// was paused runs what it had received when it goes on, and possibly after calls that were sent
// later over other connections. So a user who has left could be counted again.
type doubts struct {
	scopes map[string]bool // in which a change failed
	due    time.Time       // when to settle them; zero without doubts
}

func (d *doubts) addScopes(names ...string) {
	if d.scopes == nil {
		d.scopes = map[string]bool{}
	}
	for _, name := range names {
		d.scopes[name] = true
	}
	d.due = time.Now().Add(doubtDelay)
}

// settleDoubts compares the scopes in doubt with Redis. What runs late under a former name of this
// node is swept when the lease of that name ends.
func (s *Service) settleDoubts(ctx context.Context) error {
	if s.doubts.due.IsZero() || time.Now().Before(s.doubts.due) {
		return nil
	}
	names := slices.Collect(maps.Keys(s.doubts.scopes))
	for part := range slices.Chunk(names, callsPerRoundTrip) {
		if err := s.compareScopes(ctx, part); err != nil {
			return err
		}
	}
	s.doubts = doubts{}
	return nil
}

// compareScopes takes users out of scopes whom Redis counts on this node although they have left,
// and marks those as uncounted whom it does not count although they are here.
func (s *Service) compareScopes(ctx context.Context, names []string) error {
	limited, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	if err := s.addToNodeIndex(ctx, s.node, anySlice(names)); err != nil { // a late call may have taken one out
		return err
	}
	counted := make([]*redis.StringSliceCmd, len(names))
	_, err := s.rdb.Pipelined(limited, func(p redis.Pipeliner) error {
		for i, name := range names {
			counted[i] = p.SMembers(limited, keys.PresenceOn(name, s.node))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("compare with Redis: %w", err)
	}
	calls := make([]*redisx.Call, len(names))
	for i, name := range names {
		calls[i] = s.leaveCall(name, s.node, 0, s.findDifferences(name, counted[i].Val())...)
	}
	redisx.RunScripts(limited, s.rdb, calls...)
	var failed error
	for i, name := range names {
		reply, err := calls[i].Slice()
		if err == nil {
			err = s.broadcastReply(ctx, name, reply, scopeUse{isIndexed: true, isUnused: !s.hasScope(name)})
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// findDifferences returns the users whom Redis counts here although they have left, and marks
// those as uncounted whom it should count.
func (s *Service) findDifferences(name string, counted []string) (left []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var members map[string]*member
	if sc := s.scopes[name]; sc != nil {
		members = sc.members
	}
	there := make(map[string]bool, len(counted))
	for _, user := range counted {
		there[user] = true
		if m := members[user]; m == nil || m.conns == 0 && !m.isCounted {
			left = append(left, user)
		}
	}
	for user, m := range members {
		if m.isCounted && !there[user] {
			m.isCounted = false
			s.markDirty(m)
		}
	}
	return left
}

func anySlice(names []string) []any {
	all := make([]any, len(names))
	for i, name := range names {
		all[i] = name
	}
	return all
}
