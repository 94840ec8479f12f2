package trade

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
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

	mintScript = redisx.NewScript(ledgerLua + mintLua)
)

// unknownLua stands where CharacterLua of ScriptCharacters would.
const unknownLua = "local function character_of() end\n"

// guarded are the scripts that settle inside a lock, on one server. Many of them run as one.
type guarded struct {
	gift, settle *redisx.Script
	alone        bool // they see by themselves whether anybody has the lock
	plays        bool // they see by themselves who plays whom
}

// guard makes them with the Lua of a ScriptLocker and of ScriptCharacters, or with "".
func guard(locks, characters string, keep time.Duration) guarded {
	g := guarded{alone: locks != "", plays: characters != ""}
	if !g.alone {
		locks = fenceLua
	}
	if !g.plays {
		characters = unknownLua
	}
	before := fmt.Sprintf("local LEDGER, INDEX, ITEMS, KEEP, MOST = %q, %q, %q, '%d', %d\n",
		keys.TradeLedger, keys.TradeLedgerIndex, keys.MintedItems, keep.Milliseconds(), Max) + locks + characters + ledgerLua
	g.gift = redisx.NewMergingScript(redisx.ScriptParts{Before: before, Each: giftLua, After: "remember(INDEX)\n"})
	g.settle = redisx.NewMergingScript(redisx.ScriptParts{Before: before, Each: settleLua, After: "remember(INDEX)\n"})
	return g
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

	createScript    = redisx.NewScript(ledgerLua + createLua)
	offerScript     = redisx.NewScript(ledgerLua + offerLua)
	acceptScript    = redisx.NewScript(ledgerLua + acceptLua)
	endScript       = redisx.NewScript(ledgerLua + endLua)
	holdScript      = redisx.NewScript(ledgerLua + holdLua)
	closeScript     = redisx.NewScript(ledgerLua + closeLua)
	claimScript     = redisx.NewScript(claimLua)
	appendScript    = redisx.NewScript(ledgerLua + appendLua)
	recordScript    = redisx.NewScript(recordLua)
	reserveScript   = redisx.NewScript(ledgerLua + reserveLua)
	unreserveScript = redisx.NewScript(ledgerLua + unreserveLua)
	watchScript     = redisx.NewScript(ledgerLua + watchLua)
	dueScript       = redisx.NewScript(ledgerLua + dueLua)
)
