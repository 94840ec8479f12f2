package combat

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

var (
	//go:embed replace_state.lua
	replaceStateLua string
	//go:embed claim_due.lua
	claimDueLua string

	replaceStateScript = redisx.NewScript(replaceStateLua)
	claimDueScript     = redisx.NewScript(claimDueLua)
)

const (
	// rebaseEvery is after how many changes a log starts again from the current state, so that it
	// stays short.
	rebaseEvery = 128
	// creationGrace is how old a fight's id must be before a missing fight counts as ended. A younger
	// fight may not have been written yet.
	creationGrace = 10 * time.Second
	// unsettledTTL is how long Redis keeps an ended fight whose winner could not be paid yet.
	unsettledTTL = 24 * time.Hour
)

// store keeps fights in Redis. Each fight is one hash, which only one script changes.
type store struct {
	rdb redis.UniversalClient
	ttl time.Duration // since the last change
}

// createFight writes a new fight.
func (st *store) createFight(ctx context.Context, s State) error {
	key, encoded := keys.Combat(s.CombatID), s.AppendJSON(nil)
	_, err := st.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, "version", s.Version, "state", encoded, "seed", strconv.FormatUint(s.Seed, 10), "base", encoded, "log", "")
		p.PExpire(ctx, key, st.ttl)
		return nil
	})
	return wrapRedisError(ctx, "create "+s.CombatID, err)
}

// loadState reads a fight, or returns NOT_FOUND.
func (st *store) loadState(ctx context.Context, id string) (State, error) {
	found, err := st.rdb.HMGet(ctx, keys.Combat(id), "state", "seed").Result()
	if err != nil {
		return State{}, wrapRedisError(ctx, "load "+id, err)
	}
	if found[0] == nil {
		return State{}, fault.ErrNotFound
	}
	return decodeState(id, found[0], found[1])
}

// replaceState replaces the state with the version before next by next. If Redis has another
// version, it changes nothing and returns that state as current. encoded is next as JSON; m is the
// move that led to it, for the log.
func (st *store) replaceState(ctx context.Context, next State, encoded []byte, m Move, writer string) (changed bool, current State, err error) {
	id, restartLog := next.CombatID, "0"
	if next.Version%rebaseEvery == 0 {
		restartLog = "1"
	}
	ttl := st.ttl
	if next.Status == Ended {
		ttl = max(ttl, unsettledTTL)
	}
	log := appendMove(make([]byte, 0, 24), m, next.StartedAt)
	reply, err := replaceStateScript.Do(ctx, st.rdb, []string{keys.Combat(id)},
		next.Version-1, next.Version, encoded, log, ttl.Milliseconds(), writer, restartLog).Result()
	if err != nil {
		return false, State{}, wrapRedisError(ctx, "change "+id, err)
	}
	switch reply := reply.(type) {
	case int64:
		if reply == 1 {
			return true, next, nil
		}
		return false, State{}, fault.ErrNotFound
	case []any:
		if len(reply) == 2 {
			current, err = decodeState(id, reply[0], reply[1])
			return false, current, err
		}
	}
	return false, State{}, fmt.Errorf("combat: change %s: unexpected reply %T", id, reply)
}

// setDeadline sets the fight's deadline: when a sweep must handle it.
func (st *store) setDeadline(ctx context.Context, id string, at time.Time) error {
	return wrapRedisError(ctx, "set the deadline of "+id, st.rdb.ZAdd(ctx, keys.CombatDeadlines, redis.Z{Score: float64(at.UnixMilli()), Member: id}).Err())
}

// claimDueFights returns at most most fights whose deadline has passed, and moves their deadlines
// to until, so that no other node gets them before.
func (st *store) claimDueFights(ctx context.Context, now, until time.Time, most int) ([]string, error) {
	ids, err := claimDueScript.Do(ctx, st.rdb, []string{keys.CombatDeadlines}, now.UnixMilli(), until.UnixMilli(), most).StringSlice()
	return ids, wrapRedisError(ctx, "find the fights that are due", err)
}

// removeDeadline removes the fight's deadline, because nothing is left to do, and lets the fight
// expire.
func (st *store) removeDeadline(ctx context.Context, id string) error {
	_, err := st.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, keys.CombatDeadlines, id)
		p.PExpire(ctx, keys.Combat(id), st.ttl)
		return nil
	})
	return wrapRedisError(ctx, "remove the deadline of "+id, err)
}

// loadStateAndLog reads a fight: the base state of its log, the stored state and the log.
func (st *store) loadStateAndLog(ctx context.Context, id string) (base, stored State, log string, err error) {
	found, err := st.rdb.HMGet(ctx, keys.Combat(id), "base", "state", "seed", "log").Result()
	if err != nil {
		return State{}, State{}, "", wrapRedisError(ctx, "load the log of "+id, err)
	}
	if found[0] == nil {
		return State{}, State{}, "", fault.ErrNotFound
	}
	if base, err = decodeState(id, found[0], found[2]); err != nil {
		return State{}, State{}, "", err
	}
	stored, err = decodeState(id, found[1], found[2])
	log, _ = found[3].(string)
	return base, stored, log, err
}

// decodeState makes a State of the fields state and seed of a fight's hash.
func decodeState(id string, state, seed any) (State, error) {
	text, _ := state.(string)
	var s State
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return State{}, fmt.Errorf("combat %s: stored state: %w", id, err)
	}
	digits, _ := seed.(string)
	var err error
	if s.Seed, err = strconv.ParseUint(digits, 10, 64); err != nil {
		return State{}, fmt.Errorf("combat %s: stored seed: %w", id, err)
	}
	return s, nil
}

// wrapRedisError wraps an error of Redis with what we were doing. The player is told UNAVAILABLE
// when Redis can not be reached or can not serve, and TIMEOUT when the time of the call ran out.
func wrapRedisError(ctx context.Context, doing string, err error) error {
	return redisx.WrapFault(ctx, "combat", doing, err)
}
