package trade

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

//go:embed ledger.lua
var ledgerLua string

// Scripts of one Redis server: everything at once.
var (
	//go:embed gift.lua
	giftLua string
	//go:embed mint.lua
	mintLua string
	//go:embed settle.lua
	settleLua string

	giftScript   = redis.NewScript(ledgerLua + giftLua)
	mintScript   = redis.NewScript(ledgerLua + mintLua)
	settleScript = redis.NewScript(ledgerLua + settleLua)
)

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

	createScript    = redis.NewScript(ledgerLua + createLua)
	offerScript     = redis.NewScript(ledgerLua + offerLua)
	acceptScript    = redis.NewScript(ledgerLua + acceptLua)
	endScript       = redis.NewScript(ledgerLua + endLua)
	holdScript      = redis.NewScript(ledgerLua + holdLua)
	closeScript     = redis.NewScript(ledgerLua + closeLua)
	claimScript     = redis.NewScript(claimLua)
	appendScript    = redis.NewScript(ledgerLua + appendLua)
	recordScript    = redis.NewScript(recordLua)
	reserveScript   = redis.NewScript(ledgerLua + reserveLua)
	unreserveScript = redis.NewScript(ledgerLua + unreserveLua)
	watchScript     = redis.NewScript(ledgerLua + watchLua)
	dueScript       = redis.NewScript(ledgerLua + dueLua)
)
