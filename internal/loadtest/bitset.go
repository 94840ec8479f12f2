package loadtest

import "math/bits"

// A bitset is a set of small numbers, one bit each.
type bitset []uint64

func (b *bitset) add(n uint32) {
	for int(n>>6) >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n>>6] |= 1 << (n & 63)
}

func (b bitset) contains(n uint32) bool {
	return int(n>>6) < len(b) && b[n>>6]&(1<<(n&63)) != 0
}

// union returns a set with the numbers of both sets. It may share memory with b.
func (b bitset) union(o bitset) bitset {
	if len(o) == 0 {
		return b
	}
	all := make(bitset, max(len(b), len(o)))
	copy(all, b)
	for i, word := range o {
		all[i] |= word
	}
	return all
}

// complement returns the numbers below end that are not in the set.
func (b bitset) complement(end uint32) bitset {
	var rest bitset
	for n := range end {
		if !b.contains(n) {
			rest.add(n)
		}
	}
	return rest
}

// addRange adds the numbers from ≤ n < to.
func (b *bitset) addRange(from, to uint32) {
	for n := from; n < to; n++ {
		b.add(n)
	}
}

// countRange returns how many of the numbers from ≤ n < to are in the set.
func (b bitset) countRange(from, to uint32) uint32 {
	to = min(to, uint32(len(b))<<6)
	sum := 0
	for n := from; n < to; {
		word, end := b[n>>6]>>(n&63), min(to, n|63+1)
		if end&63 != 0 && end>>6 == n>>6 {
			word &= 1<<(end-n) - 1
		}
		sum += bits.OnesCount64(word)
		n = end
	}
	return uint32(sum)
}
