//go:build race

package engineio

// raced says that the race detector runs: pools then forget at random, so allocations can
// not be counted, and compressing is a hundred times as slow.
const raced = true
