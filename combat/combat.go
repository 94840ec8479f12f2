// Package combat lets players fight against opponents that the server plays. The server
// alone judges: a client says what it wants to do, and is told what happened.
//
//   - rules.go, npc.go and replay.go are the rules: pure functions of the state and a move.
//   - store.go and its scripts keep the state in one Redis key, and change it only from the
//     version that the change was made from: any node may serve any action.
//   - recent.go saves the reading, so that an action costs one round trip.
package combat

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// Faults of starting a fight.
var (
	ErrOpponent = fault.New("COMBAT_OPPONENT_UNAVAILABLE", "You can not fight against another player yet.")
	ErrTooMany  = fault.New("COMBAT_TOO_MANY", "Finish one of your fights first.")
)

// RoomPrefix comes before a fight's id in the name of its room.
const RoomPrefix = "combat:"

// maxTries bounds how often an action is tried anew because another came between. Each of
// those tries means that one of the others was served.
const maxTries = 16

// Rooms is what the gateway offers: sets of connections that hear the same things.
type Rooms interface {
	// Join puts a connection into a room, once however often it is called.
	Join(ctx context.Context, conn, room string) (members int, err error)
	// Leave takes it out again; leaving twice is the same as once.
	Leave(ctx context.Context, conn, room string) (members int, err error)
	// Cast sends an event to everybody in the room, in the order of the calls. A payload
	// that is an event.Appender is encoded without reflection.
	Cast(ctx context.Context, room, event string, payload any) error
}

// Config of the fights. The zero value works.
type Config struct {
	// TTL is for how long a fight in which nothing happens is kept, and an ended one; 0 is
	// 10 minutes.
	TTL time.Duration
	// MaxFights is how many running fights one user may have; 0 is 5.
	MaxFights int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Seed draws the seed of a new fight; nil draws from crypto/rand.
	Seed func() uint64
	// Report is told what went wrong after an action was done, when the player's answer can
	// not be an error any more; nil is not told.
	Report func(error)
}

// Service serves fights. It is safe for concurrent use.
type Service struct {
	rooms  Rooms
	store  store
	cfg    Config
	recent recent

	node   string        // names this process among the writers
	writes atomic.Uint64 // names one change among those of this process
}

// New makes the service over a Redis and the gateway's rooms.
func New(rdb redis.UniversalClient, rooms Rooms, cfg Config) *Service {
	if cfg.TTL == 0 {
		cfg.TTL = 10 * time.Minute
	}
	if cfg.MaxFights == 0 {
		cfg.MaxFights = 5
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Seed == nil {
		cfg.Seed = func() uint64 { return binary.LittleEndian.Uint64(random(8)) }
	}
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	return &Service{
		rooms: rooms, cfg: cfg, store: store{rdb: rdb, ttl: cfg.TTL},
		recent: recent{limit: 10_000, fights: map[string]*fight{}},
		node:   base64.RawURLEncoding.EncodeToString(random(9)),
	}
}

// Routes are the events of a fight.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("combat:start", s.Start),
		event.On("combat:action", s.Act).Limit("combat"),
		event.On("combat:state", s.State),
	}
}

// Casts are what those who follow a fight hear.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Update]("combat:update", "Something happened in a fight that you follow."),
		event.Sends[Ending]("combat:ended", "A fight that you follow is over; nothing comes after this."),
	}
}

// Opening starts a fight.
type Opening struct {
	// NPC is the opponent's name: see NPCs.
	NPC string `json:"npc,omitempty" validate:"max=64"`
	// OpponentID is the character of another player.
	OpponentID string `json:"opponentId,omitempty" validate:"max=128"`
}

// Action is what a player wants to do.
type Action struct {
	CombatID string `json:"combatId" validate:"required,max=64"`
	Action   string `json:"action" validate:"oneof=attack defend skill flee"`
	// Target is the id of the participant that attack and skill are aimed at; the opponent
	// when it is absent.
	Target string `json:"target,omitempty" validate:"max=128"`
}

// Which names a fight.
type Which struct {
	CombatID string `json:"combatId" validate:"required,max=64"`
}

// Start begins a fight against an NPC, and joins the player's connection to its room.
// Errors: INVALID, NOT_FOUND for no such NPC, COMBAT_TOO_MANY {limit, combats},
// COMBAT_OPPONENT_UNAVAILABLE, UNAVAILABLE.
func (s *Service) Start(ctx context.Context, p event.Player, in Opening) (State, error) {
	switch {
	case in.NPC == "" && in.OpponentID == "":
		return State{}, fault.Invalid("npc", "npc or opponentId is required")
	case in.NPC != "" && in.OpponentID != "":
		return State{}, fault.Invalid("npc", "either npc or opponentId")
	case in.OpponentID != "":
		return State{}, ErrOpponent
	}
	if _, ok := npcs[in.NPC]; !ok {
		return State{}, fault.ErrNotFound.With("npcs", NPCs())
	}
	now := s.cfg.Now()
	ticket, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	if err != nil {
		return State{}, fmt.Errorf("combat: id: %w", err)
	}
	id := ticket.String()
	if err := s.store.reserve(ctx, p.UserID, id, now, s.cfg.MaxFights); err != nil {
		return State{}, err
	}
	// Should the rest fail, the place is free again after settling.
	state := begin(id, s.cfg.Seed(), now.UnixMilli(), player(&p), in.NPC)
	if err := s.store.create(ctx, state); err != nil {
		return State{}, err
	}
	s.recent.put(state)
	if p.Conn != "" {
		if _, err := s.rooms.Join(ctx, p.Conn, RoomPrefix+id); err != nil {
			return State{}, fmt.Errorf("combat %s: join: %w", id, err)
		}
	}
	return state, nil
}

// player is how a player enters a fight.
func player(p *event.Player) Participant {
	id := p.CharacterID
	if id == "" {
		id = p.UserID
	}
	return Participant{ID: id, Kind: "player", UserID: p.UserID, CharacterID: p.CharacterID, Name: p.Username, Stats: demo}
}

// State reads a fight. A participant's connection hears of the fight from then on, so this
// is how one who lost the connection comes back. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) State(ctx context.Context, p event.Player, in Which) (State, error) {
	if !isID(in.CombatID) {
		return State{}, fault.ErrNotFound
	}
	state, err := s.store.load(ctx, in.CombatID)
	if err != nil {
		return State{}, err
	}
	if p.Conn == "" || state.index(p.UserID) < 0 {
		return state, nil
	}
	follow := s.rooms.Join
	if state.Status == Ended {
		follow = s.rooms.Leave
	}
	if _, err := follow(ctx, p.Conn, RoomPrefix+in.CombatID); err != nil {
		return State{}, fmt.Errorf("combat %s: follow: %w", in.CombatID, err)
	}
	return state, nil
}

// index is the participant that the user plays, or -1.
func (s *State) index(userID string) int {
	for i := range s.Participants {
		if s.Participants[i].Kind == "player" && s.Participants[i].UserID == userID {
			return i
		}
	}
	return -1
}

// isID tells whether a fight may have this id.
func isID(id string) bool {
	_, err := ulid.ParseStrict(id)
	return err == nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it would end the process instead
	return b
}

func (s *Service) writer() string {
	b := append(make([]byte, 0, 32), s.node...)
	b = append(b, '-')
	return string(strconv.AppendUint(b, s.writes.Add(1), 36))
}
