package combat

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// This file keeps challenges in Redis. All challenges to a character are one hash, so that one
// script decides what becomes of each: of an acceptance, a refusal and a replacement at the same
// time, one wins.

var (
	//go:embed challenges.lua
	challengesLua string
	//go:embed offer_challenge.lua
	offerChallengeLua string
	//go:embed accept_challenge.lua
	acceptChallengeLua string
	//go:embed close_challenge.lua
	closeChallengeLua string
	//go:embed list_challenges.lua
	listChallengesLua string

	offerChallengeScript  = redisx.NewScript(record.Functions + challengesLua + offerChallengeLua)
	acceptChallengeScript = redisx.NewScript(challengesLua + acceptChallengeLua)
	closeChallengeScript  = redisx.NewScript(record.Functions + challengesLua + closeChallengeLua)
	listChallengesScript  = redisx.NewScript(challengesLua + listChallengesLua)
)

// A challengeRecord is what Redis keeps of a challenge: who would fight.
type challengeRecord struct {
	From Participant `json:"from"`
	At   int64       `json:"at"` // when it was sent, Unix ms
}

// describe returns the challenge as the challenged player sees it.
func (r *challengeRecord) describe(id, opponentID string, expiresInMs int64) Challenge {
	return Challenge{
		ChallengeID: id, From: Challenger{UserID: r.From.UserID, CharacterID: r.From.ID, Name: r.From.Name},
		OpponentID: opponentID, ExpiresInMs: expiresInMs,
	}
}

// A challengeOffer is a new challenge.
type challengeOffer struct {
	id, opponentID string
	isHidden       bool // from the challenged player
	lasts          time.Duration
	record         challengeRecord
	claim          *event.Claim // of the idempotency key; nil without one
}

// offerChallenge adds a challenge to those of a character, and records the answer. It returns the
// challenges that it replaced, by id. If the sender has sent it before under the same idempotency
// key, it changes nothing and returns the first answer. Code: COMBAT_CHALLENGED.
func (st *store) offerChallenge(ctx context.Context, o challengeOffer) (done Challenged, replaced map[string]challengeRecord, err error) {
	text, err := json.Marshal(&o.record)
	if err != nil {
		return done, nil, fmt.Errorf("combat: challenge %s: %w", o.id, err)
	}
	state := "O"
	if o.isHidden {
		state = "H"
	}
	done = Challenged{ChallengeID: o.id, ExpiresInMs: o.lasts.Milliseconds()}
	scriptKeys, args := []string{keys.CharacterChallenges(o.opponentID)}, []any{o.id, o.record.From.ID, text, done.ExpiresInMs, state, MaxIncoming}
	if o.claim != nil {
		answer, err := json.Marshal(done)
		if err != nil {
			return done, nil, fmt.Errorf("combat: challenge %s: %w", o.id, err)
		}
		scriptKeys, args = append(scriptKeys, o.claim.Record), append(args, once.Args(o.claim, answer)...)
	}
	reply, err := offerChallengeScript.Do(ctx, st.rdb, scriptKeys, args...).StringSlice()
	switch {
	case err != nil:
		return Challenged{}, nil, wrapRedisError(ctx, "challenge "+o.opponentID, err)
	case len(reply) == 3 && reply[0] == "once":
		err := once.ReadCheck(o.claim, reply[1:], &done)
		return done, nil, err
	case len(reply) == 3 && reply[0] == "again":
		left, _ := strconv.ParseInt(reply[2], 10, 64)
		return Challenged{}, nil, ErrChallenged.With("challengeId", reply[1]).With("expiresInMs", left)
	case len(reply) < 2 || reply[0] != "ok":
		return Challenged{}, nil, fmt.Errorf("combat: challenge %s: unexpected reply %q", o.opponentID, reply)
	}
	if o.claim != nil {
		o.claim.MarkRecorded()
	}
	replaced = map[string]challengeRecord{}
	for i := 2; i+1 < len(reply); i += 2 {
		var old challengeRecord
		if err := json.Unmarshal([]byte(reply[i+1]), &old); err != nil {
			st.report(&redisx.UnreadableError{Key: keys.CharacterChallenges(o.opponentID), Entry: reply[i], Err: err})
			continue
		}
		replaced[reply[i]] = old
	}
	return done, replaced, nil
}

// An acceptedChallenge is a challenge that was accepted, by this attempt or an earlier one.
type acceptedChallenge struct {
	fightID string
	at      int64         // when it was accepted, Unix ms by Redis's clock
	age     time.Duration // how long ago that was
	record  challengeRecord
}

