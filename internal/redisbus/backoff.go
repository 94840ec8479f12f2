package redisbus

import "time"

// A backoff waits longer after each failure, from 20 ms to 1 s.
type backoff struct{ wait time.Duration }

// waitAfter waits after a failure, or until done. After a success it returns at once.
func (b *backoff) waitAfter(ok bool, done <-chan struct{}) {
	if ok {
		b.wait = 0
		return
	}
	b.wait = min(max(2*b.wait, 20*time.Millisecond), time.Second)
	t := time.NewTimer(b.wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}
