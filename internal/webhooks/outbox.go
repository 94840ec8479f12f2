package webhooks

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// The types of events.
const (
	Connected      = "connected"
	Disconnected   = "disconnected"
	SessionEnded   = "session.ended"
	ChatReported   = "chat.reported"
	CombatEnded    = "combat.ended"
	TradeCompleted = "trade.completed"
	ItemMinted     = "item.minted"
)

// Types returns the types of all events.
func Types() []string {
	return []string{Connected, Disconnected, SessionEnded, ChatReported, CombatEnded, TradeCompleted, ItemMinted}
}

// DefaultMax is how many events may wait unless the configuration says otherwise.
const DefaultMax = 100_000

var (
	//go:embed append.lua
	appendLua string
	//go:embed write.lua
	writeLua string
)

// An Outbox says which events are written, and writes them. A nil Outbox writes none.
type Outbox struct {
	rdb   redis.UniversalClient
	types []string
	most  int
	write *redisx.Script
}

// NewOutbox returns an Outbox of these types, of which most may wait. rdb must not be a Cluster:
// the scripts of other keys write into the one stream.
func NewOutbox(rdb redis.UniversalClient, types []string, most int) *Outbox {
	o := &Outbox{rdb: rdb, types: types, most: most}
	o.write = redisx.NewScript(o.luaFunctions() + writeLua)
	return o
}

// Has reports whether events of a type are written.
func (o *Outbox) Has(kind string) bool { return o != nil && slices.Contains(o.types, kind) }

// luaFunctions is the Lua of the function webhook.
func (o *Outbox) luaFunctions() string {
	var b strings.Builder
	b.WriteString("local WEBHOOK_TYPES, WEBHOOK_MAX = {")
	for _, t := range o.types {
		fmt.Fprintf(&b, "[%q]=true,", t)
	}
	fmt.Fprintf(&b, "}, %d\n", o.most)
	return b.String() + appendLua
}

// SessionLua is the Lua that makes the scripts of sessions write SessionEnded; "" when it is not
// told. See sessions.Config.AnnounceLua.
func (o *Outbox) SessionLua() string {
	if !o.Has(SessionEnded) {
		return ""
	}
	return o.luaFunctions() + "announce = function(message) webhook('" + SessionEnded + "', '', message) end\n"
}

// LedgerLua is the Lua that makes the scripts of trades write TradeCompleted and ItemMinted; ""
// when neither is told. See trade.Config.AnnounceLua.
func (o *Outbox) LedgerLua() string {
	if !o.Has(TradeCompleted) && !o.Has(ItemMinted) {
		return ""
	}
	return o.luaFunctions() + `announce = function(kind, ref, body)
  local rest = '"' .. ref .. '",' .. string.sub(body, 2)
  if kind == 'mint' then
    webhook('` + ItemMinted + `', ref, '{"mintId":' .. rest)
  else
    webhook('` + TradeCompleted + `', ref, '{"kind":"' .. kind .. '","tradeId":' .. rest)
  end
end
`
}

// A Party is a player whom an event is about. Either id may be "".
type Party struct {
	UserID      string `json:"userId,omitzero"`
	CharacterID string `json:"characterId,omitzero"`
}

// ErrFull means that too many events wait.
var ErrFull = errors.New("webhooks: too many events wait")

// Write writes an event, if its type is told. data is what is told, which names the players as
// PlayersOf finds them. Events with the same id are the same event. An error means that it may not
// have been written.
func (o *Outbox) Write(ctx context.Context, kind, id string, data any) error {
	if !o.Has(kind) {
		return nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("webhooks: encode %s: %w", kind, err)
	}
	place, err := o.write.Do(ctx, o.rdb, nil, kind, id, string(text)).Result()
	if err != nil {
		return fmt.Errorf("webhooks: write %s: %w", kind, err)
	}
	if n, isNumber := place.(int64); isNumber && n == 0 {
		return ErrFull
	}
	return nil
}

// settingsKeptFor is how long operators' commands know of the settings of nodes that have stopped.
const settingsKeptFor = 24 * time.Hour

// publishSettings tells operators' commands which events are told.
func (o *Outbox) publishSettings(ctx context.Context) error {
	_, err := o.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, keys.WebhookSettings, "types", strings.Join(o.types, ","), "max", strconv.Itoa(o.most))
		p.PExpire(ctx, keys.WebhookSettings, settingsKeptFor)
		return nil
	})
	return err
}

// OpenOutbox returns the Outbox of the nodes that serve, for a program beside them: nil when they
// have no receiver, or when our Redis user may not know.
func OpenOutbox(ctx context.Context, rdb redis.UniversalClient) (*Outbox, error) {
	if redisx.IsCluster(rdb) {
		return nil, nil
	}
	found, err := rdb.HGetAll(ctx, keys.WebhookSettings).Result()
	if redis.HasErrorPrefix(err, "NOPERM") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("webhooks: read the settings: %w", err)
	}
	most, _ := strconv.Atoi(found["max"])
	if found["types"] == "" || most < 1 {
		return nil, nil
	}
	var known []string
	for _, t := range strings.Split(found["types"], ",") {
		if slices.Contains(Types(), t) {
			known = append(known, t)
		}
	}
	return NewOutbox(rdb, known, most), nil
}
