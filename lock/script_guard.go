package lock

import _ "embed"

//go:embed script_guard.lua
var scriptGuardLua string

// ScriptGuard returns Lua for the beginning of scripts that run on the server of the locks. While
// a script runs, nothing else does: it need not hold the lock, but only check that nobody else
// holds it. The Lua defines two functions; keys.Lock and keys.LockFence spell the keys of a name.
//
//	enter(lock, fence, mine)   nil if the script may go on; else {'held'} or {'stale', fence}
//	pass()                     to be called when the script goes on, before it writes
//
// mine is the fence of the caller's lease, or an empty string without a lease. A lease that has
// expired is stale. On several servers ScriptGuard returns "": there a majority decides who holds
// a lock, and a script sees one server only.
func (m *Manager) ScriptGuard() (lua string) {
	if len(m.clients) > 1 {
		return ""
	}
	return scriptGuardLua
}
