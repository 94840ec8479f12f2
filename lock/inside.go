package lock

import _ "embed"

//go:embed inside.lua
var insideSource string

// Inside is Lua for the beginning of scripts that run on the server of the locks. A script is alone while it runs: it need not
// hold a lock, but only see that nobody else does. It defines, with keys.Lock and keys.LockFence of the name,
//
//	enter(lock, fence, mine)   nil when the script may go on; else {'held'} or {'stale', fence}
//	pass()                     called where the script goes on, before it writes
//
// where mine is the fence of the caller's lease, or an empty string when it has none. A lease that has run out is stale. With
// several servers a majority decides who holds a lock, and no script can know: then it is empty.
func (m *Manager) Inside() (lua string) {
	if len(m.clients) > 1 {
		return ""
	}
	return insideSource
}
