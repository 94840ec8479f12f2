package sessions

import (
	_ "embed"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

//go:embed create.lua
var createSource string

//go:embed touch.lua
var touchSource string

//go:embed extend.lua
var extendSource string

//go:embed update.lua
var updateSource string

//go:embed destroy.lua
var destroySource string

//go:embed renew.lua
var renewSource string

//go:embed index.lua
var indexSource string

// The keys of each of these scripts lie in one slot, so that it runs on a Cluster too.
var (
	createScript = redisx.NewScript(createSource)
	touchScript  = redisx.NewScript(touchSource)
	extendScript = redisx.NewScript(extendSource)
	updateScript = redisx.NewScript(updateSource)
	renewScript  = redisx.NewScript("local function index(KEYS, ARGV)\n" + indexSource + "end\n" + renewSource)
	indexScript  = redisx.NewScript(indexSource)
)

//go:embed remove_expired.lua
var removeExpiredSource string

// newAnnouncingScript returns a script that may call announce.
func newAnnouncingScript(announceLua, source string) *redisx.Script {
	return redisx.NewScript("local announce\n" + announceLua + source)
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// isWrongType reports that a key holds something other than a session.
func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }
