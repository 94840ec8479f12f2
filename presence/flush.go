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
	perCall  = 100 // users in one call of a script
	perRound = 64  // calls in one round trip
)

// A Movement is what members of a channel are told of one user.
type Movement struct {
	Channel string `json:"channel"`
	User    User   `json:"user"`
}

// A change is users that enter or leave one place, for one call of a script.
type change struct {
	place *place
	enter bool
	seats []*seat
	users []User // of seats, as they were then
}

// flush brings Redis in line with who is here, as long as the beat can wait: a node that has much to tell must
// not be taken for dead meanwhile. What is left comes next.
func (s *Service) flush(ctx context.Context) error {
	changes := s.changes()
	for len(changes) > 0 {
		n := min(len(changes), perRound)
		if err := s.send(ctx, changes[:n]); err != nil {
			s.putBack(changes)
			return err
		}
		if changes = changes[n:]; s.mustBeat() {
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
		for _, x := range c.seats {
			x.stale = x.stale || c.enter
			s.look(x)
		}
	}
}

// changes takes what differs from what Redis was told.
func (s *Service) changes() (all []*change) {
	now := time.Now()
	open := map[*place][2]*change{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.leaving) > 0 && !now.Before(s.leaving[0].due) {
		x := s.leaving[0].seat
		s.leaving = s.leaving[1:]
		switch {
		case x.conns > 0:
			x.waiting = false
		case now.Before(x.until): // it came, and went again
			s.leaving = append(s.leaving, leaver{x, x.until})
		default:
			x.waiting = false
			s.look(x)
		}
	}
	list := s.dirty
	s.dirty = nil
	for _, x := range list {
		x.listed = false
		enter := x.conns > 0 || now.Before(x.until)
		switch {
		case enter && x.told && !x.stale:
			continue
		case !enter && !x.told:
			s.drop(x)
			continue
		}
		pair := open[x.place]
		i := 0
		if enter {
			i, x.stale = 1, false
		}
		if pair[i] == nil || len(pair[i].seats) == perCall {
			pair[i] = &change{place: x.place, enter: enter}
			open[x.place] = pair
			all = append(all, pair[i])
		}
		pair[i].seats = append(pair[i].seats, x)
		pair[i].users = append(pair[i].users, x.user)
	}
	return all
}

// drop forgets a seat, and its place with the last. mu is held.
func (s *Service) drop(x *seat) (empty bool) {
	if x.place.seats[x.user.UserID] == x {
		delete(x.place.seats, x.user.UserID)
	}
	if len(x.place.seats) == 0 && s.places[x.place.name] == x.place {
		delete(s.places, x.place.name)
		return true
	}
	return false
}

// send makes changes in one round trip, and tells players of them.
func (s *Service) send(ctx context.Context, changes []*change) error {
	if err := s.announce(ctx, changes); err != nil {
		return err
	}
	calls := make([]*redisx.Call, len(changes))
	for i, c := range changes {
		var err error
		if calls[i], err = s.call(c); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	redisx.RunScripts(limited, s.rdb, calls...)
	var failed error
	for i, c := range changes {
		reply, err := calls[i].Slice()
		if err == nil {
			err = s.done(ctx, c, reply)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// announce notes in which places this node will have users.
func (s *Service) announce(ctx context.Context, changes []*change) error {
	var names []any
	for _, c := range changes {
		if c.enter && !c.place.indexed {
			names = append(names, c.place.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if err := s.index(ctx, s.node, names); err != nil {
		return err
	}
	for _, c := range changes {
		c.place.indexed = c.place.indexed || c.enter
	}
	return nil
}

func (s *Service) call(c *change) (*redisx.Call, error) {
	name := c.place.name
	if !c.enter {
		args := []any{0, s.cfg.SeenFor.Milliseconds()}
		for _, u := range c.users {
			args = append(args, u.UserID)
		}
		return &redisx.Call{Script: leaveScript, Keys: leaveKeys(name, s.node), Args: args}, nil
	}
	ttl := keepPlaces
	if name == game {
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
	return &redisx.Call{Script: enterScript, Keys: placeKeys(name, s.node), Args: args}, nil
}

// leaveKeys are the keys that leave.lua takes, in its order.
func leaveKeys(name, node string) []string {
	all := placeKeys(name, node)
	if name == game {
		all = append(all, keys.PresenceSeen)
	}
	return all
}

// done takes note of what Redis did, and tells players.
func (s *Service) done(ctx context.Context, c *change, reply []any) error {
	now := time.Now()
	unused := false
	s.mu.Lock()
	for _, x := range c.seats {
		x.told = c.enter
		if !c.enter && x.conns == 0 && !now.Before(x.until) {
			unused = s.drop(x) || unused
		}
	}
	s.mu.Unlock()
	if unused { // it is indexed again before anybody enters
		if err := s.rdb.SRem(ctx, keys.PresenceNode(s.node), c.place.name).Err(); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	if !c.enter {
		return s.went(ctx, c.place.name, reply)
	}
	count, came, err := counted(reply, 1)
	if err != nil {
		return err
	}
	if c.place.name == game || count > s.cfg.Crowd {
		return nil
	}
	for _, id := range came {
		for _, u := range c.users {
			if u.UserID == id {
				err = errors.Join(err, s.tell.Tell(ctx, c.place.name, "presence:joined", Movement{c.place.name, u}))
			}
		}
	}
	return err
}

// went tells players who left, of what leave.lua replied.
func (s *Service) went(ctx context.Context, place string, reply []any) error {
	count, gone, err := counted(reply, 2)
	if err != nil || place == game || count+len(gone) > s.cfg.Crowd {
		return err
	}
	for _, shown := range gone {
		var u User
		if err := json.Unmarshal([]byte(shown), &u); err != nil {
			return fmt.Errorf("what was shown of a user: %w", err)
		}
		err = errors.Join(err, s.tell.Tell(ctx, place, "presence:left", Movement{place, u}))
	}
	return err
}

// counted reads a reply: a number first, and strings from the given place on.
func counted(reply []any, from int) (count int, rest []string, err error) {
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

// sweep takes out the users of a node that is dead.
func (s *Service) sweep(ctx context.Context, node string) error {
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
			if err := s.sweepPlace(ctx, name, node); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if err := s.rdb.SRem(ctx, index, name).Err(); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
		}
	}
}

func (s *Service) sweepPlace(ctx context.Context, name, node string) error {
	for {
		reply, err := leaveScript.Do(ctx, s.rdb, leaveKeys(name, node), perCall, s.cfg.SeenFor.Milliseconds()).Slice()
		if err != nil {
			return err
		}
		if err := s.went(ctx, name, reply); err != nil {
			return err
		}
		if n, _ := reply[1].(int64); n < perCall {
			return nil
		}
	}
}
