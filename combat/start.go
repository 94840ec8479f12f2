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
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// The faults of starting a fight.
var (
	ErrOpponentUnavailable = fault.New("COMBAT_OPPONENT_UNAVAILABLE", "That player can not fight now.")
	ErrAlreadyFighting     = fault.New("COMBAT_ALREADY", "You are fighting each other already.")
	ErrTooManyFights       = fault.New("COMBAT_TOO_MANY", "Finish one of your fights first.")
)

// challengeRetryAfter is the retryAfterMs of a challenge whose opponent was not available.
const challengeRetryAfter = 5 * time.Second

// A StartAnswer answers combat:start, with a fight that has begun or with a challenge.
type StartAnswer struct {
	*State
	*Challenged
}

// Start begins a fight against an NPC, whose events the caller's connection receives, or asks the
// player of another character for one. The other player, who must be online, receives
// combat:challenged and has 30 seconds for combat:accept or combat:decline. With a player who let
// all in (combat:duels), the fight begins at once. When a fight between players begins, all devices
// of both receive combat:started and all that follows.
//
// A challenge counts as one of the caller's fights while it is open. If ten others have challenged
// the same character, the oldest of these challenges ends. A player who ignores the caller is not
// told of the challenge.
//
// Errors: INVALID, also for a character of the caller's own; NOT_FOUND {npcs} for an unknown NPC,
// NOT_FOUND for an unknown character; COMBAT_TOO_MANY {limit, combats}; COMBAT_ALREADY {combatId};
// COMBAT_CHALLENGED {challengeId, expiresInMs} when a challenge to that character is open;
// COMBAT_OPPONENT_UNAVAILABLE {retryAfterMs} when the other player is not online, or lets all in
// and has too many fights; UNAVAILABLE.
func (s *Service) Start(ctx context.Context, p event.Player, in StartRequest) (StartAnswer, error) {
	switch {
	case in.NPC == "" && in.OpponentID == "":
		return StartAnswer{}, fault.Invalid("npc", "npc or opponentId is required")
	case in.NPC != "" && in.OpponentID != "":
		return StartAnswer{}, fault.Invalid("npc", "either npc or opponentId")
	}
	if _, ok := npcs[in.NPC]; !ok && in.OpponentID == "" {
		return StartAnswer{}, fault.ErrNotFound.With("npcs", NPCs())
	}
	me, err := s.playerParticipant(ctx, &p)
	if err != nil {
		return StartAnswer{}, err
	}
	begun, err := s.beginStart(ctx, event.ClaimOf(ctx))
	if err != nil {
		return StartAnswer{}, err
	}
	state := begun.existing
	switch {
	case state.CombatID != "": // the node that started it may have died before it told anybody
		s.announceDuel(ctx, &state, "")
	case in.OpponentID != "":
		return s.startOrChallenge(ctx, begun, me, in.OpponentID)
	default:
		if err := s.store.reserveSlot(ctx, p.UserID, begun.id, begun.now, begun.now, s.cfg.MaxFights, ""); err != nil {
			return StartAnswer{}, err
		}
		// If a step below fails, the slot counts as free again after creationGrace.
		state = newFightState(begun.id, s.cfg.Seed(), begun.now.UnixMilli(), me, newNPCParticipant(in.NPC))
		if state, err = s.storeNewFight(ctx, state, begun.notAfter); err != nil {
			return StartAnswer{}, err
		}
	}
	if p.Conn != "" && !state.isDuel() {
		if _, err := s.rooms.Join(ctx, p.Conn, RoomPrefix+state.CombatID); err != nil {
			return StartAnswer{}, fmt.Errorf("combat %s: join: %w", state.CombatID, err)
		}
	}
	return StartAnswer{State: &state}, nil
}

// startOrChallenge begins a fight with a player who let all in, and sends all others a challenge.
// opponentID is the id of the other's character.
func (s *Service) startOrChallenge(ctx context.Context, begun fightStart, me Participant, opponentID string) (StartAnswer, error) {
	foe, err := s.resolveOpponent(ctx, &me, opponentID)
	if err != nil {
		return StartAnswer{}, err
	}
	isIgnored := false
	if s.cfg.Ignores != nil {
		if isIgnored, err = s.cfg.Ignores.Ignores(ctx, foe.UserID, me.UserID); err != nil {
			return StartAnswer{}, wrapRedisError(ctx, "who is ignored by "+foe.UserID, err)
		}
	}
	isOpen := false
	if !isIgnored {
		if isOpen, err = s.store.hasOpenDuels(ctx, foe.UserID); err != nil {
			return StartAnswer{}, err
		}
	}
	if isOpen {
		state, err := s.startDuel(ctx, begun, me, foe)
		return StartAnswer{State: &state}, err
	}
	challenged, err := s.sendChallenge(ctx, begun, &me, &foe, isIgnored)
	return StartAnswer{Challenged: &challenged}, err
}

// startWithin is how long after its id was bound to an idempotency key a fight may be written. It
// is shorter than creationGrace, so that the fight's slots are still its own.
const startWithin = 8 * time.Second

