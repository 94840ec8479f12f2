package server

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/aeturnis/realtime/internal/redisx"
)

// This file makes one outage of Redis one line of the log. Twenty parts of a node notice that Redis
// is away, and each logs it: they cannot know what the others saw.

const (
	// holdLines is how long a line that may follow from an outage waits until it is known whether
	// Redis is away. The monitor needs 650 ms at most.
	holdLines = 1500 * time.Millisecond
	// maxHeldLines is how many lines may wait; further ones are written at once.
	maxHeldLines = 256
)

// outageParts are the messages that follow from an outage, whatever their fields are. Besides them,
// each warning whose error says that Redis can not be used is one.
var outageParts = map[string]bool{
	redisChangedMessage: true, // from up to slow, and back
	"cluster changed":   true,
	"limits are kept in this process: redis does not answer in time": true,
	"limits are kept in Redis again":                                 true,
	"breaker changed":                                                true,
	"redis client":                                                   true,
	"another server answers at the address of Redis":                 true, // a restart, or a failover
	"records of connections were lost: clients that come back now are not recovered":                                   true,
	"this node may have missed casts: the logs do not reach back to what it heard last":                                true,
	"casts that were acknowledged may never be heard: Redis has forgotten them, or this node was cut off for too long": true,
}

// aloneLines are messages that are written during an outage too: a metric counts exactly these.
var aloneLines = map[string]bool{"handshake could not be judged": true}

// outageLines keeps the lines that follow from an outage out of the log, and counts them. Lines
// that come before the outage is known wait for that, and are written when there is none.
type outageLines struct {
	isVerbose func() bool // whether everything is to be written

	mu    sync.Mutex
	left  map[string]int // lines that were left out, by message; nil while there is no outage; guarded by mu
	held  []heldLine     // guarded by mu
	flush *time.Timer    // writes what is held; guarded by mu
}

// A heldLine waits until it is known whether Redis is away.
type heldLine struct {
	core   zapcore.Core
	entry  zapcore.Entry
	fields []zapcore.Field
}

// begin says that Redis is away, from now until end.
func (l *outageLines) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left != nil {
		return
	}
	l.left = map[string]int{}
	for _, line := range l.takeHeld() {
		l.left[line.entry.Message]++
	}
}

// end says that Redis is there again, and returns how many lines were left out, by message.
func (l *outageLines) end() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.left
	l.left = nil
	return left
}

// takeHeld returns what is held; mu is held.
func (l *outageLines) takeHeld() []heldLine {
	held := l.held
	l.held = nil
	if l.flush != nil {
		l.flush.Stop()
		l.flush = nil
	}
	return held
}

// writeHeld writes the lines that wait, with the time at which they were logged.
func (l *outageLines) writeHeld() {
	l.mu.Lock()
	held := l.takeHeld()
	l.mu.Unlock()
	for _, line := range held {
		_ = line.core.Write(line.entry, line.fields) // the buffer counts what can not be written
	}
}

// keep reports whether a line is left out, or held.
func (l *outageLines) keep(core zapcore.Core, entry zapcore.Entry, fields []zapcore.Field) bool {
	if l.isVerbose() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.left != nil:
		l.left[entry.Message]++
	case len(l.held) < maxHeldLines:
		l.held = append(l.held, heldLine{core, entry, slices.Clone(fields)})
		if l.flush == nil {
			l.flush = time.AfterFunc(holdLines, l.writeHeld)
		}
	default:
		return false
	}
	return true
}

// isOutagePart reports whether a line may follow from an outage of Redis.
func isOutagePart(entry zapcore.Entry, fields []zapcore.Field) bool {
	if outageParts[entry.Message] {
		return true
	}
	if entry.Level < zap.WarnLevel || aloneLines[entry.Message] {
		return false
	}
	for _, f := range fields {
		if err, isError := f.Interface.(error); isError && f.Type == zapcore.ErrorType && redisx.Unavailable(err) {
			return true
		}
	}
	return false
}

// An outageCore is a core that writes what does not follow from an outage.
type outageCore struct {
	zapcore.Core
	lines *outageLines
}

// With returns a core with more fields.
func (c outageCore) With(fields []zapcore.Field) zapcore.Core {
	return outageCore{c.Core.With(fields), c.lines}
}

// Check adds this core to what writes an entry.
func (c outageCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write writes a line, leaves it out or holds it.
func (c outageCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if isOutagePart(entry, fields) && c.lines.keep(c.Core, entry, fields) {
		return nil
	}
	return c.Core.Write(entry, fields)
}
