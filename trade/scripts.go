package trade

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// Scripts of one Redis server: everything at once.
var (
	//go:embed gift_before.lua
	giftBeforeLua string
	//go:embed gift.lua
	giftLua string
	//go:embed settle.lua
	settleLua string
	// fenceLua is used in place of ScriptLocker.ScriptGuard when the locks lie elsewhere.
	//go:embed fence.lua
	fenceLua string
)

// onceLua stands in front of scripts that change a trade under an idempotency key.
//
//go:embed once.lua
var onceLua string

// unknownCharacterLua is used in place of ScriptCharacters.CharacterLua when the characters are
// known elsewhere.
const unknownCharacterLua = "local function character_of() end\n"

// settlementScripts are the scripts that settle on one server. Redis may run many calls of one as
// one.
type settlementScripts struct {
	gift       *redisx.Script // for a caller without a lease
	leasedGift *redisx.Script
	trade      *redisx.Script
}

// newSettlementScripts makes the scripts, with the Lua of the locks, of the characters and of
// Config.AnnounceLua.
func newSettlementScripts(locksLua, charactersLua, announceLua string, keep time.Duration) settlementScripts {
	const character = "\x00"
	inventoryBefore, inventoryAfter, _ := strings.Cut(keys.Inventory(character), character)
	before := fmt.Sprintf("local LEDGER, INDEX, ITEMS, KEEP, MOST = %q, %q, %q, '%d', %d\nlocal INVENTORY_BEFORE, INVENTORY_AFTER = %q, %q\n",
		keys.TradeLedger, keys.TradeLedgerIndex, keys.MintedItems, keep.Milliseconds(), Max, inventoryBefore, inventoryAfter) +
		locksLua + charactersLua + ledger.Lua + announceLua + record.Functions
	newScript := func(more, prepare, each string) *redisx.Script {
		return redisx.NewMergingScript(redisx.ScriptParts{Before: before + more, Prepare: prepare, Each: each, After: "remember(INDEX)\n"})
	}
	newGift := func(leased int) *redisx.Script {
		return newScript(fmt.Sprintf("local LEASED = %d\n", leased)+giftBeforeLua, "look_up_gifts(KEYS, lists)\n", giftLua)
	}
	return settlementScripts{
		gift: newGift(0), leasedGift: newGift(1),
		trade: newScript(onceLua, lookUpTradesLua, settleLua),
	}
}

// lookUpTradesLua looks up in the ledger what all calls of settle.lua need.
const lookUpTradesLua = `local refs = {}
for i = 1, #lists do refs[i] = lists[i][1] end
look_up(INDEX, refs)
`

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

	createScript    = redisx.NewScript(ledger.Lua + createLua)
	offerScript     = redisx.NewScript(ledger.Lua + record.Functions + onceLua + offerLua)
	acceptScript    = redisx.NewScript(ledger.Lua + record.Functions + onceLua + acceptLua)
	endScript       = redisx.NewScript(ledger.Lua + record.Functions + onceLua + endLua)
	holdScript      = redisx.NewScript(ledger.Lua + holdLua)
	closeScript     = redisx.NewScript(ledger.Lua + closeLua)
	claimScript     = redisx.NewScript(claimLua)
	recordScript    = redisx.NewScript(recordLua)
	reserveScript   = redisx.NewScript(ledger.Lua + reserveLua)
	unreserveScript = redisx.NewScript(ledger.Lua + unreserveLua)
	watchScript     = redisx.NewScript(ledger.Lua + watchLua)
	dueScript       = redisx.NewScript(ledger.Lua + dueLua)
)
