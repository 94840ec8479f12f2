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

// Act plays one turn, and sends combat:update to everybody who follows the fight. Actions that
// arrive at the same time are played one after the other, each on the state that the one before
// left.
//
// Errors: INVALID, NOT_FOUND, FORBIDDEN when the caller does not take part in the fight,
// COMBAT_OVER, COMBAT_TOO_SOON {retryAfterMs, nextActionAt}, COMBAT_NO_ENERGY {energy, cost},
// COMBAT_COOLDOWN {turns}, LOCKED {retryAfterMs} when too many others act in the same fight at
// once, UNAVAILABLE. After UNAVAILABLE or TIMEOUT the action was done completely or not at all:
// the state's version shows which.
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

// find returns what this node knows about a fight. It reads the fight from Redis only when the
// node does not know it.
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

// play plays a turn on the fight's current state and stores the result. applyMove computes the
// turn. The state that this node remembers may be old: so when applyMove refuses the move on it,
// play reads the state from Redis and asks again. The caller holds the fight's turn.
func (s *Service) play(ctx context.Context, f *fight, applyMove func(*State) (State, Event, Move, error)) (Outcome, error) {
	id, writer, fresh, deadlineSet := f.known.CombatID, s.writer(), false, false
	for try := range maxTries {
		if err := pause(ctx, try); err != nil {
			return Outcome{}, fmt.Errorf("combat %s: try again: %w", id, err)
		}
		next, what, move, err := applyMove(&f.known)
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
		if next.Status == Ended && !deadlineSet {
			// If this node dies before it has settled the fight, another node finds it by its deadline.
			if err := s.store.lookAt(ctx, id, s.cfg.Now().Add(settleWithin)); err != nil {
				return Outcome{}, err
			}
			deadlineSet = true
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

// gone removes a fight from this node's memory when err says that Redis has it no more. It
// returns err.
func (s *Service) gone(id string, err error) error {
	if errors.Is(err, fault.ErrNotFound) {
		s.recent.forget(id)
	}
	return err
}

// pause waits before a try, the longer the later the try, so that the same caller does not lose
// every time. The first three tries do not wait.
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

// target returns the index of the participant with that id, or of the first living opponent when
// id is empty; -1 when there is none.
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

// tell sends a turn to everybody who follows the fight, and settles the fight after its last turn.
// The turn is stored already, so an error here is reported and does not become the player's answer.
// p is nil when no player made the move.
func (s *Service) tell(ctx context.Context, p *event.Player, out *Outcome) {
	id := out.State.CombatID
	s.cast(ctx, &out.State, "combat:update", &Update{CombatID: id, Event: out.Event, State: out.State})
	if out.State.Status != Ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	if err := s.settle(ctx, &out.State); err != nil {
		s.cfg.Report(fmt.Errorf("combat %s: settling failed and will be tried again: %w", id, err))
	}
	if p != nil && p.Conn != "" {
		_, err := s.rooms.Leave(ctx, p.Conn, RoomPrefix+id)
		s.report(id, err)
	}
}

// cast sends an event once to everybody who follows a fight: to the members of its room, and in a
// fight between players also to every device of both.
func (s *Service) cast(ctx context.Context, state *State, name string, payload any) {
	room := RoomPrefix + state.CombatID
	s.report(state.CombatID, s.rooms.CastExcept(ctx, room, "", name, payload))
	if state.duel() {
		for i := range state.Participants {
			s.report(state.CombatID, s.rooms.CastExcept(ctx, userPrefix+state.Participants[i].UserID, room, name, payload))
		}
	}
}

// report reports that something about a fight could not be sent; nil is not reported.
func (s *Service) report(id string, err error) {
	if err != nil {
		s.cfg.Report(fmt.Errorf("combat %s: notify its followers: %w", id, err))
	}
}
