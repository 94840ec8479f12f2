package trade

// Sources of scripts, for tests that plant a bug in one.
var Sources = map[string]string{"gift": ledgerLua + giftLua, "settle": ledgerLua + settleLua, "close": ledgerLua + closeLua}

// LockName is the lock of two users.
var LockName = lockName
