package loadtest

// maxGaps is the largest number of gaps that one tracker remembers. Beyond it, the tracker forgets
// the oldest gap, and counts its numbers as missing for good.
const maxGaps = 4096

// A sequenceTracker checks numbers that must arrive as 0, 1, 2, …, each once.
type sequenceTracker struct {
	next      uint32 // one more than the highest number that arrived
	gaps      []gap  // the numbers below next that are missing, in ascending order
	forgotten uint32 // how many numbers were in gaps that the tracker forgot

	excused bitset // numbers that need not arrive
}

// excuseRange allows the numbers from ≤ n < to to be missing.
func (s *sequenceTracker) excuseRange(from, to uint32) { s.excused.addRange(from, to) }

// A gap is the range of numbers from ≤ n < to.
type gap struct{ from, to uint32 }

type arrival int

const (
	inOrder      arrival = iota
	arrivedLate          // after a number that was sent later
	arrivedAgain         // for at least the second time
)

// recordArrival records that n arrived, and returns whether it was in order, late or repeated.
func (s *sequenceTracker) recordArrival(n uint32) arrival {
	switch {
	case n == s.next:
		s.next++
		return inOrder
	case n > s.next:
		if len(s.gaps) == maxGaps {
			s.forgotten += s.gaps[0].to - s.gaps[0].from
			s.gaps = s.gaps[1:]
		}
		s.gaps = append(s.gaps, gap{s.next, n})
		s.next = n + 1
		return inOrder
	}
	for i := len(s.gaps) - 1; i >= 0; i-- {
		g := s.gaps[i]
		if n >= g.to {
			break
		}
		if n < g.from {
			continue
		}
		switch {
		case g.from+1 == g.to:
			s.gaps = append(s.gaps[:i], s.gaps[i+1:]...)
		case n == g.from:
			s.gaps[i].from++
		case n+1 == g.to:
			s.gaps[i].to--
		default:
			s.gaps = append(s.gaps, gap{})
			copy(s.gaps[i+1:], s.gaps[i:])
			s.gaps[i].to, s.gaps[i+1].from = n, n+1
		}
		return arrivedLate
	}
	return arrivedAgain
}

// countMissing returns how many numbers below total never arrived, without those in except and
// those that are excused. Forgotten gaps count as below total.
func (s *sequenceTracker) countMissing(total uint32, except bitset) uint32 {
	n := s.forgotten
	except = except.union(s.excused)
	for _, g := range s.gaps {
		if to := min(g.to, total); to > g.from {
			n += to - g.from - except.countRange(g.from, to)
		}
	}
	if total > s.next {
		n += total - s.next - except.countRange(s.next, total)
	}
	return n
}

// hasArrived reports whether n arrived, as far as the tracker remembers.
func (s *sequenceTracker) hasArrived(n uint32) bool {
	for _, g := range s.gaps {
		if n >= g.from && n < g.to {
			return false
		}
	}
	return n < s.next
}

// countArrived returns how many different numbers arrived.
func (s *sequenceTracker) countArrived() uint32 {
	n := s.next - s.forgotten
	for _, g := range s.gaps {
		n -= g.to - g.from
	}
	return n
}
