package gcgoal

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGoal(t *testing.T) {
	t.Parallel()
	const yes, no = true, false
	type beats struct {
		live, allocated uint64 // MB; what was allocated in each beat
		collected       bool   // in each beat
		times           int    // such beats
		percent         int    // after them
		gaveBack        int    // how often memory was returned in them
	}
	for name, all := range map[string][]beats{
		"a small heap, much garbage":        {{8, 16, yes, 5, 500, 0}, {8, 16, no, 30, 500, 0}, {8, 16, yes, 30, 500, 0}},
		"the first second":                  {{8, 16, no, 4, 50, 0}, {8, 16, no, 1, 500, 0}},
		"work by fits and starts":           {{8, 16, no, 4, 50, 0}, {8, 0, no, 1, 50, 0}, {8, 16, no, 4, 50, 0}, {8, 0, no, 1, 50, 0}, {8, 16, yes, 4, 50, 0}},
		"as much garbage over what lives":   {{20, 16, yes, 5, 200, 0}, {10, 16, yes, 3, 400, 0}},
		"a heap as large as what it spares": {{40, 25, yes, 5, 100, 0}, {40, 125, yes, 3, 100, 0}},
		"a large heap at rest":              {{80, 5, yes, 99, 100, 0}, {80, 20, no, 4, 100, 0}, {20, 20, yes, 1, 200, 0}, {20, 0, no, 8, 50, 1}},
		"hardly any heap":                   {{1, 16, yes, 5, 1600, 0}},
		"little garbage":                    {{32, 3, yes, 300, 50, 0}},
		"a heap that grows": {
			{8, 16, yes, 5, 500, 0}, {10, 16, yes, 1, 50, 0}, {10, 16, no, 3, 50, 0}, {16, 16, yes, 1, 50, 0}, {16, 16, no, 3, 50, 0}, {16, 16, yes, 1, 250, 0},
		},
		"little stays of much":        {{8, 64, yes, 5, 500, 0}, {10, 64, yes, 1, 400, 0}},
		"quiet, after work":           {{8, 16, yes, 5, 500, 0}, {8, 0, no, 7, 500, 0}, {8, 0, no, 1, 50, 1}, {8, 0, no, 300, 50, 0}},
		"quiet, after it grew":        {{8, 16, yes, 1, 50, 0}, {20, 16, yes, 5, 200, 0}, {24, 16, yes, 1, 50, 0}, {24, 0, no, 7, 50, 0}, {24, 0, yes, 1, 50, 1}, {24, 0, no, 99, 50, 0}},
		"a pause":                     {{8, 16, yes, 5, 500, 0}, {8, 0, no, 7, 500, 0}, {8, 16, no, 1, 50, 0}, {8, 0, no, 7, 50, 0}, {8, 0, no, 1, 50, 1}},
		"work again, after the quiet": {{8, 16, yes, 5, 500, 0}, {8, 0, no, 99, 50, 1}, {8, 16, yes, 5, 500, 0}, {8, 0, no, 99, 50, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := heapStats{live: all[0].live << 20}
			p := newController(at)
			for i, b := range all {
				gave := 0
				for range b.times {
					at.live = b.live << 20
					at.allocated += b.allocated << 20
					if b.collected {
						at.collections++
					}
					percent, giveBack := p.updateGoal(at)
					if giveBack {
						gave++
					}
					if at.live < spareGarbage {
						require.LessOrEqual(t, at.live*uint64(percent)/100, uint64(spareGarbage), "garbage")
					}
				}
				require.Equal(t, b.percent, p.percent, "step %d", i)
				require.Equal(t, b.gaveBack, gave, "step %d", i)
			}
		})
	}
}

func TestTheOperatorRulesTheCollector(t *testing.T) {
	t.Parallel()
	require.True(t, hasGoDefaults(100, math.MaxInt64))
	require.False(t, hasGoDefaults(200, math.MaxInt64))
	require.False(t, hasGoDefaults(math.MaxUint64, math.MaxInt64), "off")
	require.False(t, hasGoDefaults(100, 64<<20))
}
