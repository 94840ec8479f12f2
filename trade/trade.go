package trade

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/trade/ledger"
)

const (
	// Max is the largest amount of one item, or of gold, that a character may hold or a line may move.
	Max = ledger.MaxAmount
	// MaxLines is the most kinds of items that one side may give.
	MaxLines = ledger.MaxLines
	// MaxOpen is how many trades that it proposed a character may have open.
	MaxOpen = 5
	// MaxIncoming is how many trades that others proposed to it a character may have open. A further
	// proposal cancels the oldest of them, with the reason Replaced.
	MaxIncoming = 10
	// Replaced is the reason of a trade that was cancelled because of a newer proposal.
	Replaced = "replaced"
)

// Caster sends events to the members of a room on all nodes, and counts them. The room
// "user:<userId>" holds all devices of a user.
type Caster interface {
	Cast(ctx context.Context, room, event string, payload any) error
	// CastEach is Cast to each of several rooms that have no members in common.
	CastEach(ctx context.Context, rooms []string, event string, payload any) error
	// Reach counts a room's members; whole is false when there may be more.
	Reach(ctx context.Context, room string) (members int, whole bool)
}

// Ignores knows who ignores whom.
type Ignores interface {
	// Ignores reports whether a user ignores another one.
	Ignores(ctx context.Context, userID, otherID string) (bool, error)
}

// Config tunes a Service. The zero value works.
type Config struct {
	// Keep is how long the record of an ended trade and of an idempotency key is kept; 0 means 24 h.
	Keep time.Duration
	// OpenFor is how long a trade may be open before it expires; 0 means 5 min.
	OpenFor time.Duration
	// DecideWithin is how long a settlement on a Cluster may take until it is decided; 0 means 2 s.
	// The sweeper undoes a settlement that takes longer.
	DecideWithin time.Duration
	// Skew is how far the clocks of a Cluster's servers may differ; 0 means 10 s. It is not used with
	// one server, which has one clock.
	Skew time.Duration
	// Ignores tells whose proposals a user is not told of; nil: nobody ignores anybody.
	Ignores Ignores
	// AnnounceLua is Lua of one Redis server that sets announce, a function which the scripts that
	// settle and mint call with the kind, the ref and the body of each entry that they write into the
	// ledger. It must not fail. "" tells nobody. On a Cluster it is not called.
	AnnounceLua string
	// Durability says how safely a trade is stored before it is answered with ok; "" means None. With
	// Auto, call JudgeDurability at the start and from time to time.
	Durability Durability
	// Settled, if set, is called once for each trade and gift that has ended, on the node that tells
	// its parties. kind is "trade" or "gift". It must not wait.
	Settled func(kind string, t Trade)
	// Missed, if set, is called with each error of a notification or a cleanup that failed after a
	// trade was decided. The outcome of the trade stands, and the sweeper tries again.
	Missed func(ctx context.Context, err error)
}

// A Service serves trades, gifts and mints. It is safe for concurrent use, owns no goroutine and
// needs no closing. Sweep must run on at least one node: without it, trades whose time is over are
// not ended, and what a dead process left unsettled stays so.
type Service struct {
	*core
	settler settler
}

// core is what the service and its settler share.
type core struct {
	rdb        redis.UniversalClient
	isCluster  bool
	scripts    *redisx.ScriptBatcher
	ledger     *ledger.Ledger
	locks      Locker
	characters Characters
	caster     Caster
	cfg        Config
	judged     durabilityJudge
}

// New makes the service. Call Check to learn whether it can work with rdb. A ScriptLocker whose
// ScriptGuard is not "" must keep its locks on the server of rdb. For a service that only reads,
// mints and audits, locks, characters and caster may be nil.
func New(rdb redis.UniversalClient, locks Locker, characters Characters, caster Caster, cfg Config) *Service {
	if cfg.Keep <= 0 {
		cfg.Keep = 24 * time.Hour
	}
	if cfg.OpenFor <= 0 {
		cfg.OpenFor = 5 * time.Minute
	}
	if cfg.DecideWithin <= 0 {
		cfg.DecideWithin = 2 * time.Second
	}
	if cfg.Skew <= 0 {
		cfg.Skew = 10 * time.Second
	}
	isCluster := redisx.IsCluster(rdb)
	if !isCluster {
		cfg.Skew = 0
	}
	if cfg.Missed == nil {
		cfg.Missed = func(context.Context, error) {}
	}
	c := &core{
		rdb: rdb, isCluster: isCluster, scripts: redisx.NewScriptBatcher(rdb),
		ledger: ledger.New(rdb, ledger.Config{Skew: cfg.Skew}),
		locks:  locks, characters: characters, caster: caster, cfg: cfg,
	}
	if isCluster {
		return &Service{core: c, settler: newSagaSettler(c)}
	}
	return &Service{core: c, settler: newScriptSettler(c)}
}

// Routes are the events of this feature.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("trade:propose", s.Propose).Limit("trade").Once(s.onceOptions()...),
		event.On("trade:offer", s.Offer).Limit("trade").Once(s.onceOptions(event.Beside(
			func(_ event.Player, in Terms) string { return besideTrade(in.TradeID) }))...),
		event.On("trade:accept", s.Accept).Limit("trade").Once(s.onceOptions(event.Beside(
			func(_ event.Player, in Agreement) string { return besideTrade(in.TradeID) }))...),
		event.On("trade:cancel", s.Cancel).Limit("trade").Once(s.onceOptions(event.Beside(
			func(_ event.Player, in Cancellation) string { return besideTrade(in.TradeID) }))...),
		event.On("trade:execute", s.Execute).Limit("trade").Once(s.onceOptions(s.giftOnceOptions()...)...),
		event.On("trade:state", s.State).Limit("reads"),
		event.On("inventory:list", s.Inventory).Limit("reads"),
	}
}

// Casts are the events that the parties of a trade receive, on all their devices.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Trade]("trade:proposed", "You, or somebody with you, opened a trade. You are not told of those of users whom you ignore."),
		event.Sends[Trade]("trade:updated", "An offer has changed, or one side has accepted; also when you come back to an open trade."),
		event.Sends[Trade]("trade:completed", "The goods of a trade of yours have moved."),
		event.Sends[Trade]("trade:cancelled", "A trade of yours has ended and nothing moved: see its status and reason."),
	}
}

type (
	// A Line is a quantity of one item.
	Line = ledger.Line
	// Goods are what one side gives, or what a character has: items, each named once, and gold.
	Goods = ledger.Goods
)

// A Party is one side of a trade.
type Party struct {
	UserID      string `json:"userId"`
	CharacterID string `json:"characterId"`
	Offer       Goods  `json:"offer"`
	Accepted    bool   `json:"accepted"`
}

// A Status is how far a trade is.
type Status string

// The states of a trade. It is open until both have accepted one version; settling only on a
// Cluster; then completed, or failed when somebody no longer had what they offered. cancelled by a
// party, expired by itself. A gift is completed from the start.
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
	Parties   []Party `json:"parties"`         // two
	CreatedAt int64   `json:"createdAt"`       // Unix ms
	ExpiresAt int64   `json:"expiresAt"`       // Unix ms
	Reason    string  `json:"reason,omitzero"` // failed: a code; cancelled: the user id of who did it, or "replaced"
}

// isPartyOf tells whether the user is a party of the trade.
func (t Trade) isPartyOf(userID string) bool { return t.sideOfUser(userID) >= 0 }

// sideOfUser returns which party a user is: 0, 1, or -1.
func (t Trade) sideOfUser(userID string) int {
	return slices.IndexFunc(t.Parties, func(p Party) bool { return p.UserID == userID })
}
