package trade

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	// Max is the most of one item, or of gold, that a character may hold and a line may move.
	Max int64 = 1e12
	// MaxLines is the most kinds of items that one side may give.
	MaxLines = 20

	maxItemID = 64  // characters
	maxID     = 128 // characters of a user's or a character's id, and of an idempotency key

	maxLockName = 256 // bytes

	fenceKept = time.Hour // on a Cluster; far longer than a holder can be paused and still have a caller
	goldField = "gold"

	// MaxOpen is how many trades a character may have open.
	MaxOpen = 5

	startWithin = 4 * time.Second // from the places that a proposal took to the proposal
	forsaken    = 5 * time.Second // then such a place without a trade is free
	lookAgain   = 2 * time.Second // after an end that nobody was told of yet
)

// Locker runs fn while it holds the lock of that name. fn's context ends when the lock is lost;
// fence rises with every acquisition. Codes: LOCKED when somebody else has it for too long,
// UNAVAILABLE when it can not be asked for; fn's own errors as they are.
type Locker interface {
	Do(ctx context.Context, name string, fn func(ctx context.Context, fence int64) error) error
}

// A ScriptLocker is a Locker whose locks may lie on the server of the trades. A settlement there takes one round trip: its
// script sees that nobody else has the lock, and holds it only where somebody has.
type ScriptLocker interface {
	Locker
	// Inside is Lua that defines enter and pass, as lock.Manager says; "" when the locks lie elsewhere.
	Inside() (lua string)
}

// Characters knows whom a user plays. Codes: NOT_FOUND when the user has no character,
// UNAVAILABLE when that can not be known now.
type Characters interface {
	CharacterOf(ctx context.Context, userID string) (string, error)
}

// ScriptCharacters may know it on the server of the trades. A gift to whom somebody gave before takes one
// round trip there: its script sees that they play whom they played then.
type ScriptCharacters interface {
	Characters
	// CharacterLua is Lua that defines character_of(user, now), with now in Unix ms: the character, or anything else where
	// CharacterOf must be asked; "" when they are known elsewhere.
	CharacterLua() string
}

// Caster tells everyone in a room what happened, and counts them. The room "user:<userId>" holds all
// devices of a user, on all nodes.
type Caster interface {
	Cast(ctx context.Context, room, event string, payload any) error
	// CastEach is Cast to each of several rooms that have no members in common.
	CastEach(ctx context.Context, rooms []string, event string, payload any) error
	// Reach counts a room's members; whole is false when there may be more.
	Reach(ctx context.Context, room string) (members int, whole bool)
}

// Config has defaults for all that is zero.
type Config struct {
	// Keep is how long a trade is shown and an idempotency key remembered: 24 h.
	Keep time.Duration
	// OpenFor is how long a trade may be open before it expires: 5 min.
	OpenFor time.Duration
	// DecideWithin is how long a settlement on a Cluster may take until it is decided; then the sweeper undoes it: 2 s.
	DecideWithin time.Duration
	// Skew is how far the clocks of a Cluster's nodes may be apart: 10 s.
	Skew time.Duration
	// Durability is what an ok waits for: None.
	Durability Durability
	// Missed hears of what could not be told or cleaned up at once; the outcome stands, and the sweeper
	// tries again. Default: nobody.
	Missed func(ctx context.Context, err error)
}

// A Service holds the rules of trading and the scripts that keep them. It is safe for concurrent
// use, owns no goroutine and needs no closing; Sweep must run somewhere.
type Service struct {
	rdb     redis.UniversalClient
	scripts *redisx.ScriptBatcher
	guarded guarded
	cluster bool // several servers by slot: trades are settled in steps
	locks   Locker
	chars   Characters
	played  played
	cast    Caster
	cfg     Config
}

