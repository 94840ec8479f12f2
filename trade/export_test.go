package trade

// Sources of scripts, for tests that plant a bug in one.
var Sources = map[string]string{"gift": fenceLua + ledgerLua + giftLua, "settle": fenceLua + ledgerLua + settleLua, "close": ledgerLua + closeLua}

// LockName is the lock of two users.
var LockName = lockName

// AppendMoves is the body of a ledger entry.
var AppendMoves = appendMoves
