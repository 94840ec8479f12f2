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
	if !isCombatID(in.CombatID) {
		return Outcome{}, fault.ErrNotFound
	}
	f, err := s.loadFight(ctx, in.CombatID)
	if err != nil {
		return Outcome{}, err
	}
	by := participantIndex(f.fighters, &p)
	if by < 0 {
		return Outcome{}, fault.ErrForbidden
	}
	if err := f.acquireTurn(ctx); err != nil {
		return Outcome{}, fmt.Errorf("combat %s: wait for a turn: %w", in.CombatID, err)
	}
	defer f.releaseTurn()
	out, err := s.playTurn(ctx, f, event.ClaimOf(ctx), func(state *State) (State, Event, Move, error) {
		m := Move{By: by, Action: in.Action, At: s.cfg.Now().UnixMilli()}
		if isStrikeAction(in.Action) {
			m.Target = state.findTarget(by, in.Target)
		}
		next, turnEvent, err := Apply(*state, m)
		return next, turnEvent, m, err
	})
	if err != nil {
		return Outcome{}, err
	}
	s.announceTurn(ctx, &p, &out)
	return out, nil
}

// loadFight returns what this node knows about a fight. It reads the fight from Redis only when the
// node does not know it.
func (s *Service) loadFight(ctx context.Context, id string) (*cachedFight, error) {
	if f := s.fights.getFight(id); f != nil {
		return f, nil
	}
	state, err := s.store.loadState(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.fights.rememberFight(state), nil
}

// playTurn plays a turn on the fight's current state and stores the result. applyMove computes the
// turn. The state that this node remembers may be old: so when applyMove refuses the move on it,
// playTurn reads the state from Redis and asks again. claim is that of the turn's idempotency key,
// nil without one: if the key did its turn before, playTurn changes nothing and returns that turn.
// The caller holds the fight's turn.
func (s *Service) playTurn(
	ctx context.Context, f *cachedFight, claim *event.Claim, applyMove func(*State) (State, Event, Move, error),
) (Outcome, error) {
	id, writer, fresh, deadlineSet := f.lastKnown.CombatID, s.newWriterID(), false, false
	for try := range maxTries {
		if err := waitBeforeRetry(ctx, try); err != nil {
			return Outcome{}, fmt.Errorf("combat %s: try again: %w", id, err)
		}
		next, turnEvent, move, err := applyMove(&f.lastKnown)
		if err != nil {
			if fresh {
				return Outcome{}, err
			}
			current, err := s.store.loadState(ctx, id)
			if err != nil {
				return Outcome{}, s.forgetMissing(id, err)
			}
			f.lastKnown, fresh = current, true
			continue
		}
		if next.Status == Ended && !deadlineSet {
			// If this node dies before it has settled the fight, another node finds it by its deadline.
			if err := s.store.setDeadline(ctx, id, s.cfg.Now().Add(settleTimeout)); err != nil {
				return Outcome{}, err
			}
			deadlineSet = true
		}
		changed, current, earlier, err := s.store.replaceState(ctx, stateChange{
			next: next, encoded: next.AppendJSON(make([]byte, 0, 768)), event: turnEvent, move: move, writer: writer, claim: claim,
		})
		switch {
		case err != nil:
			return Outcome{}, s.forgetMissing(id, err)
		case earlier != nil: // the client library sent our change twice, or we were late
			return *earlier, nil
		}
		f.lastKnown, fresh = current, true
		if changed {
			return Outcome{Event: turnEvent, State: next}, nil
		}
	}
	return Outcome{}, fault.ErrLocked.With("retryAfterMs", int64(50))
}

// forgetMissing removes a fight from this node's memory when err says that Redis has it no more. It
// returns err.
func (s *Service) forgetMissing(id string, err error) error {
	if errors.Is(err, fault.ErrNotFound) {
		s.fights.forgetFight(id)
	}
	return err
}

// waitBeforeRetry waits before a try, the longer the later the try, so that the same caller does
// not lose every time. The first three tries do not wait.
func waitBeforeRetry(ctx context.Context, try int) error {
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

// findTarget returns the index of the participant with that id, or of the first living opponent
// when id is empty; -1 when there is none.
func (s *State) findTarget(by int, id string) int {
	if id == "" {
		return s.firstOpponent(by)
	}
	for i := range s.Participants {
		if i != by && s.Participants[i].ID == id {
			return i
		}
	}
	return -1
}

// announceTurn sends a turn to everybody who follows the fight, and settles the fight after its
// last turn. The turn is stored already, so an error here is reported and does not become the
// player's answer. p is nil when no player made the move.
func (s *Service) announceTurn(ctx context.Context, p *event.Player, out *Outcome) {
	id := out.State.CombatID
	s.castToFollowers(ctx, &out.State, "combat:update", &Update{CombatID: id, Event: out.Event, State: out.State})
	if out.State.Status != Ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := s.settleFight(ctx, &out.State); err != nil {
		s.cfg.Report(fmt.Errorf("combat %s: settling failed and will be tried again: %w", id, err))
	}
	if p != nil && p.Conn != "" {
		_, err := s.rooms.Leave(ctx, p.Conn, RoomPrefix+id)
		s.reportCastError(id, err)
	}
}

// castToFollowers sends an event once to everybody who follows a fight: to the members of its room,
// and in a fight between players also to every device of both.
func (s *Service) castToFollowers(ctx context.Context, state *State, name string, payload any) {
	room := RoomPrefix + state.CombatID
	s.reportCastError(state.CombatID, s.rooms.CastExcept(ctx, room, "", name, payload))
	if state.isDuel() {
		for i := range state.Participants {
			s.reportCastError(state.CombatID, s.rooms.CastExcept(ctx, userPrefix+state.Participants[i].UserID, room, name, payload))
		}
	}
}

// reportCastError reports that something about a fight could not be sent; nil is not reported.
func (s *Service) reportCastError(id string, err error) {
	if err != nil {
		s.cfg.Report(fmt.Errorf("combat %s: notify its followers: %w", id, err))
	}
}
