package combat

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// A log lists the moves since its base state. Each entry is "by action target + at ;" without
// spaces: by and target are indexes of participants, action is the first letter of its name, at is
// in ms since StartedAt. Two entries: "0a1+1200;0f0+2311;". An abandoned fight: "-1t-1+62311;".

// actionsByLetter has the actions by the letters that stand for them in a log.
var actionsByLetter = map[byte]string{'a': Attack, 'd': Defend, 's': Skill, 'f': Flee, 't': timeoutAction}

// appendMove appends the entry of a move to a log.
func appendMove(log []byte, m Move, startedAt int64) []byte {
	log = strconv.AppendInt(log, int64(m.By), 10)
	log = append(log, m.Action[0])
	log = strconv.AppendInt(log, int64(m.Target), 10)
	log = append(log, '+')
	log = strconv.AppendInt(log, m.At-startedAt, 10)
	return append(log, ';')
}

// Replay plays the moves of a log from its base state and returns the state that they lead to. If
// that is not the state that was stored with the log, then the state or the log was changed by
// something else than the rules.
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
	return Move{By: by, Action: actionsByLetter[entry[at]], Target: target, At: startedAt + offset}, err1 == nil && err2 == nil && err3 == nil
}

// Verify reads a fight from Redis, replays its log and returns the stored state. It returns an
// error when the log leads to another state: then the state or the log was changed by something
// else than the rules. A log begins at a recent base state, so Verify checks the last turns only.
//
// Errors: NOT_FOUND, UNAVAILABLE; any other error says what does not match.
func Verify(ctx context.Context, rdb redis.UniversalClient, id string) (State, error) {
	st := store{rdb: rdb}
	base, stored, log, err := st.loadStateAndLog(ctx, id)
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
