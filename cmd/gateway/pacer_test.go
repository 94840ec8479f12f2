package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each step is a second: what lives, and what was allocated in it, in MB.
func TestPacer(t *testing.T) {
	t.Parallel()
	type second struct {
		live, allocated uint64
		times           int // such seconds
		percent         int // after them
		gaveBack        int // how often memory was returned in them
	}
	for name, seconds := range map[string][]second{
		"a small heap, much garbage":                {{8, 60, 1, 500, 0}, {8, 60, 30, 500, 0}},
		"as much garbage over what lives":           {{20, 60, 3, 200, 0}, {10, 60, 3, 400, 0}},
		"a heap as large as what it spares":         {{40, 100, 3, 100, 0}, {200, 500, 3, 100, 0}},
		"hardly any heap":                           {{1, 60, 3, 1600, 0}},
		"little garbage":                            {{8, 3, 60, 100, 0}},
		"a heap that grows":                         {{8, 60, 1, 500, 0}, {12, 60, 1, 100, 0}, {16, 60, 1, 100, 0}, {16, 60, 1, 250, 0}},
		"quiet, after work":                         {{8, 60, 5, 500, 0}, {8, 1, 9, 500, 0}, {8, 1, 1, 100, 1}, {8, 1, 60, 100, 0}},
		"a pause":                                   {{8, 60, 5, 500, 0}, {8, 1, 9, 500, 0}, {8, 60, 1, 500, 0}, {8, 1, 9, 500, 0}, {8, 1, 1, 100, 1}},
		"a heap that grows while little is garbage": {{8, 60, 2, 500, 0}, {10, 1, 1, 100, 0}, {10, 1, 9, 100, 0}, {10, 1, 1, 100, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := memory{live: seconds[0].live << 20}
			p := pacer{percent: usualPercent, before: at}
			for i, s := range seconds {
				gave := 0
				for range s.times {
					at = memory{s.live << 20, at.allocated + s.allocated<<20}
					percent, giveBack := p.tick(at)
					if giveBack {
						gave++
					}
					if live := max(at.live, spare/16); live < spare {
						require.LessOrEqual(t, live*uint64(percent)/100, uint64(spare), "garbage")
					}
				}
				require.Equal(t, s.percent, p.percent, "step %d", i)
				require.Equal(t, s.gaveBack, gave, "step %d", i)
			}
		})
	}
}

func TestTheOperatorRulesTheCollector(t *testing.T) {
	t.Parallel()
	require.True(t, unruled(100, math.MaxInt64))
	require.False(t, unruled(200, math.MaxInt64))
	require.False(t, unruled(math.MaxUint64, math.MaxInt64))
	require.False(t, unruled(100, 64<<20))
}
