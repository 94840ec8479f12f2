package trade

import (
	"context"
	"crypto/rand"
	_ "embed"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
)

const (
	// Max is the most of one item, or of gold, that a character may hold and a line may move.
	Max int64 = 1e12
	// MaxLines is the most kinds of items that one side may give.
	MaxLines = 20

	maxItemID = 64  // characters
	maxID     = 128 // characters of a user's or a character's id, and of an idempotency key

	fenceKept = time.Hour // far longer than a holder can be paused and still have a caller
	goldField = "gold"
)

// Locker runs fn while it holds the lock of that name. fn's context ends when the lock is lost;
// fence rises with every acquisition. Codes: LOCKED when somebody else has it for too long,
// UNAVAILABLE when it can not be asked for; fn's own errors as they are.
type Locker interface {
	Do(ctx context.Context, name string, fn func(ctx context.Context, fence int64) error) error
}

// Characters knows whom a user plays. Codes: NOT_FOUND when the user has no character,
// UNAVAILABLE when that can not be known now.
type Characters interface {
	CharacterOf(ctx context.Context, userID string) (string, error)
}

// Caster tells everyone in a room what happened. The room "user:<userId>" holds all devices of a user.
type Caster interface {
	Cast(ctx context.Context, room, event string, payload any) error
}

// Config has defaults for all that is zero.
type Config struct {
	// Keep is how long a trade is shown and an idempotency key remembered: 24 h.
	Keep time.Duration
	// Missed hears of a trade:completed that could not be told; the trade stands. Default: nobody.
	Missed func(ctx context.Context, err error)
}

// A Service holds the rules of trading and the scripts that keep them. It is safe for concurrent
// use, owns no goroutine and needs no closing.
type Service struct {
	rdb   redis.UniversalClient
	locks Locker
	chars Characters
	cast  Caster
	cfg   Config
}

// New makes the service. Check tells whether rdb can carry it.
func New(rdb redis.UniversalClient, locks Locker, chars Characters, cast Caster, cfg Config) *Service {
	if cfg.Keep <= 0 {
		cfg.Keep = 24 * time.Hour
	}
	if cfg.Missed == nil {
		cfg.Missed = func(context.Context, error) {}
	}
	return &Service{rdb: rdb, locks: locks, chars: chars, cast: cast, cfg: cfg}
}

// Check returns ErrCluster when the client reaches several servers by slot: a script can not
// move goods between them. Every call that writes or audits returns it too.
func (s *Service) Check() error {
	switch s.rdb.(type) {
	case *redis.ClusterClient, *redis.Ring:
		return ErrCluster
	}
	return nil
}

// Routes are the events of this feature.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("trade:execute", s.Execute).Limit("trade"),
		event.On("trade:state", s.State),
		event.On("inventory:list", s.Inventory),
	}
}

// Casts are what the parties of a trade hear, on all their devices.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Trade]("trade:completed", "The goods of a trade of yours have moved."),
	}
}

// A Line is a quantity of one item.
type Line struct {
	ItemID string `json:"itemId"`
	Qty    int64  `json:"qty"` // 1 to Max
}

// Goods are what one side gives, or what a character has: items, each named once, and gold.
type Goods struct {
	Items []Line `json:"items"`
	Gold  int64  `json:"gold"` // 0 to Max
}

// A Party is one side of a trade.
type Party struct {
	UserID      string `json:"userId"`
	CharacterID string `json:"characterId"`
	Offer       Goods  `json:"offer"`
	Accepted    bool   `json:"accepted"`
}

// A Status is how far a trade is.
type Status string

// The states of a trade. A gift is completed from the start.
const (
	Open      Status = "open"
	Settling  Status = "settling"
	Completed Status = "completed"
	Cancelled Status = "cancelled"
	Expired   Status = "expired"
	Failed    Status = "failed"
)

// A Trade is what both parties see. Of a gift the giver is the first party, and ExpiresAt is
// until when the trade is shown and its idempotency key remembered.
type Trade struct {
	TradeID   string  `json:"tradeId"`
	Status    Status  `json:"status"`
	Version   int64   `json:"version"`
	Parties   []Party `json:"parties"`   // two
	CreatedAt int64   `json:"createdAt"` // Unix ms
	ExpiresAt int64   `json:"expiresAt"` // Unix ms
	Reason    string  `json:"reason,omitzero"`
}

// involves tells whether the user is a party of the trade.
func (t Trade) involves(userID string) bool {
	return slices.ContainsFunc(t.Parties, func(p Party) bool { return p.UserID == userID })
}

func (g Goods) empty() bool { return len(g.Items) == 0 && g.Gold == 0 }

func (g Goods) qty(item string) int64 {
	for _, l := range g.Items {
		if l.ItemID == item {
			return l.Qty
		}
	}
	return 0
}

// sorted is the one way to write these goods down: by item id, never nil.
func (g Goods) sorted() Goods {
	items := append([]Line{}, g.Items...)
	slices.SortFunc(items, func(a, b Line) int { return strings.Compare(a.ItemID, b.ItemID) })
	return Goods{Items: items, Gold: g.Gold}
}

// fields are the goods as script arguments: inventory field, quantity, and so on.
func (g Goods) fields() []any {
	args := make([]any, 0, 2*len(g.Items)+2)
	for _, l := range g.Items {
		args = append(args, "item:"+l.ItemID, l.Qty)
	}
	if g.Gold > 0 {
		args = append(args, goldField, g.Gold)
	}
	return args
}

// lockName is the lock of two users, whichever asks.
func lockName(a, b string) string { return "trade:" + min(a, b) + ":" + max(a, b) }

func newID() string { return ulid.MustNew(ulid.Now(), rand.Reader).String() }

//go:embed ledger.lua
var ledgerLua string

//go:embed gift.lua
var giftLua string

//go:embed mint.lua
var mintLua string

var (
	giftScript = redis.NewScript(ledgerLua + giftLua)
	mintScript = redis.NewScript(ledgerLua + mintLua)
)
