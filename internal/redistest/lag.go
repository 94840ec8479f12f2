package redistest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Lag measures, until the test ends, how late this machine wakes a goroutine that sleeps. The
// function that it returns gives three times the worst delay so far, because what is tested wakes
// goroutines one after the other. A test that asserts that something is fast adds it to its bound:
// so a busy machine fails no test, and a wait that should not be there still does.
func Lag(t testing.TB) (allowance func() time.Duration) {
	t.Helper()
	const nap = 2 * time.Millisecond
	var worst atomic.Int64
	done := make(chan struct{})
	var measuring sync.WaitGroup
	measuring.Go(func() {
		for begun := time.Now(); ; begun = time.Now() {
			select {
			case <-done:
				return
			case <-time.After(nap):
			}
			if late := int64(time.Since(begun) - nap); late > worst.Load() {
				worst.Store(late)
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		measuring.Wait()
	})
	return func() time.Duration { return 3 * time.Duration(worst.Load()) }
}
