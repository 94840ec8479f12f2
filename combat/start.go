package combat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// The faults of starting a fight.
var (
	ErrOpponentUnavailable = fault.New("COMBAT_OPPONENT_UNAVAILABLE", "That player can not fight now.")
	ErrAlreadyFighting     = fault.New("COMBAT_ALREADY", "You are fighting each other already.")
	ErrTooManyFights       = fault.New("COMBAT_TOO_MANY", "Finish one of your fights first.")
)

// challengeRetryAfter is the retryAfterMs of a challenge whose opponent was not available.
const challengeRetryAfter = 5 * time.Second

// Start begins a fight. In a fight against an NPC, the caller's connection receives the fight's
// events. In a fight against the character of another player, all devices of both users receive
// combat:started and all that follows; the other player must be online, and is not asked for
// consent.
//
// Errors: INVALID, also for a character of the caller's own; NOT_FOUND {npcs} for an unknown NPC,
// NOT_FOUND for an unknown character; COMBAT_TOO_MANY {limit, combats}; COMBAT_ALREADY {combatId};
// COMBAT_OPPONENT_UNAVAILABLE {retryAfterMs} when the other player is not online or has too many
// fights; UNAVAILABLE.
func (s *Service) Start(ctx context.Context, p event.Player, in StartRequest) (State, error) {
	switch {
	case in.NPC == "" && in.OpponentID == "":
		return State{}, fault.Invalid("npc", "npc or opponentId is required")
	case in.NPC != "" && in.OpponentID != "":
		return State{}, fault.Invalid("npc", "either npc or opponentId")
	}
	if _, ok := npcs[in.NPC]; !ok && in.OpponentID == "" {
		return State{}, fault.ErrNotFound.With("npcs", NPCs())
	}
	me, err := s.playerParticipant(ctx, &p)
	if err != nil {
		return State{}, err
	}
	now := s.cfg.Now()
	ticket, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	if err != nil {
		return State{}, fmt.Errorf("combat: id: %w", err)
	}
	id := ticket.String()
	if in.OpponentID != "" {
		return s.startDuel(ctx, id, now, me, in.OpponentID)
	}
	if err := s.store.reserveSlot(ctx, p.UserID, id, now, s.cfg.MaxFights); err != nil {
		return State{}, err
	}
	// If a step below fails, the slot counts as free again after creationGrace.
	state := newFightState(id, s.cfg.Seed(), now.UnixMilli(), me, newNPCParticipant(in.NPC))
	if err := s.storeNewFight(ctx, state); err != nil {
		return State{}, err
	}
	if p.Conn != "" {
		if _, err := s.rooms.Join(ctx, p.Conn, RoomPrefix+id); err != nil {
			return State{}, fmt.Errorf("combat %s: join: %w", id, err)
		}
	}
	return state, nil
}

// storeNewFight stores a new fight. It stores the deadline first, so that every fight has one.
func (s *Service) storeNewFight(ctx context.Context, state State) error {
	if err := s.store.setDeadline(ctx, state.CombatID, time.UnixMilli(state.StartedAt).Add(s.cfg.AbandonAfter)); err != nil {
		return err
	}
	if err := s.store.createFight(ctx, state); err != nil {
		return err
	}
	s.fights.rememberFight(state)
	return nil
}

// playerParticipant makes the participant of the calling player. A player about whose character
// nothing is known gets DefaultStats.
func (s *Service) playerParticipant(ctx context.Context, p *event.Player) (Participant, error) {
	me := Participant{ID: p.CharacterID, Kind: kindPlayer, UserID: p.UserID, CharacterID: p.CharacterID, Name: p.Username, Stats: DefaultStats}
	if me.ID == "" {
		me.ID = p.UserID
	}
	if s.cfg.Characters == nil || p.CharacterID == "" {
		return me, nil
	}
	c, err := s.cfg.Characters.Character(ctx, p.CharacterID)
	switch {
	case err == nil:
		me.Stats = c.Stats
	case !errors.Is(err, fault.ErrNotFound):
		return me, fmt.Errorf("combat: character of %s: %w", p.UserID, err)
	}
	return me, nil
}

// startDuel begins a fight between two players. opponentID is the id of the other's character.
func (s *Service) startDuel(ctx context.Context, id string, now time.Time, me Participant, opponentID string) (State, error) {
	foe, err := s.resolveOpponent(ctx, &me, opponentID)
	if err != nil {
		return State{}, err
	}
	if err := s.store.claimPair(ctx, me.ID, foe.ID, id, now); err != nil {
		return State{}, err
	}
	if err := s.reserveSlots(ctx, id, now, &me, &foe); err != nil {
		return State{}, errors.Join(err, s.store.releasePair(ctx, me.ID, foe.ID, id))
	}
	state := newFightState(id, s.cfg.Seed(), now.UnixMilli(), me, foe)
	if err := s.storeNewFight(ctx, state); err != nil {
		return State{}, err
	}
	s.castToFollowers(ctx, &state, "combat:started", &Started{CombatID: id, State: state})
	return state, nil
}

// resolveOpponent makes the participant of the other player, who must be another user and online.
func (s *Service) resolveOpponent(ctx context.Context, me *Participant, opponentID string) (Participant, error) {
	if opponentID == me.ID {
		return Participant{}, fault.Invalid("opponentId", "a character of somebody else")
	}
	if s.cfg.Characters == nil {
		return Participant{}, fault.ErrNotFound
	}
	c, err := s.cfg.Characters.Character(ctx, opponentID)
	if err != nil {
		return Participant{}, fmt.Errorf("combat: challenge %s: %w", opponentID, err)
	}
	if c.UserID == me.UserID {
		return Participant{}, fault.Invalid("opponentId", "a character of somebody else")
	}
	if s.cfg.Presence != nil {
		online, err := s.cfg.Presence.Online(ctx, c.UserID)
		if err != nil {
			return Participant{}, fmt.Errorf("combat: challenge %s: %w", opponentID, err)
		}
		if !online {
			return Participant{}, ErrOpponentUnavailable.With("retryAfterMs", challengeRetryAfter.Milliseconds())
		}
	}
	return Participant{ID: opponentID, Kind: kindPlayer, UserID: c.UserID, CharacterID: opponentID, Name: c.Name, Stats: c.Stats}, nil
}

// reserveSlots reserves a slot of each player, or none of both.
func (s *Service) reserveSlots(ctx context.Context, id string, now time.Time, me, foe *Participant) error {
	if err := s.store.reserveSlot(ctx, me.UserID, id, now, s.cfg.MaxFights); err != nil {
		return err
	}
	err := s.store.reserveSlot(ctx, foe.UserID, id, now, s.cfg.MaxFights)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrTooManyFights) {
		err = ErrOpponentUnavailable.With("retryAfterMs", challengeRetryAfter.Milliseconds())
	}
	return errors.Join(err, s.store.releaseSlots(ctx, me.UserID, id))
}