// New makes the service. Check tells whether rdb can carry it. Of locks that are a ScriptLocker, rdb must be
// what Inside is about. A service that only reads, mints
// and audits needs no locks, chars and cast.
func New(rdb redis.UniversalClient, locks Locker, chars Characters, cast Caster, cfg Config) *Service {
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
	if cfg.Missed == nil {
		cfg.Missed = func(context.Context, error) {}
	}
	_, cluster := rdb.(*redis.ClusterClient)
	locksLua, charactersLua := "", ""
	if l, ok := locks.(ScriptLocker); ok && !cluster {
		locksLua = l.Inside()
	}
	if c, ok := chars.(ScriptCharacters); ok && !cluster {
		charactersLua = c.CharacterLua()
	}
	return &Service{rdb: rdb, scripts: redisx.NewScriptBatcher(rdb), guarded: guard(locksLua, charactersLua, cfg.Keep), cluster: cluster, locks: locks, chars: chars, cast: cast, cfg: cfg}
}

// Routes are the events of this feature.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("trade:propose", s.Propose).Limit("trade"),
		event.On("trade:offer", s.Offer).Limit("trade"),
		event.On("trade:accept", s.Accept).Limit("trade"),
		event.On("trade:cancel", s.Cancel).Limit("trade"),
		event.On("trade:execute", s.Execute).Limit("trade"),
		event.On("trade:state", s.State),
		event.On("inventory:list", s.Inventory),
	}
}

// Casts are what the parties of a trade hear, on all their devices.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Trade]("trade:proposed", "You, or somebody with you, opened a trade."),
		event.Sends[Trade]("trade:updated", "An offer has changed, or one side has accepted; also when you come back to an open trade."),
		event.Sends[Trade]("trade:completed", "The goods of a trade of yours have moved."),
		event.Sends[Trade]("trade:cancelled", "A trade of yours has ended and nothing moved: see its status and reason."),
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

// The states of a trade. It is open until both have accepted one version; settling only on a Cluster;
// then completed, or failed when somebody no longer had what they offered. cancelled by a party,
// expired by itself. A gift is completed from the start.
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
	Reason    string  `json:"reason,omitzero"` // failed: a code; cancelled: the user id of who did it
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
	byID := func(a, b Line) int { return strings.Compare(a.ItemID, b.ItemID) }
	if g.Items != nil && slices.IsSortedFunc(g.Items, byID) {
		return g
	}
	items := append([]Line{}, g.Items...)
	slices.SortFunc(items, byID)
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

// lockName is the lock of two users, whichever asks. Ids that no lock can be named after, because they are
// long or have braces in them, are hashed.
func lockName(a, b string) string {
	name := "trade:" + min(a, b) + ":" + max(a, b)
	if len(name) > maxLockName || strings.ContainsAny(name, "{}") {
		sum := sha256.Sum256([]byte(name))
		return "trade:" + hex.EncodeToString(sum[:20])
	}
	return name
}

// lock is the name of the lock of its two users.
func (t Trade) lock() string { return lockName(t.Parties[0].UserID, t.Parties[1].UserID) }

// guards are the keys that enter and pass are called with: the lock, and the fence by which it is judged.
func (s *Service) guards(t Trade) (lock, fence string) {
	name := t.lock()
	if s.guarded.alone {
		return keys.LockAndFence(name)
	}
	a, b := t.Parties[0].UserID, t.Parties[1].UserID
	return keys.Lock(name), keys.TradeFence(min(a, b), max(a, b))
}

// newID draws from a generator that the runtime seeds from the system's: asking that for each id is dear.
func newID() string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Now()) // which fits until the year 10889
	binary.BigEndian.PutUint16(id[6:], uint16(rand.Uint32()))
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id.String()
}

// errHeld is what a script without a lease answers when somebody else has the lock.
var errHeld = errors.New("trade: the lock is held")

// fence is that of a lease, and "" for a script that needs none.
type fence string

// locked runs fn inside the lock of the two: without a lease where fn's script sees that the lock is free. What fn
// answers stands, whatever becomes of the lock afterwards.
func (s *Service) locked(ctx context.Context, d deal, fn func(ctx context.Context, mine fence) error) error {
	if s.guarded.alone {
		if err := fn(ctx, ""); !errors.Is(err, errHeld) {
			return err
		}
	}
	name := d.lock()
	var answer error
	ran := false
	err := s.locks.Do(ctx, name, func(ctx context.Context, n int64) error {
		ran = true
		answer = fn(ctx, fence(strconv.FormatInt(n, 10)))
		return answer
	})
	switch {
	case ran:
		return answer
	case err != nil:
		return trouble(err, name)
	}
	return errors.New("trade: the lock ran nothing")
}
