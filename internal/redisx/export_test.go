package redisx

// Waiting is how many calls no pipeline has taken yet.
func (b *ScriptBatcher) Waiting() int { return b.calls.Waiting() }
