package combat

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// A log is the moves since its base state, each "by action target at;": by and target are
// indexes, action its first letter, at the ms since StartedAt. "0a1+1200;0f0+2311;"; "-1t-1+62311;" is a fight that was abandoned.

var letters = map[byte]string{'a': Attack, 'd': Defend, 's': Skill, 'f': Flee, 't': abandon}

// appendMove appends one move to a log.
func appendMove(log []byte, m Move, startedAt int64) []byte {
	log = strconv.AppendInt(log, int64(m.By), 10)
	log = append(log, m.Action[0])
	log = strconv.AppendInt(log, int64(m.Target), 10)
	log = append(log, '+')
	log = strconv.AppendInt(log, m.At-startedAt, 10)
	return append(log, ';')
}

// Replay plays the moves of a log from the state that it starts at. The result is the
// state that was stored with the log, or somebody has changed one of them.
func Replay(base State, log string) (State, error) {
	s := base
	for i := 0; log != ""; i++ {
		entry, rest, ok := strings.Cut(log, ";")
		m, parsed := parseMove(entry, base.StartedAt)
		if !ok || !parsed {
			return State{}, fmt.Errorf("combat %s: log entry %d: not a move", base.CombatID, i)
		}
		next, _, err := Apply(s, m)
		if err != nil {
			return State{}, fmt.Errorf("combat %s: log entry %d: %w", base.CombatID, i, err)
		}
		s, log = next, rest
	}
	return s, nil
}

func parseMove(entry string, startedAt int64) (Move, bool) {
	at := strings.IndexAny(entry, "adsft")
	plus := strings.IndexByte(entry, '+')
	if at < 0 || plus < at {
		return Move{}, false
	}
	by, err1 := strconv.Atoi(entry[:at])
	target, err2 := strconv.Atoi(entry[at+1 : plus])
	offset, err3 := strconv.ParseInt(entry[plus+1:], 10, 64)
	return Move{By: by, Action: letters[entry[at]], Target: target, At: startedAt + offset}, err1 == nil && err2 == nil && err3 == nil
}

// Verify replays a stored fight from its log and returns its state. It is an error when
// that is not the state that is stored: one of them was changed by something else than the
// rules. A log begins at a recent base state, so what is verified are the last turns.
// Errors: NOT_FOUND, UNAVAILABLE, anything else tells what does not fit.
func Verify(ctx context.Context, rdb redis.UniversalClient, id string) (State, error) {
	st := store{rdb: rdb}
	base, stored, log, err := st.history(ctx, id)
	if err != nil {
		return State{}, err
	}
	played, err := Replay(base, log)
	if err != nil {
		return State{}, err
	}
	if !reflect.DeepEqual(played, stored) {
		return State{}, fmt.Errorf("combat %s: version %d is not what its log leads to", id, stored.Version)
	}
	return stored, nil
}
