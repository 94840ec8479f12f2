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

// MaxIncoming is how many open challenges to a character there may be. A further one replaces the
// oldest.
const MaxIncoming = 10

// The faults of challenges.
var (
	ErrChallenged    = fault.New("COMBAT_CHALLENGED", "You have challenged that player already.")
	ErrChallengeOver = fault.New("COMBAT_CHALLENGE_OVER", "That challenge is over.")
)

// The values of ChallengeCancelled.Reason.
const (
	Declined = "declined" // by the challenged player
	Replaced = "replaced" // by a newer challenge of somebody else
	Left     = "left"     // the challenger was not online any more when it was accepted
)

const (
	// acceptanceKept is how long Redis remembers an accepted challenge, so that a repeat of the
	// acceptance finds its fight.
	acceptanceKept = 2 * time.Minute
	// acceptWithin is after how long the node that accepts a challenge counts as dead, if there is no
	// fight yet: the time of a handler and a second.
	acceptWithin = 6 * time.Second
)

// Challenged answers combat:start with the id of another player's character, who has to accept.
type Challenged struct {
	ChallengeID string `json:"challengeId"`
	ExpiresInMs int64  `json:"expiresInMs"` // the challenge is over by itself then
}

// Challenger is the player who wants to fight.
type Challenger struct {
	UserID      string `json:"userId"`
	CharacterID string `json:"characterId"` // the user's id when the player has chosen no character
	Name        string `json:"name"`
}

// Challenge is sent to the player whom somebody wants to fight, as the event combat:challenged, and
// again when that player connects meanwhile. combat:accept and combat:decline answer it.
type Challenge struct {
	ChallengeID string     `json:"challengeId"`
	From        Challenger `json:"from"`
	OpponentID  string     `json:"opponentId"`  // the character that was challenged
	ExpiresInMs int64      `json:"expiresInMs"` // the challenge is over by itself then
}

// ChallengeCancelled is sent to both players when a challenge ends without a fight before its time,
// as the event combat:cancelled.
type ChallengeCancelled struct {
	ChallengeID string `json:"challengeId"`
	// Reason is declined: by the challenged player; replaced: by a newer challenge of somebody else;
	// left: the challenger was not online any more when it was accepted.
	Reason string `json:"reason" validate:"oneof=declined replaced left"`
}

