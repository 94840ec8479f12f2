package socketio

// A queue holds items in the order in which they came. They are linked to each other, so it
// allocates nothing.
type queue struct {
	first, last *item
	len, bytes  int
}

func (q *queue) pushItem(it *item) {
	if q.first == nil {
		q.first = it
	} else {
		q.last.next = it
	}
	q.last = it
	q.len++
	q.bytes += it.byteSize()
}

// pushFirst puts an item before those that wait.
func (q *queue) pushFirst(it *item) {
	if q.first == nil {
		q.last = it
	}
	it.next, q.first = q.first, it
	q.len++
	q.bytes += it.byteSize()
}

// popItem takes the first item, or returns nil when there is none.
func (q *queue) popItem() *item {
	it := q.first
	if it == nil {
		return nil
	}
	if q.first = it.next; q.first == nil {
		q.last = nil
	}
	it.next = nil
	q.len--
	q.bytes -= it.byteSize()
	return it
}
