package combat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// Act plays one turn, and tells those who follow the fight what happened. Of two actions at
// once each is played on the state that the other left.
//
// Errors: INVALID, NOT_FOUND, FORBIDDEN in a fight of others, COMBAT_OVER,
// COMBAT_TOO_SOON {retryAfterMs, nextActionAt}, COMBAT_NO_ENERGY {energy, cost},
// COMBAT_COOLDOWN {turns}, LOCKED {retryAfterMs} when too many others act in the same fight
// at once, UNAVAILABLE. After UNAVAILABLE or TIMEOUT the action may have been done or not,
// never half: the state's version tells.
func (s *Service) Act(ctx context.Context, p event.Player, in Action) (Outcome, error) {
	if !isID(in.CombatID) {
		return Outcome{}, fault.ErrNotFound
	}
	f, err := s.find(ctx, in.CombatID)
	if err != nil {
		return Outcome{}, err
	}
	by := played(f.fighters, &p)
	if by < 0 {
		return Outcome{}, fault.ErrForbidden
	}
	if err := f.enter(ctx); err != nil {
		return Outcome{}, fmt.Errorf("combat %s: wait for a turn: %w", in.CombatID, err)
	}
	defer f.leave()
	out, err := s.play(ctx, f, func(state *State) (State, Event, Move, error) {
		m := Move{By: by, Action: in.Action, At: s.cfg.Now().UnixMilli()}
		if strikes(in.Action) {
			m.Target = state.target(by, in.Target)
		}
		next, what, err := Apply(*state, m)
		return next, what, m, err
	})
	if err != nil {
		return Outcome{}, err
	}
	s.tell(ctx, &p, &out)
	return out, nil
}

// find is what this node knows of a fight.
func (s *Service) find(ctx context.Context, id string) (*fight, error) {
	if f := s.recent.get(id); f != nil {
		return f, nil
	}
	state, err := s.store.load(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.recent.put(state), nil
}

// play finds the state that is true and plays a turn on it, as judge says. A refusal is only
// believed when the state is fresh from Redis. The caller holds the fight's turn.
func (s *Service) play(ctx context.Context, f *fight, judge func(*State) (State, Event, Move, error)) (Outcome, error) {
	id, writer, fresh, due := f.known.CombatID, s.writer(), false, false
	for try := range maxTries {
		if err := pause(ctx, try); err != nil {
			return Outcome{}, fmt.Errorf("combat %s: try again: %w", id, err)
		}
		next, what, move, err := judge(&f.known)
		if err != nil {
			if fresh {
				return Outcome{}, err
			}
			current, err := s.store.load(ctx, id)
			if err != nil {
				return Outcome{}, s.gone(id, err)
			}
			f.known, fresh = current, true
			continue
		}
		if next.Status == Ended && !due {
			// Should this node die before it has settled the fight, another looks at it soon.
			if err := s.store.lookAt(ctx, id, s.cfg.Now().Add(settleWithin)); err != nil {
				return Outcome{}, err
			}
			due = true
		}
		encoded := next.AppendJSON(make([]byte, 0, 768))
		changed, current, err := s.store.change(ctx, next, encoded, move, writer)
		if err != nil {
			return Outcome{}, s.gone(id, err)
		}
		f.known, fresh = current, true
		if changed {
			return Outcome{Event: what, State: next}, nil
		}
	}
	return Outcome{}, fault.ErrLocked.With("retryAfterMs", int64(50))
}

// gone forgets a fight that is not there any more.
func (s *Service) gone(id string, err error) error {
	if errors.Is(err, fault.ErrNotFound) {
		s.recent.forget(id)
	}
	return err
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

// tell sends a turn to those who follow the fight, and settles it when it was the last. The
// turn is done whatever comes of this, so errors are reported, and the player's answer is
// not one.
func (s *Service) tell(ctx context.Context, p *event.Player, out *Outcome) {
	id := out.State.CombatID
	s.cast(ctx, &out.State, "combat:update", &Update{CombatID: id, Event: out.Event, State: out.State})
	if out.State.Status != Ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	if err := s.settle(ctx, &out.State); err != nil {
		s.cfg.Report(fmt.Errorf("combat %s: settle, will be tried again: %w", id, err))
	}
	if p != nil && p.Conn != "" {
		_, err := s.rooms.Leave(ctx, p.Conn, RoomPrefix+id)
		s.report(id, err)
	}
}

// cast tells everybody who follows a fight, once: who is in its room, and in a fight between
// players every device of both.
func (s *Service) cast(ctx context.Context, state *State, name string, payload any) {
	room := RoomPrefix + state.CombatID
	s.report(state.CombatID, s.rooms.CastExcept(ctx, room, "", name, payload))
	if state.duel() {
		for i := range state.Participants {
			s.report(state.CombatID, s.rooms.CastExcept(ctx, userPrefix+state.Participants[i].UserID, room, name, payload))
		}
	}
}

func (s *Service) report(id string, err error) {
	if err != nil {
		s.cfg.Report(fmt.Errorf("combat %s: tell: %w", id, err))
	}
}
