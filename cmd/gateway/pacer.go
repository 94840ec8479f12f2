package main

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A pacer lets the collector run less often while a node works and little of its heap lives: over some MB it would run
// several times a second, which is a tenth of the work of a trade. It lets garbage grow to spare, at most. A heap that
// grows is collected as ever, so that what stays lies dense; and when it is quiet, garbage goes back to the system.
//
// It rules nothing where the operator does, by GOGC or GOMEMLIMIT.
type pacer struct {
	percent int // as it is now
	before  memory
	quiet   int  // ticks since little was allocated
	owes    bool // the system: it was busy since memory was returned last
}

const (
	usualPercent = 100      // Go's own
	spare        = 40 << 20 // bytes of garbage
	restful      = 10       // quiet ticks, of a second each, until memory is returned
)

// memory is what the runtime tells of the heap.
type memory struct {
	live      uint64 // bytes, when it was collected last
	allocated uint64 // bytes, ever
}

// tick takes in what has become of the heap in a second, and tells the percentage to collect at, and whether to
// return memory to the system.
func (p *pacer) tick(now memory) (percent int, giveBack bool) {
	allocated := now.allocated - p.before.allocated
	grows := now.live > p.before.live+p.before.live/8
	p.before = now
	switch {
	case allocated > now.live/2: // the usual would be a collection every other second, at least
		p.quiet, p.owes = 0, true
		if p.percent = usualPercent; !grows && now.live < spare {
			p.percent = int(usualPercent * spare / max(now.live, spare/16))
		}
	case grows:
		p.quiet, p.percent = 0, usualPercent
	default:
		if p.quiet++; p.quiet >= restful {
			giveBack, p.owes, p.percent = p.owes, false, usualPercent
		}
	}
	return p.percent, giveBack
}

// unruled tells whether both are Go's own: the percentage, and the memory limit in bytes.
func unruled(percent, limit uint64) bool { return percent == usualPercent && limit == math.MaxInt64 }

// pace runs a pacer until ctx ends.
func (n *node) pace(ctx context.Context) error {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	read := func() memory {
		metrics.Read(samples)
		return memory{samples[0].Value.Uint64(), samples[1].Value.Uint64()}
	}
	p := pacer{percent: usualPercent, before: read()}
	if !unruled(samples[2].Value.Uint64(), samples[3].Value.Uint64()) {
		<-ctx.Done()
		return nil
	}
	set := usualPercent
	defer func() { debug.SetGCPercent(usualPercent) }()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		percent, giveBack := p.tick(read())
		if percent < set*7/8 || percent > set*8/7 { // each change stops the world for a moment
			debug.SetGCPercent(percent)
			set = percent
		}
		if giveBack {
			debug.FreeOSMemory()
		}
	}
}
