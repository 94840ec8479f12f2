// Package logbuffer keeps the readers of a log away from those who write it. A pipe whose reader
// stands still blocks whoever writes to it, so that a log would stop the program. A Buffer takes
// each line at once, and a goroutine of its own writes what is in it.
//
// Lines are lost in two cases, and both are counted: when the buffer is full, because the reader
// is too slow or stands still, and when a write fails, because the reader is gone or the disk is
// full. A line is written whole or not at all, except when a write fails in the middle of it.
package logbuffer

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultSize is the bound on lines that wait, in bytes: about 4,000 lines of the gateway's log.
	defaultSize = 1 << 20
	// flushTimeout is how long Sync and Close wait for the reader.
	flushTimeout = time.Second
)

// Config tunes a Buffer. The zero value works.
type Config struct {
	// Size bounds the lines that wait, in bytes; 0 means 1 MiB. As many again may be under way to the
	// reader.
	Size int
	// OnResume, if set, is called when the reader takes lines again, with the number of lines that
	// were lost until then since the last call. It may write to the Buffer.
	OnResume func(lost uint64)
}

// A Buffer is a zapcore.WriteSyncer. Its methods may be called from any goroutine.
type Buffer struct {
	to  io.Writer
	cfg Config

	mu      sync.Mutex
	waiting []byte        // whole lines; guarded by mu
	closed  bool          // guarded by mu
	writing bool          // the goroutine has lines that it has not written yet; guarded by mu
	empty   chan struct{} // closed when everything was written; nil while nobody waits; guarded by mu

	wake   chan struct{} // has one element when waiting or closed has changed
	done   chan struct{} // closed when the goroutine ends
	full   atomic.Uint64 // lines for which there was no room
	failed atomic.Uint64 // lines whose write failed
}

// New returns a Buffer whose goroutine writes to w. Close ends the goroutine.
func New(w io.Writer, cfg Config) *Buffer {
	if cfg.Size <= 0 {
		cfg.Size = defaultSize
	}
	b := &Buffer{to: w, cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go b.writeUntilClosed()
	return b
}

// Full returns how many lines were lost because the buffer was full.
func (b *Buffer) Full() uint64 { return b.full.Load() }

// Failed returns how many lines were lost because their write failed.
func (b *Buffer) Failed() uint64 { return b.failed.Load() }

// Write takes one or more whole lines. It never waits for the reader and never fails: lines that do
// not fit are counted in Full. After Close it takes nothing.
func (b *Buffer) Write(lines []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.waiting)+len(lines) > b.cfg.Size {
		b.full.Add(countLines(lines))
		return len(lines), nil
	}
	b.waiting = append(b.waiting, lines...)
	b.wakeWriter()
	return len(lines), nil
}

// Sync waits until what was written before is with the reader, for a second at most. It returns no
// error: a reader that stands still is none.
func (b *Buffer) Sync() error {
	b.waitUntilEmpty()
	return nil
}

// Close writes what waits, for a second at most. What the reader has not taken by then is lost. A
// write that the reader blocks stays blocked: its goroutine ends when the reader or the process
// does.
func (b *Buffer) Close() {
	b.waitUntilEmpty()
	b.mu.Lock()
	b.closed = true
	b.full.Add(countLines(b.waiting))
	b.waiting = nil
	b.wakeWriter()
	b.mu.Unlock()
}

// wakeWriter tells the goroutine that something has changed. The caller holds mu.
func (b *Buffer) wakeWriter() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// waitUntilEmpty waits until everything was written or the goroutine has ended, for flushTimeout at
// most.
func (b *Buffer) waitUntilEmpty() {
	b.mu.Lock()
	if len(b.waiting) == 0 && !b.writing {
		b.mu.Unlock()
		return
	}
	if b.empty == nil {
		b.empty = make(chan struct{})
	}
	empty := b.empty
	b.mu.Unlock()
	timeout := time.NewTimer(flushTimeout)
	defer timeout.Stop()
	select {
	case <-empty:
	case <-b.done:
	case <-timeout.C:
	}
}

// writeUntilClosed writes what waits, all of it at once, until Close.
func (b *Buffer) writeUntilClosed() {
	defer close(b.done)
	var lines []byte
	torn := false   // the last write ended in the middle of a line
	var told uint64 // lost lines that OnResume knows of
	for range b.wake {
		for {
			var more bool
			if lines, more = b.takeLines(lines[:0]); !more {
				break
			}
			if torn { // the rest of that line is lost: the next one begins after it
				_, err := b.to.Write([]byte{'\n'})
				torn = err != nil
			}
			n, err := b.to.Write(lines)
			if n < len(lines) || err != nil {
				rest := lines[min(max(n, 0), len(lines)):]
				torn = torn || len(rest) > 0 && n > 0 && lines[n-1] != '\n'
				b.failed.Add(countLines(rest))
				continue
			}
			if lost := b.full.Load() + b.failed.Load(); lost > told && b.cfg.OnResume != nil {
				b.cfg.OnResume(lost - told)
				told = lost
			}
		}
		if b.isClosed() {
			return
		}
	}
}

// takeLines exchanges the lines that wait for an empty buffer, whose memory is used again. Without
// lines it tells those who wait for that, and returns false.
func (b *Buffer) takeLines(empty []byte) (lines []byte, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.writing = false
		if b.empty != nil {
			close(b.empty)
			b.empty = nil
		}
		return empty, false
	}
	b.writing = true
	lines, b.waiting = b.waiting, empty
	return lines, true
}

func (b *Buffer) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// countLines returns how many lines end in data. An incomplete line counts too.
func countLines(data []byte) uint64 {
	n := bytes.Count(data, []byte{'\n'})
	if len(data) > 0 && data[len(data)-1] != '\n' {
		n++
	}
	return uint64(n)
}
