// Package gcgoal sets how much garbage may gather before Go collects it (GOGC), by what the heap of
// a server does.
//
// While many players connect, the heap is collected at 50 % growth instead of 100 %. Between less
// garbage, what stays lies denser, and an idle connection takes 22 % less memory for as long as it
// lives (ADR 13). The same holds for a small heap until it has been busy for a second, because a
// thousand players may connect in less. When it stays busy, up to 40 MB of garbage may gather,
// because over a few MB Go would collect several times a second. When the server has been quiet
// for two seconds, memory goes back to the system.
package gcgoal

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	defaultPercent = 100 // Go's own
	growingPercent = 50
	spareGarbage   = 40 << 20 // bytes; a heap is small below that

	tickInterval = 250 * time.Millisecond
	// A tick is busy when at least one part in so many of the live heap was allocated in it, which
	// at 100 % means a collection every other second.
	busyFraction = 8
	// The heap grows when at least one part in so many of what was allocated between two
	// collections is still live: players stay, and what they do does not.
	growthFraction = 24
	steadyTicks    = 4 // busy ones in a row, after which the work will go on
	quietTicks     = 8 // until memory is returned
)

// heapStats is what the runtime says of the heap.
type heapStats struct {
	live        uint64 // bytes, at the last collection
	allocated   uint64 // bytes, since the start
	collections uint64 // since the start
}

// controller decides the percentage from what the heap does.
type controller struct {
	percent     int // in force now
	previous    heapStats
	atLastCycle heapStats // when a new collection was seen last
	isGrowing   bool      // between the last two collections
	busy        int       // busy ticks since the last quiet one
	quiet       int       // ticks since the last busy one
	wasBusy     bool      // since memory was returned last
}

func newController(now heapStats) *controller {
	return &controller{percent: restPercent(now.live), previous: now, atLastCycle: now}
}

// restPercent is the goal while little happens, and until it shows what the work is like. For a
// large heap a low one would cost more, and a burst of connections leaves few gaps in it.
func restPercent(live uint64) int {
	if live < spareGarbage {
		return growingPercent
	}
	return defaultPercent
}

// updateGoal takes what the heap has done in a tick. It returns the percentage to collect at, and
// whether to return memory to the system.
func (c *controller) updateGoal(now heapStats) (percent int, returnMemory bool) {
	allocated := now.allocated - c.previous.allocated
	if now.collections != c.previous.collections {
		c.isGrowing = now.live > c.atLastCycle.live+(now.allocated-c.atLastCycle.allocated)/growthFraction
		c.atLastCycle = now
	}
	c.previous = now
	if allocated < now.live/busyFraction {
		c.busy = 0
		if c.quiet++; c.quiet >= quietTicks {
			returnMemory, c.wasBusy, c.percent = c.wasBusy, false, restPercent(now.live)
		}
		return c.percent, returnMemory
	}
	c.busy++
	c.quiet, c.wasBusy = 0, true
	switch {
	case c.isGrowing:
		c.percent = growingPercent
	case c.busy <= steadyTicks:
		c.percent = restPercent(now.live)
	case now.live < spareGarbage:
		c.percent = int(defaultPercent * spareGarbage / max(now.live, spareGarbage/16))
	default:
		c.percent = defaultPercent
	}
	return c.percent, false
}

// hasGoDefaults reports whether neither GOGC nor GOMEMLIMIT, in bytes, is set.
func hasGoDefaults(percent, limit uint64) bool {
	return percent == defaultPercent && limit == math.MaxInt64
}

// Run sets the goal until ctx ends. Where the operator has set GOGC or GOMEMLIMIT, it changes
// nothing.
func Run(ctx context.Context) error {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"},
	}
	readHeap := func() heapStats {
		metrics.Read(samples)
		return heapStats{samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()}
	}
	c := newController(readHeap())
	if !hasGoDefaults(samples[3].Value.Uint64(), samples[4].Value.Uint64()) {
		<-ctx.Done()
		return nil
	}
	inForce := defaultPercent
	defer func() { debug.SetGCPercent(defaultPercent) }()
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		percent, returnMemory := c.updateGoal(readHeap())
		if percent < inForce*7/8 || percent > inForce*8/7 { // each change stops the world for a moment
			debug.SetGCPercent(percent)
			inForce = percent
		}
		if returnMemory {
			debug.FreeOSMemory()
		}
	}
}
