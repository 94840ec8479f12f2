package loadtest

// maxGaps bounds the memory of one stream; past it, the oldest gap is final.
const maxGaps = 4096

// A sequenceTracker watches numbers that must come as 0, 1, 2, …, each once.
type sequenceTracker struct {
	next      uint32 // one past the highest seen
	gaps      []gap  // what is missing below next, in order
	forgotten uint32 // missing for good: gaps that fell out of memory

	excused bitset // need not come
}

// excuseRange says that from ≤ n < to need not come.
func (s *sequenceTracker) excuseRange(from, to uint32) { s.excused.addRange(from, to) }

// A gap is the numbers from ≤ n < to.
type gap struct{ from, to uint32 }

type arrival int

const (
	inOrder      arrival = iota
	arrivedLate          // after one that was sent later
	arrivedAgain         // seen before
)

// recordArrival takes the next number that came.
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

// countMissing counts the numbers below total that never came, except those in but and those that
// are excused.
func (s *sequenceTracker) countMissing(total uint32, but bitset) uint32 {
	n := s.forgotten
	but = but.union(s.excused)
	for _, g := range s.gaps {
		n += g.to - g.from - but.countRange(g.from, g.to)
	}
	if total > s.next {
		n += total - s.next - but.countRange(s.next, total)
	}
	return n
}

// countArrived counts the different numbers that came.
func (s *sequenceTracker) countArrived() uint32 {
	n := s.next - s.forgotten
	for _, g := range s.gaps {
		n -= g.to - g.from
	}
	return n
}
