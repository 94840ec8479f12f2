package webhooks

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
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

	mu   sync.Mutex
	owed int64  // unwritten events that Redis could not count; guarded by mu
	why  string // the last of them was not written; guarded by mu
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
	return o.luaFunctions() + "announce = function(message) return webhook('" + SessionEnded + "', '', message) end\n"
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

// ErrFull means that too many events wait for a parked one to be sent again.
var ErrFull = errors.New("webhooks: too many events wait")

// passing are the refusals after which Redis takes nothing else of the caller either, until it
// takes all again: the caller tries again.
var passing = []string{"READONLY", "NOREPLICAS", "MISCONF", "MASTERDOWN"}

// Write writes an event, if its type is told. data is what is told, which names the players as
// PlayersOf finds them. Events with the same id are the same event. An error means that Redis does
// not answer or takes no writes at all, and that the event may not have been written. An event that
// alone is not taken, as when too many wait or Redis has no memory left, is no error: it is
// counted, and what it tells of goes on.
func (o *Outbox) Write(ctx context.Context, kind, id string, data any) error {
	if !o.Has(kind) {
		return nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("webhooks: encode %s: %w", kind, err)
	}
	got, err := o.write.Do(ctx, o.rdb, nil, kind, id, string(text)).Result()
	var reply redis.Error
	switch {
	case err != nil && errors.As(err, &reply) && !redisx.Unavailable(err): // such as a missing right
		o.noteUnwritten(err.Error())
		return nil
	case err != nil:
		return fmt.Errorf("webhooks: write %s: %w", kind, err)
	}
	refusal, isRefused := got.([]any)
	if !isRefused {
		return nil
	}
	why, _ := refusal[0].(string)
	if word, _, _ := strings.Cut(why, " "); slices.Contains(passing, word) {
		return fmt.Errorf("webhooks: write %s: %w: %s", kind, errPassing, why)
	}
	if refusal[1] == int64(0) {
		o.noteUnwritten(why)
	}
	return nil
}

// errPassing means that Redis takes no writes now.
var errPassing = errors.New("Redis takes no writes")

// noteUnwritten notes that Redis refused an event and could not count that. The dispatcher counts
// it once Redis takes it, and logs the reason.
func (o *Outbox) noteUnwritten(why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owed++
	o.why = why
}

// owedEvents returns how many unwritten events Redis has not counted yet, and why the last was not
// written.
func (o *Outbox) owedEvents() (n int64, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.owed, o.why
}

// countOwed counts in Redis what it could not count before.
func (o *Outbox) countOwed(ctx context.Context) error {
	n, why := o.owedEvents()
	if n == 0 {
		return nil
	}
	if _, err := o.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HIncrBy(ctx, keys.WebhookCounts, "unwritten", n)
		p.HSet(ctx, keys.WebhookCounts, "unwrittenWhy", why)
		return nil
	}); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owed -= n
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
