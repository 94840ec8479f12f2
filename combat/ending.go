package combat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/aeturnis/realtime/fault"
)

const (
	// settleTimeout is how long a node has to settle a fight before another node tries.
	settleTimeout = 5 * time.Second
	// sweepBatch is how many fights one sweep takes at most.
	sweepBatch = 100
)

// Run ends abandoned fights, and settles fights whose node died, or lost Redis, before it could do
// so. It runs on every node until ctx ends; each fight is handled by one of them.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(s.cfg.SweepInterval)
	defer t.Stop()
	for {
		if err := s.sweepDueFights(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, fault.ErrUnavailable) {
			s.cfg.Report(fmt.Errorf("combat: sweep: %w", err))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sweepDueFights handles the fights whose deadline has passed. An error with one fight does not
// stop the others.
func (s *Service) sweepDueFights(ctx context.Context) error {
	now := s.cfg.Now()
	due, err := s.store.claimDueFights(ctx, now, now.Add(settleTimeout), sweepBatch)
	if err != nil {
		return err
	}
	var failed []error
	for _, id := range due {
		if ctx.Err() != nil {
			break // another node handles the rest, once the new deadlines have passed
		}
		if err := s.handleDueFight(ctx, id, now); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// handleDueFight settles, abandons or postpones one fight whose deadline has passed. It finishes
// even when ctx ends meanwhile.
func (s *Service) handleDueFight(ctx context.Context, id string, now time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	state, err := s.store.loadState(ctx, id)
	if errors.Is(err, fault.ErrNotFound) {
		if at, err := ulid.Parse(id); err == nil && now.Sub(at.Timestamp()) < creationGrace {
			return nil // it is so young that it may not have been written yet
		}
		s.fights.forgetFight(id)
		return s.store.removeDeadline(ctx, id)
	}
	if err != nil {
		return err
	}
	if state.Status == Ended {
		return s.settleFight(ctx, &state)
	}
	if at := s.abandonDeadline(&state); at.After(now) {
		return s.store.setDeadline(ctx, id, at)
	}
	return s.endAbandoned(ctx, id)
}

// abandonDeadline returns when a running fight ends unless a player moves before.
func (s *Service) abandonDeadline(state *State) time.Time {
	return time.UnixMilli(state.UpdatedAt).Add(s.cfg.AbandonAfter)
}

// errNotAbandoned means that a player moved at the last moment.
var errNotAbandoned = errors.New("combat: not abandoned")

// endAbandoned ends a fight in which nobody moved.
func (s *Service) endAbandoned(ctx context.Context, id string) error {
	f, err := s.loadFight(ctx, id)
	if err != nil {
		return err
	}
	if err := f.acquireTurn(ctx); err != nil {
		return fmt.Errorf("combat %s: wait for a turn: %w", id, err)
	}
	defer f.releaseTurn()
	out, err := s.playTurn(ctx, f, nil, func(state *State) (State, Event, Move, error) {
		now := s.cfg.Now()
		m := Move{By: -1, Action: timeoutAction, Target: -1, At: now.UnixMilli()}
		if s.abandonDeadline(state).After(now) {
			return State{}, Event{}, m, errNotAbandoned
		}
		next, turnEvent, err := Apply(*state, m)
		return next, turnEvent, m, err
	})
	switch {
	case errors.Is(err, errNotAbandoned), errors.Is(err, ErrFightOver):
		return nil // its new deadline is looked at in settleWithin
	case err != nil:
		return err
	}
	s.announceTurn(ctx, nil, &out)
	return nil
}

// settleFight pays and counts the victory of an ended fight, sends combat:ended and frees the
// players' slots. It may be called again after an error or by another node: payment and points are
// not repeated. combat:ended is sent again only if a node died, or lost Redis, after sending it.
func (s *Service) settleFight(ctx context.Context, state *State) error {
	id := state.CombatID
	s.fights.forgetFight(id)
	rewards, isUnpaid, err := s.payWinner(ctx, state)
	if err != nil {
		return err
	}
	end := Ending{CombatID: id, Winner: state.Winner, Outcome: state.Outcome, Rewards: rewards, Unpaid: isUnpaid, Version: state.Version}
	if s.cfg.Ended != nil {
		if err := s.cfg.Ended(ctx, end, state.Participants); err != nil {
			return fmt.Errorf("combat %s: tell of the end: %w", id, err)
		}
	}
	s.castToFollowers(ctx, state, "combat:ended", end)
	var ids []string
	for i := range state.Participants {
		p := &state.Participants[i]
		if p.Kind != kindPlayer {
			continue
		}
		ids = append(ids, p.ID)
		// If this fails, the slot is freed when the player needs it: see reserveSlot.
		s.reportCastError(id, s.store.releaseSlots(ctx, p.UserID, id))
	}
	if len(ids) == 2 {
		s.reportCastError(id, s.store.releasePair(ctx, ids[0], ids[1], id))
	}
	return s.store.removeDeadline(ctx, id)
}

// payWinner pays the winner, if there is one, and counts the victory. It returns what was paid.
// isUnpaid reports that nothing was, because the two characters have had their paid victories of
// this day.
func (s *Service) payWinner(ctx context.Context, state *State) (paid Rewards, isUnpaid bool, err error) {
	winner, prize := state.winnerAndPrize()
	none := Rewards{Items: []Item{}}
	if winner == nil {
		return none, false, nil
	}
	if state.isDuel() {
		isPaid, err := s.store.claimPayment(ctx, state.Participants[0].ID, state.Participants[1].ID, state.CombatID,
			time.UnixMilli(state.UpdatedAt), s.cfg.MaxPaidVictories)
		if err != nil || !isPaid {
			return none, true, err
		}
	}
	paid, err = s.payPrize(ctx, state, winner, prize)
	return paid, false, err
}

// payPrize counts a victory and pays the prize. It returns what was paid.
func (s *Service) payPrize(ctx context.Context, state *State, winner *Participant, prize prize) (Rewards, error) {
	none := Rewards{Items: []Item{}}
	key := RoomPrefix + state.CombatID
	if s.cfg.Scorer != nil && prize.points > 0 {
		v := Victory{Key: key, ID: winner.ID, Name: winner.Name, Points: prize.points, At: time.UnixMilli(state.UpdatedAt)}
		err := s.cfg.Scorer.Score(ctx, v)
		switch {
		case isPermanent(err):
			s.cfg.Report(fmt.Errorf("combat %s: the victory can not be counted: %w", state.CombatID, err))
		case err != nil:
			return none, fmt.Errorf("combat %s: score: %w", state.CombatID, err)
		}
	}
	rewards := Rewards{Items: append([]Item{}, prize.items...), Gold: prize.gold}
	if s.cfg.Rewarder == nil || winner.CharacterID == "" || rewards.IsEmpty() {
		return none, nil
	}
	err := s.cfg.Rewarder.Reward(ctx, key, winner.CharacterID, rewards)
	switch {
	case err == nil:
		return rewards, nil
	case isPermanent(err):
		s.cfg.Report(fmt.Errorf("combat %s: the reward can not be paid: %w", state.CombatID, err))
		return none, nil
	}
	return none, fmt.Errorf("combat %s: reward: %w", state.CombatID, err)
}

// isPermanent reports whether a reward or a victory failed for good, so that a repeat would not
// help.
func isPermanent(err error) bool {
	var f *fault.Fault
	if !errors.As(err, &f) {
		return false
	}
	return !errors.Is(f, fault.ErrUnavailable) && !errors.Is(f, fault.ErrTimeout) && !errors.Is(f, fault.ErrLocked)
}
