package chat

import (
	"sync"
	"time"
)

// generationLength is how many pauses one generation holds; the node remembers at least so many.
const generationLength = 8192

// slowSenders remembers which senders must wait in slow channels, for while Redis can not be used.
// It has two generations: when the younger is full, it becomes the older, and the older is
// forgotten.
type slowSenders struct {
	now func() time.Time

	mu         sync.Mutex
	young, old map[string]time.Time // by Redis key: the end of the pause; guarded by mu
}

func newSlowSenders(now func() time.Time) *slowSenders {
	return &slowSenders{now: now, young: map[string]time.Time{}}
}

// decidePause returns how long a sender must still wait. When it is 0, the sender may speak, and
// the next pause begins.
func (s *slowSenders) decidePause(key string, interval time.Duration) (wait time.Duration) {
	if interval == 0 {
		return 0
	}
	s.mu.Lock()
	until, ok := s.young[key]
	if !ok {
		until = s.old[key]
	}
	s.mu.Unlock()
	if wait = until.Sub(s.now()); wait > 0 {
		return max(time.Millisecond, wait)
	}
	s.recordPause(key, interval)
	return 0
}

// recordPause begins a pause.
func (s *slowSenders) recordPause(key string, interval time.Duration) {
	if interval == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= generationLength {
		s.young, s.old = map[string]time.Time{}, s.young
	}
	s.young[key] = s.now().Add(interval)
}
