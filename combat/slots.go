package combat

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// This file limits the number of fights: a user has Config.MaxFights slots, each held by a running
// fight or by an open challenge that the user sent, and two characters can have only one fight
// against each other at a time.

var (
	//go:embed reserve_slot.lua
	reserveSlotLua string
	//go:embed release_pair.lua
	releasePairLua string

	reserveSlotScript = redisx.NewScript(reserveSlotLua)
	releasePairScript = redisx.NewScript(releasePairLua)
)

// slotsTTL is longer than any fight lasts; normally a slot is released long before.
const slotsTTL = 24 * time.Hour

// A heldSlot is a slot that a fight or a challenge holds since a time, Unix ms.
type heldSlot struct {
	id    string
	since int64
}

// reserveSlot reserves one of the user's slots for a new fight, which starts at a time. If there is
// no fight creationGrace later, the slot counts as free. When all slots are held, reserveSlot frees
// those whose fights have ended and tries once more. replaces is the id whose slot the fight takes
// over, "" for none. It returns COMBAT_TOO_MANY when none is free.
func (st *store) reserveSlot(ctx context.Context, userID, id string, now, start time.Time, slots int, replaces string) error {
	var held []string
	for range 2 {
		reply, err := reserveSlotScript.Do(ctx, st.rdb, []string{keys.UserCombats(userID)},
			id, start.UnixMilli(), slots, slotsTTL.Milliseconds(), replaces).StringSlice()
		if err != nil {
			return wrapRedisError(ctx, "reserve a slot of "+userID, err)
		}
		if len(reply) == 0 {
			return nil
		}
		held = held[:0]
		var candidates []heldSlot
		for i := 0; i+1 < len(reply); i += 2 {
			since, _ := strconv.ParseFloat(reply[i+1], 64)
			held, candidates = append(held, reply[i]), append(candidates, heldSlot{reply[i], int64(since)})
		}
		ended, err := st.findEnded(ctx, candidates, now)
		if err != nil {
			return err
		}
		if len(ended) == 0 {
			break
		}
		if err := st.releaseSlots(ctx, userID, ended...); err != nil {
			return err
		}
		held = slices.DeleteFunc(held, func(id string) bool { return slices.Contains(ended, id) })
	}
	return ErrTooManyFights.With("limit", slots).With("combats", held)
}

// findEnded returns those that hold their slots in vain: their fights have ended, or are not there.
func (st *store) findEnded(ctx context.Context, slots []heldSlot, now time.Time) ([]string, error) {
	found := make([]*redis.StringCmd, len(slots))
	_, err := st.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, slot := range slots {
			found[i] = p.HGet(ctx, keys.Combat(slot.id), "state")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
		return nil, wrapRedisError(ctx, "find the fights that ended", err)
	}
	var ended []string
	for i, slot := range slots {
		id := slot.id
		var s State
		switch state, err := found[i].Bytes(); {
		case errors.Is(err, redis.Nil):
			if now.Sub(time.UnixMilli(slot.since)) > creationGrace {
				ended = append(ended, id)
			}
		case isWrongType(err): // no fight
			ended = append(ended, id)
		case err != nil:
			return nil, wrapRedisError(ctx, "has "+id+" ended", err)
		case json.Unmarshal(state, &s) != nil || s.Status == Ended:
			ended = append(ended, id)
		}
	}
	return ended, nil
}

// releaseSlots frees the user's slots that these fights hold.
func (st *store) releaseSlots(ctx context.Context, userID string, ids ...string) error {
	return wrapRedisError(ctx, "release slots of "+userID, st.rdb.ZRem(ctx, keys.UserCombats(userID), ids).Err())
}

// isWrongType reports whether a key holds something of another type than ours.
func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

// loadRunning reads the running fights of a user, oldest first. A fight that cannot be read is left
// out and reported.
func (st *store) loadRunning(ctx context.Context, userID string) ([]State, error) {
	ids, err := st.rdb.ZRange(ctx, keys.UserCombats(userID), 0, -1).Result()
	if err != nil {
		return nil, wrapRedisError(ctx, "slots of "+userID, err)
	}
	found := make([]*redis.SliceCmd, len(ids))
	_, err = st.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			found[i] = p.HMGet(ctx, keys.Combat(id), "state", "seed")
		}
		return nil
	})
	if err != nil && !isWrongType(err) {
		return nil, wrapRedisError(ctx, "fights of "+userID, err)
	}
	all := []State{}
	for i, id := range ids {
		fields, err := found[i].Result()
		if err != nil && !isWrongType(err) {
			return nil, wrapRedisError(ctx, "fights of "+userID, err)
		}
		var state State
		if err == nil {
			if fields[0] == nil {
				continue
			}
			state, err = decodeState(id, fields[0], fields[1])
		}
		if err != nil {
			st.report(&redisx.UnreadableError{Key: keys.Combat(id), Err: err})
			continue
		}
		if state.Status == Active {
			all = append(all, state)
		}
	}
	return all, nil
}

// claimPair records that two characters fight each other in this fight. It returns COMBAT_ALREADY
// when they have another running fight.
func (st *store) claimPair(ctx context.Context, a, b, id string, now time.Time) error {
	key, held := keys.CombatPair(a, b), ""
	for range 2 {
		taken, err := st.rdb.SetNX(ctx, key, id, slotsTTL).Result()
		if err != nil {
			return wrapRedisError(ctx, "pair "+key, err)
		}
		if taken {
			return nil
		}
		held, err = st.rdb.Get(ctx, key).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return wrapRedisError(ctx, "pair "+key, err)
		}
		if held == id { // the first SET succeeded, its answer was lost, and go-redis sent it again
			return nil
		}
		isFree, err := st.freeEndedPair(ctx, a, b, held, now)
		if err != nil {
			return err
		}
		if !isFree {
			break
		}
	}
	return ErrAlreadyFighting.With("combatId", held)
}

// freeEndedPair removes the record that two characters fight each other in this fight, if the fight
// has ended.
func (st *store) freeEndedPair(ctx context.Context, a, b, id string, now time.Time) (isFree bool, err error) {
	slot := heldSlot{id: id}
	if at, err := ulid.Parse(id); err == nil {
		slot.since = at.Timestamp().UnixMilli()
	}
	ended, err := st.findEnded(ctx, []heldSlot{slot}, now)
	if err != nil || len(ended) == 0 {
		return false, err
	}
	return true, st.releasePair(ctx, a, b, id)
}

// checkPair returns COMBAT_ALREADY when two characters have a running fight against each other.
func (st *store) checkPair(ctx context.Context, a, b string, now time.Time) error {
	held, err := st.rdb.Get(ctx, keys.CombatPair(a, b)).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case err != nil:
		return wrapRedisError(ctx, "pair "+keys.CombatPair(a, b), err)
	}
	if isFree, err := st.freeEndedPair(ctx, a, b, held, now); err != nil || isFree {
		return err
	}
	return ErrAlreadyFighting.With("combatId", held)
}

// releasePair removes the record that two characters fight each other in this fight.
func (st *store) releasePair(ctx context.Context, a, b, id string) error {
	return wrapRedisError(ctx, "release the pair of "+id, releasePairScript.Do(ctx, st.rdb, []string{keys.CombatPair(a, b)}, id).Err())
}