// ChallengeAnswer names the challenge to accept or to decline.
type ChallengeAnswer struct {
	ChallengeID string `json:"challengeId" validate:"required,max=64"`
	// IdempotencyKey is the caller's own name for this answer. If it is sent again with the same key,
	// it gets the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// ChallengeDeclined answers combat:decline.
type ChallengeDeclined struct {
	ChallengeID string `json:"challengeId"`
}

// DuelsRequest says whether everybody may begin a fight with the caller. Without open, nothing is
// changed.
type DuelsRequest struct {
	Open *bool `json:"open,omitempty"`
}

// Duels answers combat:duels.
type Duels struct {
	Open bool `json:"open"`
}

// sendChallenge asks another player for a fight. A challenge holds one of its sender's slots while
// it is open, and none of the receiver's. isHidden: the receiver ignores the sender, and is not
// told.
func (s *Service) sendChallenge(ctx context.Context, begun fightStart, me, foe *Participant, isHidden bool) (Challenged, error) {
	if err := s.store.checkPair(ctx, me.ID, foe.ID, begun.now); err != nil {
		return Challenged{}, err
	}
	if err := s.reserveChallengeSlot(ctx, me.UserID, begun.id, begun.now, ""); err != nil {
		return Challenged{}, err
	}
	offer := challengeOffer{
		id: begun.id, opponentID: foe.ID, isHidden: isHidden, lasts: s.cfg.ChallengeFor,
		record: challengeRecord{From: *me, At: begun.now.UnixMilli()}, claim: event.ClaimOf(ctx),
	}
	done, replaced, err := s.store.offerChallenge(ctx, offer)
	if err != nil || done.ChallengeID != begun.id { // refused, or the answer of another attempt
		s.reportCastError(begun.id, s.store.releaseSlots(ctx, me.UserID, begun.id))
		return done, err
	}
	if !isHidden {
		s.castToUser(ctx, foe.UserID, "combat:challenged", offer.record.describe(begun.id, foe.ID, done.ExpiresInMs))
	}
	for id, old := range replaced {
		s.cancelChallenge(ctx, id, old.From.UserID, foe.UserID, Replaced)
	}
	return done, nil
}

// reserveChallengeSlot reserves a slot of the sender of a challenge until the challenge is over.
func (s *Service) reserveChallengeSlot(ctx context.Context, userID, id string, now time.Time, replaces string) error {
	// A slot without a fight counts as free when it is older than creationGrace.
	until := now.Add(s.cfg.ChallengeFor - creationGrace + time.Second)
	return s.store.reserveSlot(ctx, userID, id, now, until, s.cfg.MaxFights, replaces)
}

// cancelChallenge frees the slot of a challenge that has ended without a fight, and tells both
// players.
func (s *Service) cancelChallenge(ctx context.Context, id, senderID, receiverID, reason string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	s.reportCastError(id, s.store.releaseSlots(ctx, senderID, id)) // else it is free when its time is over
	for _, userID := range []string{senderID, receiverID} {
		s.castToUser(ctx, userID, "combat:cancelled", ChallengeCancelled{ChallengeID: id, Reason: reason})
	}
}

// castToUser sends an event to all devices of a user.
func (s *Service) castToUser(ctx context.Context, userID, name string, payload any) {
	if err := s.rooms.CastExcept(ctx, userPrefix+userID, "", name, payload); err != nil {
		s.cfg.Report(fmt.Errorf("combat: tell %s %s: %w", userID, name, err))
	}
}

// Accept begins the fight to which another player has challenged the caller's character. All
// devices of both players receive combat:started and all that follows. Accepting again, also from
// another device, gets the same fight.
//
// Errors: INVALID; COMBAT_CHALLENGE_OVER when there is no such challenge, or it has expired, was
// declined or replaced; COMBAT_TOO_MANY {limit, combats} when the caller has too many fights, and
// COMBAT_ALREADY {combatId}: then the challenge stays open; COMBAT_OPPONENT_UNAVAILABLE
// {retryAfterMs} when the challenger is not online any more, which ends the challenge; LOCKED
// {retryAfterMs} while another device accepts it; UNAVAILABLE.
func (s *Service) Accept(ctx context.Context, p event.Player, in ChallengeAnswer) (State, error) {
	if p.CharacterID == "" || !isCombatID(in.ChallengeID) {
		return State{}, ErrChallengeOver
	}
	ticket, err := ulid.New(ulid.Timestamp(s.cfg.Now()), rand.Reader)
	if err != nil {
		return State{}, fmt.Errorf("combat: id: %w", err)
	}
	accepted, err := s.store.acceptChallenge(ctx, p.CharacterID, in.ChallengeID, ticket.String())
	if err != nil {
		return State{}, err
	}
	if accepted.fightID != ticket.String() { // another attempt was first
		state, err := s.store.loadFirstState(ctx, accepted.fightID)
		switch {
		case err == nil:
			if claim := event.ClaimOf(ctx); claim != nil && claim.IsUncertain {
				s.announceDuel(ctx, &state, in.ChallengeID) // its node may have died before it told anybody
			}
			return state, nil
		case !errors.Is(err, fault.ErrNotFound):
			return State{}, err
		case accepted.age < acceptWithin:
			return State{}, fault.ErrLocked.With("retryAfterMs", int64(100))
		case accepted.age > startWithin+s.store.clockSkew:
			return State{}, ErrChallengeOver
		}
	}
	state, err := s.beginAcceptedFight(ctx, &p, in.ChallengeID, &accepted)
	switch {
	case err == nil:
		s.announceDuel(ctx, &state, in.ChallengeID)
	case errors.Is(err, ErrOpponentUnavailable):
		if isClosed, closeErr := s.store.closeChallenge(ctx, p.CharacterID, in.ChallengeID, accepted.fightID, "D"); isClosed {
			s.cancelChallenge(ctx, in.ChallengeID, accepted.record.From.UserID, p.UserID, Left)
		} else {
			s.reportCastError(in.ChallengeID, closeErr)
		}
	case errors.Is(err, ErrTooManyFights), errors.Is(err, ErrAlreadyFighting):
		_, closeErr := s.store.closeChallenge(ctx, p.CharacterID, in.ChallengeID, accepted.fightID, "O")
		s.reportCastError(in.ChallengeID, closeErr)
	}
	return state, err
}

// beginAcceptedFight begins the fight of an accepted challenge. When it returns a refusal, it has
// left nothing behind, and the slot of the challenge is its sender's as before.
func (s *Service) beginAcceptedFight(ctx context.Context, p *event.Player, challengeID string, accepted *acceptedChallenge) (State, error) {
	now, id, challenger := s.cfg.Now(), accepted.fightID, accepted.record.From
	me, err := s.playerParticipant(ctx, p)
	if err != nil {
		return State{}, err
	}
	if challenger.UserID == p.UserID { // the player of one of the characters has changed
		return State{}, ErrOpponentUnavailable.With("retryAfterMs", challengeRetryAfter.Milliseconds())
	}
	if err := s.checkOnline(ctx, challenger.UserID); err != nil {
		return State{}, err
	}
	if err := s.store.claimPair(ctx, challenger.ID, me.ID, id, now); err != nil {
		return State{}, err
	}
	if err := s.store.reserveSlot(ctx, me.UserID, id, now, now, s.cfg.MaxFights, ""); err != nil {
		return State{}, errors.Join(err, s.store.releasePair(ctx, challenger.ID, me.ID, id))
	}
	if err := s.store.reserveSlot(ctx, challenger.UserID, id, now, now, s.cfg.MaxFights, challengeID); err != nil {
		if errors.Is(err, ErrTooManyFights) {
			err = ErrOpponentUnavailable.With("retryAfterMs", challengeRetryAfter.Milliseconds())
		}
		return State{}, errors.Join(err, s.store.releaseSlots(ctx, me.UserID, id), s.store.releasePair(ctx, challenger.ID, me.ID, id))
	}
	return s.storeNewFight(ctx, newFightState(id, s.cfg.Seed(), now.UnixMilli(), challenger, me), accepted.at+startWithin.Milliseconds())
}

// Decline refuses a challenge, and tells both players combat:cancelled. Declining twice is the same
// as declining once. Errors: INVALID, COMBAT_CHALLENGE_OVER, UNAVAILABLE.
func (s *Service) Decline(ctx context.Context, p event.Player, in ChallengeAnswer) (ChallengeDeclined, error) {
	if p.CharacterID == "" || !isCombatID(in.ChallengeID) {
		return ChallengeDeclined{}, ErrChallengeOver
	}
	done, record, err := s.store.declineChallenge(ctx, p.CharacterID, in.ChallengeID, event.ClaimOf(ctx))
	if err == nil && record != nil {
		s.cancelChallenge(ctx, in.ChallengeID, record.From.UserID, p.UserID, Declined)
	}
	return done, err
}

// SetDuels says whether combat:start of other players begins a fight with the caller at once,
// without a challenge. It holds on all devices until it is changed, and not for players whom the
// caller ignores. Errors: INVALID, UNAVAILABLE.
func (s *Service) SetDuels(ctx context.Context, p event.Player, in DuelsRequest) (Duels, error) {
	if in.Open == nil {
		isOpen, err := s.store.hasOpenDuels(ctx, p.UserID)
		return Duels{Open: isOpen}, err
	}
	return Duels{Open: *in.Open}, s.store.setOpenDuels(ctx, p.UserID, *in.Open)
}
