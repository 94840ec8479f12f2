package loadtest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		saw                 []uint32
		late, again, absent int
	}{
		"in order":            {[]uint32{0, 1, 2, 3}, 0, 0, 0},
		"two swapped":         {[]uint32{0, 2, 1, 3}, 1, 0, 0},
		"one lost":            {[]uint32{0, 1, 3}, 0, 0, 1},
		"the last lost":       {[]uint32{0, 1, 2}, 0, 0, 1},
		"doubled":             {[]uint32{0, 1, 1, 2, 3, 0}, 0, 2, 0},
		"lost, late, doubled": {[]uint32{3, 1, 1}, 1, 1, 2},
		"backwards":           {[]uint32{3, 2, 1, 0}, 3, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s sequenceTracker
			seen := map[arrival]int{}
			for _, n := range c.saw {
				seen[s.recordArrival(n)]++
			}
			require.Equal(t, c.late, seen[arrivedLate])
			require.Equal(t, c.again, seen[arrivedAgain])
			require.EqualValues(t, c.absent, s.countMissing(4, nil))
		})
	}
}

func TestStreamForgetsTheOldestGapOnly(t *testing.T) {
	t.Parallel()
	var s sequenceTracker
	for n := uint32(1); n < 4*maxGaps; n += 2 {
		s.recordArrival(n)
	}
	require.Len(t, s.gaps, maxGaps)
	require.EqualValues(t, 2*maxGaps, s.countMissing(4*maxGaps, nil))
	require.EqualValues(t, 2*maxGaps, s.countArrived())
}

// A tracker gives the same results as a set of all numbers that arrived.
func TestStreamAgainstASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.Uint32Range(0, 200)).Draw(t, "numbers")
		silent := rapid.SliceOf(rapid.Uint32Range(0, 200)).Draw(t, "silent")
		var s sequenceTracker
		seen, highest := map[uint32]bool{}, -1
		for _, n := range numbers {
			want := inOrder
			if seen[n] {
				want = arrivedAgain
			} else if int(n) < highest {
				want = arrivedLate
			}
			if got := s.recordArrival(n); got != want {
				t.Fatalf("%d is %d, not %d", n, got, want)
			}
			seen[n], highest = true, max(highest, int(n))
		}
		var but bitset
		for _, n := range silent {
			but.add(n)
		}
		absent := 0
		for n := range uint32(201) {
			if !seen[n] && !but.contains(n) {
				absent++
			}
		}
		if got := s.countMissing(201, but); int(got) != absent {
			t.Fatalf("%d are missing, not %d", got, absent)
		}
		if got := s.countArrived(); int(got) != len(seen) {
			t.Fatalf("%d came, not %d", got, len(seen))
		}
	})
}
