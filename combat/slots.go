package combat

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// This file bounds how many fights there are: each player has so many places, and two
// characters fight each other once at a time.

var (
	//go:embed reserve_slot.lua
	reserveLua string
	//go:embed release_pair.lua
	partLua string

	reserveScript = redis.NewScript(reserveLua)
	partScript    = redis.NewScript(partLua)
)

// placesTTL is longer than anybody fights on; a place is given back long before.
const placesTTL = 24 * time.Hour

// reserve takes one of the user's places for a running fight, or is COMBAT_TOO_MANY.
func (st *store) reserve(ctx context.Context, userID, id string, at time.Time, places int) error {
	var held []string
	for range 2 {
		var err error
		held, err = reserveScript.Run(ctx, st.rdb, []string{keys.UserCombats(userID)}, id, at.UnixMilli(), places, placesTTL.Milliseconds()).StringSlice()
		if err != nil {
			return trouble(ctx, "reserve for "+userID, err)
		}
		if len(held) == 0 {
			return nil
		}
		over, err := st.over(ctx, held, at)
		if err != nil {
			return err
		}
		if len(over) == 0 {
			break
		}
		if err := st.release(ctx, userID, over...); err != nil {
			return err
		}
		held = slices.DeleteFunc(held, func(id string) bool { return slices.Contains(over, id) })
	}
	return ErrTooMany.With("limit", places).With("combats", held)
}

// over picks the fights that have ended, or run out of their TTL.
func (st *store) over(ctx context.Context, ids []string, now time.Time) ([]string, error) {
	found := make([]*redis.StringCmd, len(ids))
	_, err := st.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			found[i] = p.HGet(ctx, keys.Combat(id), "state")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, trouble(ctx, "look through fights", err)
	}
	var over []string
	for i, id := range ids {
		var s State
		switch state, err := found[i].Bytes(); {
		case errors.Is(err, redis.Nil):
			if at, err := ulid.Parse(id); err != nil || now.Sub(at.Timestamp()) > settling {
				over = append(over, id)
			}
		case err != nil:
			return nil, trouble(ctx, "look at "+id, err)
		case json.Unmarshal(state, &s) != nil || s.Status == Ended:
			over = append(over, id)
		}
	}
	return over, nil
}

// release gives places back.
func (st *store) release(ctx context.Context, userID string, ids ...string) error {
	return trouble(ctx, "release for "+userID, st.rdb.ZRem(ctx, keys.UserCombats(userID), ids).Err())
}

// running reads the fights that a user is in, the oldest first.
func (st *store) running(ctx context.Context, userID string) ([]State, error) {
	ids, err := st.rdb.ZRange(ctx, keys.UserCombats(userID), 0, -1).Result()
	if err != nil {
		return nil, trouble(ctx, "places of "+userID, err)
	}
	found := make([]*redis.SliceCmd, len(ids))
	_, err = st.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			found[i] = p.HMGet(ctx, keys.Combat(id), "state", "seed")
		}
		return nil
	})
	if err != nil {
		return nil, trouble(ctx, "fights of "+userID, err)
	}
	all := []State{}
	for i, id := range ids {
		fields := found[i].Val()
		if fields[0] == nil {
			continue
		}
		state, err := decode(id, fields[0], fields[1])
		if err != nil {
			return nil, err
		}
		if state.Status == Active {
			all = append(all, state)
		}
	}
	return all, nil
}

// pair says that two characters fight each other in this fight, or is COMBAT_ALREADY.
func (st *store) pair(ctx context.Context, a, b, id string, now time.Time) error {
	key, held := keys.CombatPair(a, b), ""
	for range 2 {
		taken, err := st.rdb.SetNX(ctx, key, id, placesTTL).Result()
		if err != nil {
			return trouble(ctx, "pair "+key, err)
		}
		if taken {
			return nil
		}
		held, err = st.rdb.Get(ctx, key).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return trouble(ctx, "pair "+key, err)
		}
		if held == id { // our own, whose answer was lost
			return nil
		}
		over, err := st.over(ctx, []string{held}, now)
		if err != nil {
			return err
		}
		if len(over) == 0 {
			break
		}
		if err := st.part(ctx, a, b, held); err != nil {
			return err
		}
	}
	return ErrAlready.With("combatId", held)
}

// part says that two characters do not fight each other in this fight any more.
func (st *store) part(ctx context.Context, a, b, id string) error {
	return trouble(ctx, "part "+id, partScript.Run(ctx, st.rdb, []string{keys.CombatPair(a, b)}, id).Err())
}
