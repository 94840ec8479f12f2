package lock

import "time"

// SetPollInterval makes callers that a release wakes ask Redis only so often by themselves. Nobody
// may wait.
func (m *Manager) SetPollInterval(d time.Duration) { m.listener.pollInterval = d }
