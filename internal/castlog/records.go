package castlog

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// This file keeps what a connection is and in which rooms, so that its client can go on with it on
// any node, also when the node of the connection has died.

//go:embed records.lua
var recordsLua string

//go:embed take.lua
var takeLua string

//go:embed replay.lua
var replayLua string

//go:embed sweep.lua
var sweepLua string

var (
	recordsScript = redisx.NewScript(recordsLua)
	takeScript    = redisx.NewScript(takeLua)
	replayScript  = redisx.NewScript(replayLua)
	sweepScript   = redisx.NewScript(sweepLua)
)

const (
	takePause = time.Second // a connection that was taken is not taken again for so long
	// deadAfter is without how long a node counts as dead whose records nobody lets expire.
	deadAfter = 15 * time.Second

	sweptRooms = 500 // at which sweep.lua looks in one call
	maxSweeps  = 20
)

var errRecordReply = errors.New("castlog: unexpected reply about records")

// A PID names a connection: the hash of the secret that its client knows.
type PID [16]byte

// HashPID returns the name of the connection whose secret a client presents.
func HashPID(secret string) (p PID) {
	sum := sha256.Sum256([]byte(secret))
	copy(p[:], sum[:])
	return p
}

// String returns the name as keys and logs have it.
func (p PID) String() string { return hex.EncodeToString(p[:]) }

// A RecordChange changes the record of a connection of this node. What it takes is in records.lua.
type RecordChange struct {
	What       string
	PID        PID
	Generation uint32 // of the connection: how often its record was taken before
	Values     []string
}

// What RecordChange.What may be.
const (
	RecordNew     = "new"
	RecordJoin    = "join"
	RecordLeave   = "leave"
	RecordOwner   = "owner"
	RecordHold    = "hold"
	RecordEnd     = "end"
	RecordDrop    = "drop"
	RecordAbandon = "abandon"
	RecordMissed  = "missed"
)

// A ReplacedRecord is a connection of this node with whose record another connection goes on.
type ReplacedRecord struct {
	PID        PID
	Generation uint32
}

// WriteRecords makes changes. replaced are the connections whose changes were not made, because
// other connections go on with their records.
func (l *Log) WriteRecords(ctx context.Context, changes []RecordChange) (replaced []ReplacedRecord, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	args := make([]any, 0, 3+7*len(changes))
	args = append(args, l.base, l.cfg.Node, l.cfg.RecordsKeptFor.Milliseconds())
	for _, c := range changes {
		args = append(args, c.What, c.PID.String(), c.Generation, len(c.Values))
		values := c.Values
		if c.What == RecordNew {
			values = append(slices.Clone(values[:2]), l.markPrivate(values[2:])...)
		}
		for _, v := range values {
			args = append(args, v)
		}
	}
	list, err := recordsScript.Do(ctx, l.cfg.Redis, []string{l.base + "held:" + l.cfg.Node, l.keys[1]}, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("castlog: write records: %w", err)
	}
	for _, text := range list {
		var r ReplacedRecord
		pid, number, _ := strings.Cut(text, ".")
		generation, err := strconv.ParseUint(number, 10, 32)
		if n, decodeErr := hex.Decode(r.PID[:], []byte(pid)); err != nil || decodeErr != nil || n != len(r.PID) || len(pid) != 2*n {
			return nil, errRecordReply
		}
		r.Generation = uint32(generation)
		replaced = append(replaced, r)
	}
	return replaced, nil
}

// A Claimant is a client that wants to go on with a connection.
type Claimant struct {
	PID    PID
	Claim  string   // a name for the claim, without a space: the same one may be made again after an error
	Owner  string   // whom the connection must belong to
	Offset Position // up to which the client has heard everything
	Peers  []string // the other nodes that live
	// PassOver, if not "", is the Taken.Holder of a busy claim whose connection was found dead.
	PassOver string
}

// A Taken is a connection that this node goes on with now.
type Taken struct {
	SocketID   string
	Former     string // the node that had it
	Holder     string // that node and its generation; where the claim is busy, those that have it
	IsEnded    bool   // that node had noticed its end
	Generation uint32
	Rooms      []TakenRoom
}

// A TakenRoom is a room of a connection.
type TakenRoom struct {
	Name     string
	JoinedAt int64
}

// Why a connection cannot be taken yet. take.lua has the other reasons.
const (
	ClaimSettling = "settling"
	ClaimMixed    = "mixed"
	ClaimBusy     = "busy" // TakeRecord tells who has it
)

