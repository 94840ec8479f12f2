package sessions

import (
	"container/heap"
	"time"
)

// A checkQueue is a heap of tracked sessions, by the time of their next check.
type checkQueue []*trackedSession

func (c *checkQueue) add(tracked *trackedSession, at time.Duration) {
	tracked.checkAt = at
	heap.Push(c, tracked)
}

func (c *checkQueue) reschedule(tracked *trackedSession, at time.Duration) {
	tracked.checkAt = at
	if tracked.queueIndex >= 0 {
		heap.Fix(c, tracked.queueIndex)
	}
}

func (c *checkQueue) remove(tracked *trackedSession) {
	heap.Remove(c, tracked.queueIndex)
	tracked.queueIndex = -1
}

func (c checkQueue) Len() int           { return len(c) }
func (c checkQueue) Less(i, j int) bool { return c[i].checkAt < c[j].checkAt }
func (c checkQueue) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].queueIndex, c[j].queueIndex = i, j
}

func (c *checkQueue) Push(x any) {
	tracked := x.(*trackedSession)
	tracked.queueIndex = len(*c)
	*c = append(*c, tracked)
}

func (c *checkQueue) Pop() any {
	old := *c
	tracked := old[len(old)-1]
	old[len(old)-1] = nil
	*c = old[:len(old)-1]
	return tracked
}
