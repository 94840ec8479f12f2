package script

// Waiting is how many calls no pipeline has taken yet.
func (b *Batcher) Waiting() int { return b.calls.Waiting() }
