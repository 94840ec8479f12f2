package main

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A pacer lets the collector run less often while a node works and little of its heap lives: over some MB it would run
// several times a second, which is an eighth of the work of a trade. It lets garbage grow to spare, at most. While the
// heap grows, as when many connect, it is collected more often instead: between less garbage, what stays lies denser, and
// it will stay there. And when it is quiet, memory goes back to the system.
//
// It rules nothing where the operator does, by GOGC or GOMEMLIMIT.
type pacer struct {
	percent int // as it is now
	before  memory
	seen    memory // when the last collection was seen
	grows   bool   // then much had stayed of what was allocated since the one before
	quiet   int    // beats since much was allocated
	owes    bool   // it was busy since memory was returned last
}

const (
	usualPercent   = 100 // Go's own
	growingPercent = 50
	spare          = 40 << 20 // bytes of garbage

	beat    = 250 * time.Millisecond
	busy    = 8  // as much as one part in so many of what lives, allocated in a beat: a collection every other second
	stays   = 24 // one part in so many of what was allocated: players stay, what they do does not
	restful = 8  // quiet beats until memory is returned
)

// memory is what the runtime tells of the heap.
type memory struct {
	live        uint64 // bytes, when it was collected last
	allocated   uint64 // bytes, ever
	collections uint64 // ever
}

func newPacer(now memory) *pacer { return &pacer{percent: usualPercent, before: now, seen: now} }

// step takes in what has become of the heap in a beat, and tells the percentage to collect at, and whether to
// return memory to the system.
func (p *pacer) step(now memory) (percent int, giveBack bool) {
	allocated := now.allocated - p.before.allocated
	if now.collections != p.before.collections {
		p.grows = now.live > p.seen.live+(now.allocated-p.seen.allocated)/stays
		p.seen = now
	}
	p.before = now
	if allocated < now.live/busy {
		if p.quiet++; p.quiet >= restful {
			giveBack, p.owes, p.percent = p.owes, false, usualPercent
		}
		return p.percent, giveBack
	}
	p.quiet, p.owes = 0, true
	switch {
	case p.grows:
		p.percent = growingPercent
	case now.live < spare:
		p.percent = int(usualPercent * spare / max(now.live, spare/16))
	default:
		p.percent = usualPercent
	}
	return p.percent, false
}

// unruled tells whether both are Go's own: the percentage, and the memory limit in bytes.
func unruled(percent, limit uint64) bool { return percent == usualPercent && limit == math.MaxInt64 }

// pace runs a pacer until ctx ends.
func (n *node) pace(ctx context.Context) error {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"},
	}
	read := func() memory {
		metrics.Read(samples)
		return memory{samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()}
	}
	p := newPacer(read())
	if !unruled(samples[3].Value.Uint64(), samples[4].Value.Uint64()) {
		<-ctx.Done()
		return nil
	}
	set := usualPercent
	defer func() { debug.SetGCPercent(usualPercent) }()
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		percent, giveBack := p.step(read())
		if percent < set*7/8 || percent > set*8/7 { // each change stops the world for a moment
			debug.SetGCPercent(percent)
			set = percent
		}
		if giveBack {
			debug.FreeOSMemory()
		}
	}
}
