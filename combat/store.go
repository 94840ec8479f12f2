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
	changeLua string
	//go:embed claim_due.lua
	dueLua string

	changeScript = redis.NewScript(changeLua)
	dueScript    = redis.NewScript(dueLua)
)

const (
	// rebase is after how many changes the log starts anew, so that it stays short.
	rebase = 128
	// settling is how long a place may be held by a fight that is not there yet.
	settling = 10 * time.Second
	// unsettled is for how long an ended fight is kept whose winner could not be paid yet.
	unsettled = 24 * time.Hour
)

// store keeps fights in Redis: each is one hash, and changed by one script only.
type store struct {
	rdb redis.UniversalClient
	ttl time.Duration // since the last change
}

func (st *store) create(ctx context.Context, s State) error {
	key, encoded := keys.Combat(s.CombatID), s.AppendJSON(nil)
	_, err := st.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, "version", s.Version, "state", encoded, "seed", strconv.FormatUint(s.Seed, 10), "base", encoded, "log", "")
		p.PExpire(ctx, key, st.ttl)
		return nil
	})
	return trouble(ctx, "create "+s.CombatID, err)
}

// load reads a fight; one that is not there is NOT_FOUND.
func (st *store) load(ctx context.Context, id string) (State, error) {
	found, err := st.rdb.HMGet(ctx, keys.Combat(id), "state", "seed").Result()
	if err != nil {
		return State{}, trouble(ctx, "load "+id, err)
	}
	if found[0] == nil {
		return State{}, fault.ErrNotFound
	}
	return decode(id, found[0], found[1])
}

// change puts next in the place of the state with the version before it. When that is not
// the state in Redis any more, nothing is changed, and current is the one that is.
func (st *store) change(ctx context.Context, next State, encoded []byte, m Move, writer string) (changed bool, current State, err error) {
	id, anew := next.CombatID, "0"
	if next.Version%rebase == 0 {
		anew = "1"
	}
	ttl := st.ttl
	if next.Status == Ended {
		ttl = max(ttl, unsettled)
	}
	log := appendMove(make([]byte, 0, 24), m, next.StartedAt)
	reply, err := changeScript.Run(ctx, st.rdb, []string{keys.Combat(id)},
		next.Version-1, next.Version, encoded, log, ttl.Milliseconds(), writer, anew).Result()
	if err != nil {
		return false, State{}, trouble(ctx, "change "+id, err)
	}
	switch reply := reply.(type) {
	case int64:
		if reply == 1 {
			return true, next, nil
		}
		return false, State{}, fault.ErrNotFound
	case []any:
		if len(reply) == 2 {
			current, err = decode(id, reply[0], reply[1])
			return false, current, err
		}
	}
	return false, State{}, fmt.Errorf("combat: change %s: strange reply %T", id, reply)
}

// lookAt says when the fight's deadline is.
func (st *store) lookAt(ctx context.Context, id string, at time.Time) error {
	return trouble(ctx, "deadline of "+id, st.rdb.ZAdd(ctx, keys.CombatDeadlines, redis.Z{Score: float64(at.UnixMilli()), Member: id}).Err())
}

// due takes on fights whose deadline has come: until then, nobody else does.
func (st *store) due(ctx context.Context, now, until time.Time, most int) ([]string, error) {
	ids, err := dueScript.Run(ctx, st.rdb, []string{keys.CombatDeadlines}, now.UnixMilli(), until.UnixMilli(), most).StringSlice()
	return ids, trouble(ctx, "look for deadlines", err)
}

// settled takes a fight from the deadlines: nothing is to be done about it any more.
func (st *store) settled(ctx context.Context, id string) error {
	_, err := st.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, keys.CombatDeadlines, id)
		p.PExpire(ctx, keys.Combat(id), st.ttl)
		return nil
	})
	return trouble(ctx, "settled "+id, err)
}

// history reads a fight, the state that its log begins at, and the log.
func (st *store) history(ctx context.Context, id string) (base, stored State, log string, err error) {
	found, err := st.rdb.HMGet(ctx, keys.Combat(id), "base", "state", "seed", "log").Result()
	if err != nil {
		return State{}, State{}, "", trouble(ctx, "history of "+id, err)
	}
	if found[0] == nil {
		return State{}, State{}, "", fault.ErrNotFound
	}
	if base, err = decode(id, found[0], found[2]); err != nil {
		return State{}, State{}, "", err
	}
	stored, err = decode(id, found[1], found[2])
	log, _ = found[3].(string)
	return base, stored, log, err
}

func decode(id string, state, seed any) (State, error) {
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

// trouble says what went wrong with Redis: when it can not serve, or can not be reached,
// the player is told UNAVAILABLE; when the caller's time ran out, that is the error.
func trouble(ctx context.Context, doing string, err error) error {
	return redisx.WrapFault(ctx, "combat", doing, err)
}
