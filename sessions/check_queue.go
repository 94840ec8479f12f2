package sessions

import (
	"container/heap"
	"time"
)

// A checkQueue is a heap of tracked sessions, by the time of their next check.
type checks []*live

func (c *checks) add(l *live, at time.Duration) {
	l.at = at
	heap.Push(c, l)
}

func (c *checks) move(l *live, at time.Duration) {
	l.at = at
	if l.place >= 0 {
		heap.Fix(c, l.place)
	}
}

func (c *checks) remove(l *live) {
	heap.Remove(c, l.place)
	l.place = -1
}

func (c checks) Len() int           { return len(c) }
func (c checks) Less(i, j int) bool { return c[i].at < c[j].at }
func (c checks) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].place, c[j].place = i, j
}

func (c *checks) Push(x any) {
	l := x.(*live)
	l.place = len(*c)
	*c = append(*c, l)
}

func (c *checks) Pop() any {
	old := *c
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*c = old[:len(old)-1]
	return l
}
