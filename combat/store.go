package combat

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

var (
	//go:embed replace_state.lua
	replaceStateLua string
	//go:embed claim_due.lua
	claimDueLua string
	//go:embed create_fight.lua
	createFightLua string

	replaceStateScript = redisx.NewScript(replaceStateLua)
	// replaceStateOnceScript is for turns with an idempotency key.
	replaceStateOnceScript = redisx.NewScript(record.Functions + replaceStateLua)
	claimDueScript         = redisx.NewScript(claimDueLua)
	createFightScript      = redisx.NewScript(createFightLua)
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
	// clockSkew is how far the clocks of the servers may differ: 0 for one server.
	clockSkew time.Duration

	report func(error) // of fights that cannot be read
}

// newStore makes a store of fights in rdb. report is told of fights that cannot be read.
func newStore(rdb redis.UniversalClient, ttl time.Duration, report func(error)) store {
	st := store{rdb: rdb, ttl: ttl, report: report}
	if redisx.IsCluster(rdb) {
		st.clockSkew = 10 * time.Second
	}
	return st
}

// createFight writes a new fight, and returns the fight as it is in Redis: another node that goes
// on with the same start may have written it first. notAfter is the time after which it must not
// be written any more, Unix ms by Redis's clock; 0 for none. Code: LOCKED when it is too late.
func (st *store) createFight(ctx context.Context, s State, notAfter int64) (State, error) {
	reply, err := createFightScript.Do(ctx, st.rdb, []string{keys.Combat(s.CombatID)},
		s.Version, s.AppendJSON(nil), strconv.FormatUint(s.Seed, 10), st.ttl.Milliseconds(), notAfter).Slice()
	switch {
	case err != nil:
		return State{}, wrapRedisError(ctx, "create "+s.CombatID, err)
	case len(reply) == 2:
		return decodeState(s.CombatID, reply[0], reply[1])
	}
	return State{}, fault.ErrLocked.With("retryAfterMs", int64(50))
}

// loadFirstState reads the state with which a fight began; of a fight whose log has begun anew
// since, the present state. Code: NOT_FOUND.
func (st *store) loadFirstState(ctx context.Context, id string) (State, error) {
	base, stored, _, err := st.loadStateAndLog(ctx, id)
	if err == nil && base.Version != 1 {
		base = stored
	}
	return base, err
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

// A stateChange replaces the state with the version before next by next.
type stateChange struct {
	next    State
	encoded []byte // next as JSON
	event   Event
	move    Move // that led to next, for the log
	writer  string
	claim   *event.Claim // of the turn's idempotency key; nil without one
}

// replaceState makes a change, and records its answer. If Redis has another version, it changes
// nothing and returns that state as current. If the turn was played before under the same
// idempotency key, it changes nothing and returns the first answer as earlier. The error is
// once.ErrLost when another holder has the claim.
func (st *store) replaceState(ctx context.Context, c stateChange) (changed bool, current State, earlier *Outcome, err error) {
	id, restartLog := c.next.CombatID, "0"
	if c.next.Version%rebaseEvery == 0 {
		restartLog = "1"
	}
	ttl := st.ttl
	if c.next.Status == Ended {
		ttl = max(ttl, unsettledTTL)
	}
	log := appendMove(make([]byte, 0, 24), c.move, c.next.StartedAt)
	script, scriptKeys := replaceStateScript, []string{keys.Combat(id)}
	args := []any{c.next.Version - 1, c.next.Version, c.encoded, log, ttl.Milliseconds(), c.writer, restartLog}
	if c.claim != nil {
		script, scriptKeys = replaceStateOnceScript, append(scriptKeys, c.claim.Record)
		answer := Outcome{Event: c.event, State: c.next}.AppendJSON(make([]byte, 0, 1024))
		args = append(args, once.Args(c.claim, answer)...)
	}
	reply, err := script.Do(ctx, st.rdb, scriptKeys, args...).Result()
	if err != nil {
		return false, State{}, nil, wrapRedisError(ctx, "change "+id, err)
	}
	switch reply := reply.(type) {
	case int64:
		if reply == 0 {
			return false, State{}, nil, fault.ErrNotFound
		}
		if c.claim != nil {
			c.claim.MarkRecorded()
		}
		return true, c.next, nil, nil
	case []any:
		if len(reply) == 2 {
			current, err = decodeState(id, reply[0], reply[1])
			return false, current, nil, err
		}
		if len(reply) == 3 {
			first := &Outcome{}
			check, _ := reply[1].(string)
			text, _ := reply[2].(string)
			err = once.ReadCheck(c.claim, []string{check, text}, first)
			return false, State{}, first, err
		}
	}
	return false, State{}, nil, fmt.Errorf("combat: change %s: unexpected reply %T", id, reply)
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
