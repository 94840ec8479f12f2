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

// Faults of starting a fight.
var (
	ErrOpponent = fault.New("COMBAT_OPPONENT_UNAVAILABLE", "That player can not fight now.")
	ErrAlready  = fault.New("COMBAT_ALREADY", "You are fighting each other already.")
	ErrTooMany  = fault.New("COMBAT_TOO_MANY", "Finish one of your fights first.")
)

// askAgain is when it may be worth to challenge again who was not there.
const askAgain = 5 * time.Second

// Start begins a fight. Against an NPC the player's connection joins its room. Against the
// character of another player, who must be online and is not asked, both users are sent
// combat:started, and all that happens, on all their devices.
//
// Errors: INVALID, also for a character of one's own; NOT_FOUND for no such NPC or
// character; COMBAT_TOO_MANY {limit, combats}; COMBAT_ALREADY {combatId};
// COMBAT_OPPONENT_UNAVAILABLE {retryAfterMs} when the other is not online or has too many
// fights; UNAVAILABLE.
func (s *Service) Start(ctx context.Context, p event.Player, in Opening) (State, error) {
	switch {
	case in.NPC == "" && in.OpponentID == "":
		return State{}, fault.Invalid("npc", "npc or opponentId is required")
	case in.NPC != "" && in.OpponentID != "":
		return State{}, fault.Invalid("npc", "either npc or opponentId")
	}
	if _, ok := npcs[in.NPC]; !ok && in.OpponentID == "" {
		return State{}, fault.ErrNotFound.With("npcs", NPCs())
	}
	me, err := s.fighter(ctx, &p)
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
		return s.duel(ctx, id, now, me, in.OpponentID)
	}
	if err := s.store.reserve(ctx, p.UserID, id, now, s.cfg.MaxFights); err != nil {
		return State{}, err
	}
	// Should the rest fail, the place is free again after settling.
	state := begin(id, s.cfg.Seed(), now.UnixMilli(), me, opponentOf(in.NPC))
	if err := s.open(ctx, state); err != nil {
		return State{}, err
	}
	if p.Conn != "" {
		if _, err := s.rooms.Join(ctx, p.Conn, RoomPrefix+id); err != nil {
			return State{}, fmt.Errorf("combat %s: join: %w", id, err)
		}
	}
	return state, nil
}

// open stores a new fight, after its deadline: there is none without.
func (s *Service) open(ctx context.Context, state State) error {
	if err := s.store.lookAt(ctx, state.CombatID, time.UnixMilli(state.StartedAt).Add(s.cfg.Abandon)); err != nil {
		return err
	}
	if err := s.store.create(ctx, state); err != nil {
		return err
	}
	s.recent.put(state)
	return nil
}

// fighter is how a player enters a fight. One of whose character nothing is known has the
// usual stats.
func (s *Service) fighter(ctx context.Context, p *event.Player) (Participant, error) {
	me := Participant{ID: p.CharacterID, Kind: kindPlayer, UserID: p.UserID, CharacterID: p.CharacterID, Name: p.Username, Stats: Usual}
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

// duel begins a fight between two players.
func (s *Service) duel(ctx context.Context, id string, now time.Time, me Participant, opponent string) (State, error) {
	foe, err := s.challenged(ctx, &me, opponent)
	if err != nil {
		return State{}, err
	}
	if err := s.store.pair(ctx, me.ID, foe.ID, id, now); err != nil {
		return State{}, err
	}
	if err := s.places(ctx, id, now, &me, &foe); err != nil {
		return State{}, errors.Join(err, s.store.part(ctx, me.ID, foe.ID, id))
	}
	state := begin(id, s.cfg.Seed(), now.UnixMilli(), me, foe)
	if err := s.open(ctx, state); err != nil {
		return State{}, err
	}
	s.cast(ctx, &state, "combat:started", &Started{CombatID: id, State: state})
	return state, nil
}

// challenged is the other player, who must be somebody else and there.
func (s *Service) challenged(ctx context.Context, me *Participant, opponent string) (Participant, error) {
	if opponent == me.ID {
		return Participant{}, fault.Invalid("opponentId", "a character of somebody else")
	}
	if s.cfg.Characters == nil {
		return Participant{}, fault.ErrNotFound
	}
	c, err := s.cfg.Characters.Character(ctx, opponent)
	if err != nil {
		return Participant{}, fmt.Errorf("combat: challenge %s: %w", opponent, err)
	}
	if c.UserID == me.UserID {
		return Participant{}, fault.Invalid("opponentId", "a character of somebody else")
	}
	if s.cfg.Presence != nil {
		online, err := s.cfg.Presence.Online(ctx, c.UserID)
		if err != nil {
			return Participant{}, fmt.Errorf("combat: challenge %s: %w", opponent, err)
		}
		if !online {
			return Participant{}, ErrOpponent.With("retryAfterMs", askAgain.Milliseconds())
		}
	}
	return Participant{ID: opponent, Kind: kindPlayer, UserID: c.UserID, CharacterID: opponent, Name: c.Name, Stats: c.Stats}, nil
}

// places takes one of each player, or none.
func (s *Service) places(ctx context.Context, id string, now time.Time, me, foe *Participant) error {
	if err := s.store.reserve(ctx, me.UserID, id, now, s.cfg.MaxFights); err != nil {
		return err
	}
	err := s.store.reserve(ctx, foe.UserID, id, now, s.cfg.MaxFights)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrTooMany) {
		err = ErrOpponent.With("retryAfterMs", askAgain.Milliseconds())
	}
	return errors.Join(err, s.store.release(ctx, me.UserID, id))
}
