package socketio

import (
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/castlog"
)

// This file has the offsets of connection state recovery. The official client takes the last
// argument of an event, if that is a string, for the position up to which it has heard everything,
// and presents it when it comes back. Of an event without arguments it takes the name.

// appendOffset makes a position the last argument of an event that is framed and not sealed. It
// does nothing where there is no position.
func appendOffset(m *engineio.Message, at castlog.Position) {
	if at.IsZero() {
		return
	}
	b := m.Buffer()
	list := len(b) - 1 // where the list's bracket is
	before := len(b) + 1
	b = append(b[:list], `,"`...)
	if b = at.AppendOffset(b); len(b) == before {
		b = b[:list]
	} else {
		b = append(b, '"')
	}
	m.SetBuffer(append(b, ']'))
}

// endsWithText tells whether the last argument of an event that is framed is a string.
func endsWithText(m *engineio.Message) bool {
	b := m.Buffer()
	return len(b) > 2 && b[len(b)-2] == '"'
}

// holdPosition makes the position of the moment the last argument of an event, where the client
// would else take another text for it. Then it reports true, and what this node has heard does not
// move until castLog.UnlockPosition: what the log delivers comes before the event, or behind it.
func (a *rooms) holdPosition(m *engineio.Message) (isHeld bool) {
	if a.castLog == nil || !endsWithText(m) {
		return false
	}
	appendOffset(m, a.castLog.LockPosition())
	return true
}

// EmitWithPosition is EmitArgs for an event whose last argument is the position of the moment,
// where casts are logged.
func (s *Socket) EmitWithPosition(name string, a Args) error {
	f := frameEvent(s.nsp.name, name, a, 0, false)
	defer f.releaseFrames()
	if castLog := s.nsp.rooms.castLog; castLog != nil {
		defer castLog.UnlockPosition()
		appendOffset(f.text, castLog.LockPosition())
	}
	if !f.pushTo(s.link.conn) {
		return ErrClosed
	}
	return nil
}
