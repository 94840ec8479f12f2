package combat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// Act plays one turn, and tells the fight's room what happened. Of two actions at once
// each is played on the state that the other left.
//
// Errors: INVALID, NOT_FOUND, FORBIDDEN in a fight of others, COMBAT_OVER,
// COMBAT_NO_ENERGY {energy, cost}, COMBAT_COOLDOWN {turns}, LOCKED when too many others act
// in the same fight at once, UNAVAILABLE. After UNAVAILABLE or TIMEOUT the action may have
// been done or not, never half: the state's version tells.
func (s *Service) Act(ctx context.Context, p event.Player, in Action) (Outcome, error) {
	if !isID(in.CombatID) {
		return Outcome{}, fault.ErrNotFound
	}
	f := s.recent.get(in.CombatID)
	if f == nil {
		state, err := s.store.load(ctx, in.CombatID)
		if err != nil {
			return Outcome{}, err
		}
		f = s.recent.put(state)
	}
	if !slices.Contains(f.users, p.UserID) || p.UserID == "" {
		return Outcome{}, fault.ErrForbidden
	}
	if err := f.enter(ctx); err != nil {
		return Outcome{}, fmt.Errorf("combat %s: wait for a turn: %w", in.CombatID, err)
	}
	defer f.leave()
	out, err := s.play(ctx, &p, &in, f)
	if err != nil {
		if errors.Is(err, fault.ErrNotFound) {
			s.recent.forget(in.CombatID)
		}
		return Outcome{}, err
	}
	s.tell(ctx, &p, &out)
	return out, nil
}

// play finds the state that is true and plays the turn on it. A refusal is only believed
// when the state is fresh from Redis. The caller holds the fight's turn.
func (s *Service) play(ctx context.Context, p *event.Player, in *Action, f *fight) (Outcome, error) {
	writer, fresh := s.writer(), false
	for try := range maxTries {
		if err := pause(ctx, try); err != nil {
			return Outcome{}, fmt.Errorf("combat %s: try again: %w", in.CombatID, err)
		}
		next, what, move, err := s.judge(p, in, &f.known)
		if err != nil {
			if fresh {
				return Outcome{}, err
			}
			current, err := s.store.load(ctx, in.CombatID)
			if err != nil {
				return Outcome{}, err
			}
			f.known, fresh = current, true
			continue
		}
		encoded := next.AppendJSON(make([]byte, 0, 768))
		changed, current, err := s.store.change(ctx, next, encoded, move, writer)
		if err != nil {
			return Outcome{}, err
		}
		f.known, fresh = current, true
		if changed {
			return Outcome{Event: what, State: next}, nil
		}
	}
	return Outcome{}, fault.ErrLocked
}

// pause lets others go first, longer with each try, so that none is always beaten.
func pause(ctx context.Context, try int) error {
	if try < 3 {
		return nil
	}
	t := time.NewTimer(rand.N(time.Duration(try) * time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// judge plays the player's action on a state.
func (s *Service) judge(p *event.Player, in *Action, state *State) (State, Event, Move, error) {
	by := state.index(p.UserID)
	if by < 0 {
		return State{}, Event{}, Move{}, fault.ErrForbidden
	}
	m := Move{By: by, Action: in.Action, At: s.cfg.Now().UnixMilli()}
	if strikes(in.Action) {
		m.Target = state.target(by, in.Target)
	}
	next, what, err := Apply(*state, m)
	return next, what, m, err
}

// target is the living participant with that id, or the first opponent when id is empty.
func (s *State) target(by int, id string) int {
	if id == "" {
		return s.opponent(by)
	}
	for i := range s.Participants {
		if i != by && s.Participants[i].ID == id {
			return i
		}
	}
	return -1
}

// tell sends a turn to the fight's room, and takes leave when it was the last. The turn is
// done whatever comes of this, so errors are reported, and the player's answer is not one.
func (s *Service) tell(ctx context.Context, p *event.Player, out *Outcome) {
	id := out.State.CombatID
	room := RoomPrefix + id
	s.report(id, s.rooms.Cast(ctx, room, "combat:update", &Update{CombatID: id, Event: out.Event, State: out.State}))
	if out.State.Status != Ended {
		return
	}
	s.recent.forget(id)
	s.report(id, s.rooms.Cast(ctx, room, "combat:ended", Ending{CombatID: id, Winner: out.State.Winner, Rewards: Rewards{Items: []Item{}}}))
	if p.Conn != "" {
		_, err := s.rooms.Leave(ctx, p.Conn, room)
		s.report(id, err)
	}
	// A place that is not given back here is found when the player runs out of places.
	s.report(id, s.store.release(ctx, p.UserID, id))
}

func (s *Service) report(id string, err error) {
	if err != nil {
		s.cfg.Report(fmt.Errorf("combat %s: tell: %w", id, err))
	}
}