// acceptChallenge accepts a challenge to a character for the fight with that id, unless it was
// accepted for another one before. Code: COMBAT_CHALLENGE_OVER.
func (st *store) acceptChallenge(ctx context.Context, characterID, id, fightID string) (a acceptedChallenge, err error) {
	reply, err := acceptChallengeScript.Do(ctx, st.rdb, []string{keys.CharacterChallenges(characterID)},
		id, fightID, acceptanceKept.Milliseconds()).StringSlice()
	if err != nil {
		return a, wrapRedisError(ctx, "accept "+id, err)
	}
	if len(reply) != 4 {
		return a, ErrChallengeOver
	}
	age, _ := strconv.ParseInt(reply[1], 10, 64)
	a.fightID, a.age = reply[0], time.Duration(age)*time.Millisecond
	a.at, _ = strconv.ParseInt(reply[2], 10, 64)
	if err := json.Unmarshal([]byte(reply[3]), &a.record); err != nil {
		return a, fmt.Errorf("combat: challenge %s: stored record: %w", id, err)
	}
	return a, nil
}

// closeChallenge ends (D) a challenge that was accepted for a fight, or opens it again (O). It
// reports whether it did.
func (st *store) closeChallenge(ctx context.Context, characterID, id, fightID, state string) (isClosed bool, err error) {
	reply, err := closeChallengeScript.Do(ctx, st.rdb, []string{keys.CharacterChallenges(characterID)}, id, fightID, state).StringSlice()
	return len(reply) == 2, wrapRedisError(ctx, "close "+id, err)
}

// declineChallenge ends an open challenge to a character, and records the answer. record is nil
// when it was declined before. Code: COMBAT_CHALLENGE_OVER.
func (st *store) declineChallenge(
	ctx context.Context, characterID, id string, claim *event.Claim,
) (done ChallengeDeclined, record *challengeRecord, err error) {
	done.ChallengeID = id
	scriptKeys, args := []string{keys.CharacterChallenges(characterID)}, []any{id, "", "D"}
	if claim != nil {
		answer, err := json.Marshal(done)
		if err != nil {
			return done, nil, fmt.Errorf("combat: decline %s: %w", id, err)
		}
		scriptKeys, args = append(scriptKeys, claim.Record), append(args, once.Args(claim, answer)...)
	}
	reply, err := closeChallengeScript.Do(ctx, st.rdb, scriptKeys, args...).StringSlice()
	switch {
	case err != nil:
		return done, nil, wrapRedisError(ctx, "decline "+id, err)
	case len(reply) == 3 && reply[0] == "once":
		return done, nil, once.ReadCheck(claim, reply[1:], &done)
	case len(reply) == 1 && reply[0] == "done":
		return done, nil, nil
	case len(reply) != 2:
		return ChallengeDeclined{}, nil, ErrChallengeOver
	}
	if claim != nil {
		claim.MarkRecorded()
	}
	record = &challengeRecord{}
	if err := json.Unmarshal([]byte(reply[1]), record); err != nil {
		return done, nil, fmt.Errorf("combat: challenge %s: stored record: %w", id, err)
	}
	return done, record, nil
}

// listChallenges reads the open challenges to each of these characters, in one round trip. What
// cannot be read is reported and left out.
func (st *store) listChallenges(ctx context.Context, characterIDs []string) ([][]Challenge, error) {
	calls := make([]*redisx.Call, len(characterIDs))
	for i, id := range characterIDs {
		calls[i] = &redisx.Call{Script: listChallengesScript, Keys: []string{keys.CharacterChallenges(id)}}
	}
	redisx.RunScripts(ctx, st.rdb, calls...)
	all := make([][]Challenge, len(calls))
	var failed error
	for i, c := range calls {
		reply, err := c.StringSlice()
		if err != nil {
			failed = errors.Join(failed, wrapRedisError(ctx, "challenges to "+characterIDs[i], err))
			continue
		}
		for j := 0; j+2 < len(reply); j += 3 {
			var r challengeRecord
			if err := json.Unmarshal([]byte(reply[j+2]), &r); err != nil {
				st.report(&redisx.UnreadableError{Key: keys.CharacterChallenges(characterIDs[i]), Entry: reply[j], Err: err})
				continue
			}
			left, _ := strconv.ParseInt(reply[j+1], 10, 64)
			all[i] = append(all[i], r.describe(reply[j], characterIDs[i], left))
		}
	}
	return all, failed
}

// openDuels is the value of the key of a user who lets all in.
const openDuels = "open"

// hasOpenDuels reports whether everybody may begin a fight with a user.
func (st *store) hasOpenDuels(ctx context.Context, userID string) (bool, error) {
	value, err := st.rdb.Get(ctx, keys.UserDuels(userID)).Result()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return value == openDuels, wrapRedisError(ctx, "duels of "+userID, err)
}

func (st *store) setOpenDuels(ctx context.Context, userID string, isOpen bool) error {
	if !isOpen {
		return wrapRedisError(ctx, "close the duels of "+userID, st.rdb.Del(ctx, keys.UserDuels(userID)).Err())
	}
	return wrapRedisError(ctx, "open the duels of "+userID, st.rdb.Set(ctx, keys.UserDuels(userID), openDuels, 0).Err())
}