// A fightStart is a start that has begun.
type fightStart struct {
	id       string // of the fight
	now      time.Time
	notAfter int64 // the fight must not be written later, Unix ms by Redis's clock; 0 for no bound
	// existing is the fight, if it was started under the key before; else its CombatID is "".
	existing State
}

// beginStart gives a start its id. claim is that of its idempotency key, nil without one. If a
// start under the same key was begun before, beginStart goes on with its id, so that both can make
// only one fight, and returns the fight if there is one. An id under which no fight can be written
// any more is replaced.
func (s *Service) beginStart(ctx context.Context, claim *event.Claim) (fightStart, error) {
	begun := fightStart{now: s.cfg.Now()}
	ticket, err := ulid.New(ulid.Timestamp(begun.now), rand.Reader)
	if err != nil {
		return begun, fmt.Errorf("combat: id: %w", err)
	}
	begun.id = ticket.String()
	if claim == nil {
		return begun, nil
	}
	replaces := ""
	for range 3 {
		bound, err := redisx.BindID(ctx, s.store.rdb, keys.OnceID(claim.Record), begun.id, replaces, claim.Keep)
		if err != nil {
			return begun, wrapRedisError(ctx, "bind an id to a key", err)
		}
		if !bound.IsNew {
			state, err := s.store.loadFirstState(ctx, bound.ID)
			if err == nil {
				begun.existing = state
				return begun, nil
			}
			if !errors.Is(err, fault.ErrNotFound) {
				return begun, err
			}
			if bound.Age > startWithin+s.store.clockSkew {
				replaces = bound.ID
				continue
			}
		}
		begun.id, begun.notAfter = bound.ID, bound.BoundAt+startWithin.Milliseconds()
		return begun, nil
	}
	return begun, fault.ErrLocked.With("retryAfterMs", int64(50))
}

// storeNewFight stores a new fight, not after a time by Redis's clock, Unix ms, 0 for no bound. It
// stores the deadline first, so that every fight has one. It returns the fight as another node
// stored it, if one was first.
func (s *Service) storeNewFight(ctx context.Context, state State, notAfter int64) (State, error) {
	if err := s.store.setDeadline(ctx, state.CombatID, time.UnixMilli(state.StartedAt).Add(s.cfg.AbandonAfter)); err != nil {
		return State{}, err
	}
	state, err := s.store.createFight(ctx, state, notAfter)
	if err != nil {
		return State{}, err
	}
	s.fights.rememberFight(state)
	return state, nil
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

// startDuel begins a fight between two players, of whom the other let all in.
func (s *Service) startDuel(ctx context.Context, begun fightStart, me, foe Participant) (State, error) {
	id, now := begun.id, begun.now
	if err := s.store.claimPair(ctx, me.ID, foe.ID, id, now); err != nil {
		return State{}, err
	}
	if err := s.reserveSlots(ctx, id, now, &me, &foe); err != nil {
		return State{}, errors.Join(err, s.store.releasePair(ctx, me.ID, foe.ID, id))
	}
	state, err := s.storeNewFight(ctx, newFightState(id, s.cfg.Seed(), now.UnixMilli(), me, foe), begun.notAfter)
	if err != nil {
		return State{}, err
	}
	s.announceDuel(ctx, &state, "")
	return state, nil
}

// announceDuel sends combat:started to both users of a fight between players. challengeID is that
// of the challenge that was accepted, "" without one.
func (s *Service) announceDuel(ctx context.Context, state *State, challengeID string) {
	if state.isDuel() {
		s.castToFollowers(ctx, state, "combat:started", &Started{CombatID: state.CombatID, ChallengeID: challengeID, State: *state})
	}
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
	if err := s.checkOnline(ctx, c.UserID); err != nil {
		return Participant{}, err
	}
	return Participant{ID: opponentID, Kind: kindPlayer, UserID: c.UserID, CharacterID: opponentID, Name: c.Name, Stats: c.Stats}, nil
}

// checkOnline returns COMBAT_OPPONENT_UNAVAILABLE when a user is not online.
func (s *Service) checkOnline(ctx context.Context, userID string) error {
	if s.cfg.Presence == nil {
		return nil
	}
	isOnline, err := s.cfg.Presence.Online(ctx, userID)
	if err != nil {
		return fmt.Errorf("combat: is %s online: %w", userID, err)
	}
	if !isOnline {
		return ErrOpponentUnavailable.With("retryAfterMs", challengeRetryAfter.Milliseconds())
	}
	return nil
}

// reserveSlots reserves a slot of each player, or none of both.
func (s *Service) reserveSlots(ctx context.Context, id string, now time.Time, me, foe *Participant) error {
	if err := s.store.reserveSlot(ctx, me.UserID, id, now, now, s.cfg.MaxFights, ""); err != nil {
		return err
	}
	err := s.store.reserveSlot(ctx, foe.UserID, id, now, now, s.cfg.MaxFights, "")
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrTooManyFights) {
		err = ErrOpponentUnavailable.With("retryAfterMs", challengeRetryAfter.Milliseconds())
	}
	return errors.Join(err, s.store.releaseSlots(ctx, me.UserID, id))
}
