// Package combat lets players fight: against opponents that the server plays, and against
// each other. The server alone judges: a client says what it wants to do, and is told what
// happened.
//
//   - rules.go, npcs.go and replay.go are the rules: pure functions of the state and a move.
//   - store.go, slots.go and their scripts keep the state in one Redis key, and change it only
//     from the version that the change was made from: any node may serve any action.
//   - fightcache.go saves the reading, so that an action costs one round trip.
//   - ending.go settles what has ended, and ends what was abandoned: every node looks for
//     such fights, and one of them does it.
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

// RoomPrefix comes before a fight's id in the name of its room.
const RoomPrefix = "combat:"

// userPrefix comes before a user's id in the name of the room of all their devices.
const userPrefix = "user:"

// maxTries bounds how often an action is tried anew because another came between. Each of
// those tries means that one of the others was served.
const maxTries = 16

// Rooms is what the gateway offers: sets of connections that hear the same things.
type Rooms interface {
	// Join puts a connection into a room, once however often it is called.
	Join(ctx context.Context, conn, room string) (members int, err error)
	// Leave takes it out again; leaving twice is the same as once.
	Leave(ctx context.Context, conn, room string) (members int, err error)
	// CastExcept sends an event to everybody in the room who is not in the room except, which
	// may be "", in the order of the calls. A payload that is an event.Appender is encoded
	// without reflection.
	CastExcept(ctx context.Context, room, except, event string, payload any) error
}

// Characters is where characters come from.
type Characters interface {
	// Character says whose a character is and what it can do; NOT_FOUND when there is none.
	Character(ctx context.Context, id string) (Character, error)
}

// A Character is who enters a fight.
type Character struct {
	UserID string // who plays it
	Name   string
	Stats  Stats
}

// Presence knows who is there.
type Presence interface {
	// Online tells whether a user is connected, on any node.
	Online(ctx context.Context, userID string) (bool, error)
}

// Rewarder pays what a victory is worth.
type Rewarder interface {
	// Reward gives goods to a character, once for each key however often it is called. A
	// fault other than UNAVAILABLE, TIMEOUT and LOCKED says that it can never be paid.
	Reward(ctx context.Context, key, characterID string, won Rewards) error
}

// Scorer counts victories.
type Scorer interface {
	// Score counts a victory once for each key, however often it is called.
	Score(ctx context.Context, v Victory) error
}

// A Victory is what counts on a leaderboard.
type Victory struct {
	Key    string // names it
	ID     string // of the winner: the character's id, else the user's
	Name   string
	Points int64
	At     time.Time
}

// Config of the fights. The zero value works.
type Config struct {
	// Characters says what players can do; nil gives everybody the same stats, and nobody can
	// fight another player.
	Characters Characters
	// Presence says whom one can fight; nil takes everybody for online.
	Presence Presence
	// Rewarder pays for victories; nil pays nothing.
	Rewarder Rewarder
	// Scorer counts victories; nil counts nothing.
	Scorer Scorer

	// Abandon is after how long without a move a fight ends; 0 is 2 minutes. It is noticed
	// within Sweep.
	Abandon time.Duration
	// Sweep is how often Run looks for fights to end and to settle; 0 is a second.
	Sweep time.Duration
	// TTL is for how long a fight in which nothing happens is kept, and a settled one: at
	// least twice Abandon; 0 is 10 minutes.
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

// New makes the service over a Redis and the gateway's rooms. Run must run for fights to
// time out.
func New(rdb redis.UniversalClient, rooms Rooms, cfg Config) *Service {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&cfg.Abandon, 2*time.Minute)
	or(&cfg.Sweep, time.Second)
	or(&cfg.TTL, 10*time.Minute)
	cfg.TTL = max(cfg.TTL, 2*cfg.Abandon)
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
		event.On("combat:list", s.List),
	}
}

// Casts are what those who follow a fight hear.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Started]("combat:started", "A fight between you and another player has begun; both are sent it."),
		event.Sends[Update]("combat:update", "Something happened in a fight that you follow."),
		event.Sends[Ending]("combat:ended", "A fight that you follow is over and settled; nothing comes after this."),
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

// Fights are the running ones of a player, the oldest first.
type Fights struct {
	Combats []State `json:"combats"`
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
	return state, s.follow(ctx, &p, &state)
}

// List reads the caller's running fights, those too that others began. The connection hears
// of each from then on. Errors: UNAVAILABLE.
func (s *Service) List(ctx context.Context, p event.Player, _ event.None) (Fights, error) {
	running, err := s.store.running(ctx, p.UserID)
	if err != nil {
		return Fights{}, err
	}
	for i := range running {
		if err := s.follow(ctx, &p, &running[i]); err != nil {
			return Fights{}, err
		}
	}
	return Fights{running}, nil
}

// follow lets a participant's connection hear of the fight, and not any more once it has
// ended. Fights between players are told to all devices of both without it.
func (s *Service) follow(ctx context.Context, p *event.Player, state *State) error {
	by := played(state.Participants, p)
	if p.Conn == "" || by < 0 || state.duel() && state.Participants[by].UserID == p.UserID {
		return nil
	}
	do := s.rooms.Join
	if state.Status == Ended {
		do = s.rooms.Leave
	}
	if _, err := do(ctx, p.Conn, RoomPrefix+state.CombatID); err != nil {
		return fmt.Errorf("combat %s: follow: %w", state.CombatID, err)
	}
	return nil
}

// played is the participant that is the player's, or -1: theirs as a user, or the character
// that they play now.
func played(fighters []Participant, p *event.Player) int {
	for i := range fighters {
		if f := &fighters[i]; f.Kind == kindPlayer &&
			(p.UserID != "" && f.UserID == p.UserID || p.CharacterID != "" && f.CharacterID == p.CharacterID) {
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
