package castlog

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/aeturnis/realtime/internal/redisx"
)

//go:embed read.lua
var readLua string

var readScript = redisx.NewScript(readLua)

// Bounds of reading what was missed.
const (
	maxReadRooms = 1000    // in one call
	maxReadCall  = 4 << 20 // bytes after which a call reads no further room
	maxReadBytes = 64 << 20
)

var errReadReply = errors.New("castlog: unexpected reply to a read")

// A readResult is what CatchUp has read.
type readResult struct {
	at      Position // everything up to here was read
	isCut   bool     // something may be lacking
	entries []heldMessage
}

// CatchUp reads what was cast to the rooms since the last position that was heard, delivers it in
// its order with what has come meanwhile, and ends BeginCatchUp, unless that was called again since
// the generation. isMissed means that something may be lacking. The subscriptions to the rooms must
// be in force.
func (l *Log) CatchUp(ctx context.Context, generation int, rooms []string) (isMissed bool, err error) {
	h := &l.heard
	for {
		h.mu.Lock()
		from, wasEmpty := h.at, h.wasEmpty
		h.isOverflown = false
		h.mu.Unlock()
		read, err := l.readRooms(ctx, from, wasEmpty, rooms)
		if err != nil {
			return false, err
		}
		h.mu.Lock()
		if h.isOverflown && h.at == from { // what came meanwhile stands in the logs
			h.mu.Unlock()
			continue
		}
		l.deliverRead(from, read)
		h.isCatchingUp = h.generation != generation
		h.mu.Unlock()
		l.stats.catchUps.Add(1)
		if read.isCut {
			l.stats.missed.Add(1)
		}
		return read.isCut, nil
	}
}

// deliverRead delivers what was read and what was held back. heard.mu is held.
func (l *Log) deliverRead(from Position, read readResult) {
	h := &l.heard
	delete(h.foreign, read.at.Epoch)
	all := read.entries
	wasRead := map[int64]bool{}
	for _, e := range all {
		wasRead[e.at.Number] = true
	}
	for _, e := range h.held {
		isLater := from.Epoch != read.at.Epoch || e.at.Number > from.Number
		switch {
		case wasRead[e.at.Number] && e.at.Epoch == read.at.Epoch, h.isFormer(e.at):
		case e.at.Epoch != read.at.Epoch:
			h.noteForeign(e.at.Epoch)
			l.deliverOnce(e, h.at)
		case e.at.Number > read.at.Number+maxLeap:
			l.stats.malformed.Add(1)
		case isLater:
			wasRead[e.at.Number] = true // it may have come on two channels
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b heldMessage) int { return int(a.at.Number - b.at.Number) })
	h.held, h.heldBytes = nil, 0
	h.wasEmpty = read.at.IsZero()
	h.moveTo(read.at)
	for _, e := range all {
		h.moveTo(Position{h.at.Epoch, max(h.at.Number, e.at.Number)})
		l.deliverOnce(e, e.at)
	}
	l.stats.caughtUp.Add(int64(len(read.entries)))
}

// readRooms reads the logs of rooms from a position on. wasEmpty means that there was no log at the
// last read.
func (l *Log) readRooms(ctx context.Context, from Position, wasEmpty bool, rooms []string) (r readResult, err error) {
	bytes := 0
	seen := map[int64]bool{}
	for isFirst := true; isFirst || len(rooms) > 0; isFirst = false {
		head, entries, err := l.readSomeRooms(ctx, from.Number, rooms[:min(len(rooms), maxReadRooms)])
		switch {
		case err != nil:
			return r, err
		case isFirst && from.IsZero() && (!wasEmpty || head.at.IsZero()): // this node has just come
			return readResult{at: head.at}, nil
		case isFirst && from.IsZero(): // the log has begun meanwhile
			r.at, from = head.at, Position{Epoch: head.at.Epoch}
		case isFirst && from.Epoch != head.at.Epoch: // everything was forgotten
			r, err := l.readRooms(ctx, Position{Epoch: head.at.Epoch}, false, rooms)
			r.isCut = true
			return r, err
		case isFirst:
			r.at = head.at
		case head.at.Epoch != r.at.Epoch:
			return r, errReadReply
		}
		r.isCut = r.isCut || head.isCut
		for _, v := range entries {
			text, _ := v.(string)
			e, ok := l.parseEntry(text)
			if !ok || e.at.Epoch != r.at.Epoch || e.at.Number <= from.Number {
				l.stats.malformed.Add(1)
				continue
			}
			if e.at.Number <= r.at.Number && !seen[e.at.Number] {
				seen[e.at.Number] = true
				r.entries = append(r.entries, e)
				bytes += len(text)
			}
		}
		if bytes > maxReadBytes {
			r.isCut = true
			return r, nil
		}
		rooms = rooms[min(len(rooms), max(head.rooms, 1)):]
	}
	return r, nil
}

// readSomeRooms is one call of the script. The entries are those of head.rooms rooms.
func (l *Log) readSomeRooms(ctx context.Context, after int64, rooms []string) (head readHead, entries []any, err error) {
	args := make([]any, 0, 3+len(rooms))
	args = append(args, l.base, after, maxReadCall)
	for _, room := range rooms {
		args = append(args, room)
	}
	list, err := readScript.Do(ctx, l.cfg.Redis, []string{l.keys[0], l.keys[4]}, args...).Slice()
	if err != nil {
		return head, nil, fmt.Errorf("castlog: read: %w", err)
	}
	if head, err = parseReadHead(list); err != nil {
		return head, nil, err
	}
	l.heard.noteEpoch(head.at)
	return head, list[readHeadLength:], nil
}

// parseEntry checks an entry of a log: anybody may have written it.
func (l *Log) parseEntry(text string) (e heldMessage, ok bool) {
	message := []byte(text)
	sequence, at, ok := ReadTail(message)
	if !ok {
		return e, false
	}
	origin, ok := l.cfg.Check(message)
	return heldMessage{origin, sequence, at, message, nil}, ok
}

// A readHead is what stands before the entries in the reply of read.lua.
type readHead struct {
	at    Position
	isCut bool
	rooms int
}

const readHeadLength = 6

func parseReadHead(list []any) (h readHead, err error) {
	if len(list) < readHeadLength {
		return h, errReadReply
	}
	epoch, _ := list[0].(string)
	number, _ := list[1].(string)
	rooms, _ := list[5].(int64)
	h.isCut, h.rooms = list[4] == "1", int(rooms)
	if epoch == "" { // there is no log yet
		return h, nil
	}
	var ok bool
	if h.at, ok = parsePosition(epoch, number); !ok {
		return h, errReadReply
	}
	return h, nil
}