// TakeRecord takes a connection by one compare-and-set. why is "" when this node has it.
func (l *Log) TakeRecord(ctx context.Context, c Claimant) (t Taken, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pid := c.PID.String()
	args := make([]any, 0, 9+len(c.Peers))
	args = append(args, l.base, l.cfg.Node, pid, c.Owner, string(c.Offset.Epoch[:]), c.Offset.Number, takePause.Milliseconds(), c.Claim, c.PassOver)
	for _, peer := range c.Peers {
		args = append(args, peer)
	}
	list, err := takeScript.Do(ctx, l.cfg.Redis, []string{l.keys[0], l.keys[1], l.base + "conn:" + pid}, args...).Slice()
	if err != nil {
		return t, "", fmt.Errorf("castlog: take a record: %w", err)
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	switch {
	case len(texts) == 1:
		return t, texts[0], nil
	case len(texts) == 3 && texts[0] == ClaimBusy:
		t.SocketID = texts[1]
		t.setHolder(texts[2])
		return t, ClaimBusy, nil
	case len(texts) < 5 || len(texts)%2 == 0:
		return t, "", errRecordReply
	}
	generation, err := strconv.ParseUint(texts[4], 10, 32)
	if err != nil {
		return t, "", errRecordReply
	}
	t = Taken{SocketID: texts[1], IsEnded: texts[3] == "1", Generation: uint32(generation)}
	t.setHolder(texts[2])
	for rest := texts[5:]; len(rest) > 0; rest = rest[2:] {
		joinedAt, err := strconv.ParseInt(rest[1], 10, 64)
		if err != nil {
			return t, "", errRecordReply
		}
		t.Rooms = append(t.Rooms, TakenRoom{rest[0], joinedAt})
	}
	return t, "", nil
}

func (t *Taken) setHolder(holder string) {
	t.Holder = holder
	if i := strings.LastIndexByte(holder, '.'); i > 0 {
		t.Former = holder[:i]
	}
}

// A RoomLog is what the log of a room has.
type RoomLog struct {
	Dropped int64 // the position of the newest entry that it dropped; 0 for none
	Entries []RoomEntry
}

// A RoomEntry is a cast as it was published.
type RoomEntry struct {
	At      Position
	Message []byte
}

// ReadLogs reads the whole logs of rooms, and returns the position up to which they were read.
func (l *Log) ReadLogs(ctx context.Context, rooms []string) (at Position, logs []RoomLog, err error) {
	for len(logs) < len(rooms) {
		some := rooms[len(logs):]
		args := make([]any, 0, 2+len(some))
		args = append(args, l.base, maxReadCall)
		for _, room := range some[:min(len(some), maxReadRooms)] {
			args = append(args, room)
		}
		list, err := replayScript.Do(ctx, l.cfg.Redis, []string{l.keys[0], l.keys[4]}, args...).Slice()
		if err != nil {
			return at, nil, fmt.Errorf("castlog: read logs: %w", err)
		}
		if len(list) < 3 || len(list) > 2+len(some) {
			return at, nil, errReadReply
		}
		epoch, _ := list[0].(string)
		number, _ := list[1].(string)
		read, ok := parsePosition(epoch, number)
		if !ok || len(logs) > 0 && read.Epoch != at.Epoch {
			return at, nil, errReadReply
		}
		if len(logs) == 0 {
			at = read // what came behind it is heard, or comes with the rooms that were read later
		}
		for _, v := range list[2:] {
			log, ok := l.parseRoomLog(v, read.Epoch)
			if !ok {
				return at, nil, errReadReply
			}
			logs = append(logs, log)
		}
	}
	return at, logs, nil
}

// parseRoomLog reads what replay.lua returns for a room. An entry that is no cast makes the log
// useless: something may be lacking.
func (l *Log) parseRoomLog(v any, epoch [epochBytes]byte) (r RoomLog, ok bool) {
	list, _ := v.([]any)
	if len(list) == 0 {
		return r, false
	}
	dropped, _ := list[0].(string)
	var err error
	if r.Dropped, err = strconv.ParseInt(dropped, 10, 64); err != nil {
		return r, false
	}
	for _, v := range list[1:] {
		text, _ := v.(string)
		e, ok := l.parseEntry(text)
		if !ok {
			l.stats.malformed.Add(1)
			r.Dropped = math.MaxInt64
			continue
		}
		if e.at.Epoch != epoch { // of a counter that was lost: no offset of ours is from there
			l.stats.malformed.Add(1)
			continue
		}
		r.Entries = append(r.Entries, RoomEntry{e.at, e.message})
	}
	return r, true
}

// SweepRecords lets the records of nodes expire that have died. isTakenForDead says that others
// have done so with those of this node, which lives.
func (l *Log) SweepRecords(ctx context.Context) (isTakenForDead bool, err error) {
	for range maxSweeps {
		was, _, looked, err := l.sweepRecords(ctx, "0", l.cfg.RecordsKeptFor)
		isTakenForDead = isTakenForDead || was
		if err != nil || looked < sweptRooms {
			return isTakenForDead, err
		}
	}
	return isTakenForDead, nil
}

// ReleaseRecords lets all records of this node expire, because it leaves, or at once, because they
// are not what its connections are.
func (l *Log) ReleaseRecords(ctx context.Context, atOnce bool) error {
	keepFor := l.cfg.RecordsKeptFor
	if atOnce {
		keepFor = time.Millisecond
	}
	for {
		_, expired, _, err := l.sweepRecords(ctx, "1", keepFor)
		if err != nil || expired == 0 {
			return err
		}
	}
}

func (l *Log) sweepRecords(ctx context.Context, leaves string, keepFor time.Duration) (isTakenForDead bool, expired, looked int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := sweepScript.Do(ctx, l.cfg.Redis, []string{l.keys[2], l.keys[1], l.keys[0], l.keys[3], l.keys[4], l.keys[5]},
		l.base, l.cfg.Node, keepFor.Milliseconds(), deadAfter.Milliseconds(), leaves).Slice()
	if err != nil {
		return false, 0, 0, fmt.Errorf("castlog: sweep records: %w", err)
	}
	if len(list) != 3 {
		return false, 0, 0, errRecordReply
	}
	expired, _ = list[1].(int64)
	looked, _ = list[2].(int64)
	return list[0] == "1", expired, looked, nil
}
