package trade

import (
	_ "embed"

	"github.com/aeturnis/realtime/script"
)

//go:embed ledger.lua
var ledgerLua string

// fenceLua stands where Inside of a ScriptLocker would.
//
//go:embed fence.lua
var fenceLua string

// Scripts of one Redis server: everything at once.
var (
	//go:embed gift.lua
	giftLua string
	//go:embed mint.lua
	mintLua string
	//go:embed settle.lua
	settleLua string

	mintScript = script.New(ledgerLua + mintLua)
)

// guarded are the scripts that settle inside a lock, on one server.
type guarded struct {
	gift, settle *script.Script
	alone        bool // they see by themselves whether anybody has the lock
}

// guard makes them with inside, the Lua of a ScriptLocker, or with "".
func guard(inside string) guarded {
	alone := inside != ""
	if !alone {
		inside = fenceLua
	}
	return guarded{script.New(inside + ledgerLua + giftLua), script.New(inside + ledgerLua + settleLua), alone}
}

// Scripts of one key, or of keys in one slot.
var (
	//go:embed create.lua
	createLua string
	//go:embed offer.lua
	offerLua string
	//go:embed accept.lua
	acceptLua string
	//go:embed end.lua
	endLua string
	//go:embed hold.lua
	holdLua string
	//go:embed close.lua
	closeLua string
	//go:embed claim.lua
	claimLua string
	//go:embed append.lua
	appendLua string
	//go:embed record.lua
	recordLua string
	//go:embed reserve.lua
	reserveLua string
	//go:embed unreserve.lua
	unreserveLua string
	//go:embed watch.lua
	watchLua string
	//go:embed due.lua
	dueLua string

	createScript    = script.New(ledgerLua + createLua)
	offerScript     = script.New(ledgerLua + offerLua)
	acceptScript    = script.New(ledgerLua + acceptLua)
	endScript       = script.New(ledgerLua + endLua)
	holdScript      = script.New(ledgerLua + holdLua)
	closeScript     = script.New(ledgerLua + closeLua)
	claimScript     = script.New(claimLua)
	appendScript    = script.New(ledgerLua + appendLua)
	recordScript    = script.New(recordLua)
	reserveScript   = script.New(ledgerLua + reserveLua)
	unreserveScript = script.New(ledgerLua + unreserveLua)
	watchScript     = script.New(ledgerLua + watchLua)
	dueScript       = script.New(ledgerLua + dueLua)
)
