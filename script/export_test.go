package script

const WaitingMost = waitingMost

// Waiting is how many calls no pipeline has taken yet.
func (b *Batcher) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// Asked is how many calls there were.
func (b *Batcher) Asked() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}
