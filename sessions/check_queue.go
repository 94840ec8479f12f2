package sessions

import (
	"container/heap"
	"time"
)

// A checkQueue is a heap of tracked sessions, by the time of their next check.
type checkQueue []*trackedSession

func (c *checkQueue) add(l *trackedSession, at time.Duration) {
	l.checkAt = at
	heap.Push(c, l)
}

func (c *checkQueue) reschedule(l *trackedSession, at time.Duration) {
	l.checkAt = at
	if l.queueIndex >= 0 {
		heap.Fix(c, l.queueIndex)
	}
}

func (c *checkQueue) remove(l *trackedSession) {
	heap.Remove(c, l.queueIndex)
	l.queueIndex = -1
}

func (c checkQueue) Len() int           { return len(c) }
func (c checkQueue) Less(i, j int) bool { return c[i].checkAt < c[j].checkAt }
func (c checkQueue) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].queueIndex, c[j].queueIndex = i, j
}

func (c *checkQueue) Push(x any) {
	l := x.(*trackedSession)
	l.queueIndex = len(*c)
	*c = append(*c, l)
}

func (c *checkQueue) Pop() any {
	old := *c
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*c = old[:len(old)-1]
	return l
}
