// Package combat lets players fight, against opponents that the server plays and against each
// other. Only the server decides what happens: a client says what it wants to do, and receives the
// result.
//
// A fight is a [State]. [Apply] computes the next state from a state and a [Move]; it is a pure
// function, so a stored fight can be replayed from its log ([Replay], [Verify]). [Service] stores
// each fight in one Redis hash and replaces the state only if nobody has replaced it meanwhile, so
// any node can serve any action. An action costs one round trip to Redis on a node that knows the
// fight.
//
// A fight ends when a participant is dead or has fled, or when nobody has moved for
// [Config].AbandonAfter. Then it is settled: the winner is paid and counted, the followers are
// told, and the players' slots are free again. If the node dies before that, [Service.Run] on
// another node settles the fight.
//
// A fight between players needs consent. combat:start of another player's character sends a
// challenge, which is open for Config.ChallengeFor; combat:accept and combat:decline answer it.
// Players who want no question opened their duels (combat:duels). A challenge counts against its
// sender, whose slot it holds; of the challenges to one character the newest MaxIncoming are kept.
// The challenge of somebody whom the challenged player ignores looks to its sender like one that
// nobody answers.
//
// A start or an action with an idempotency key is done once (event.Route.Once): the script that
// replaces the state writes the answer too, and a start binds the id of its fight to the key.
//
// In this package:
//
//   - rules.go, npcs.go and replay.go are the rules, without Redis and without a clock.
//   - start.go, challenge.go and act.go serve the players; ending.go settles and abandons fights.
//   - store.go and slots.go, with their Lua scripts, keep the fights in Redis.
//   - challenges.go keeps challenges in Redis; notifier.go tells players who come back of them.
//   - fightcache.go remembers the fights that this node served last.
//   - payments.go limits what two characters can earn from each other.
//   - roster.go records which user plays a character.
package combat

import (
	"cmp"
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
	"golang.org/x/sync/errgroup"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// RoomPrefix is the prefix of the name of a fight's room; the fight's id follows.
const RoomPrefix = "combat:"

// userPrefix is the prefix of the name of the room with all devices of a user; the user's id
// follows.
const userPrefix = "user:"

// maxTries is how often an action is tried when another action was stored first each time. Each
// failed try means that another action was served.
const maxTries = 16

// Rooms is what combat needs of the gateway: sets of connections that receive the same events.
type Rooms interface {
	// Join puts a connection into a room; joining twice is the same as joining once.
	Join(ctx context.Context, conn, room string) (members int, err error)
	// Leave takes a connection out of a room; leaving twice is the same as leaving once.
	Leave(ctx context.Context, conn, room string) (members int, err error)
	// CastExcept sends an event to the connections in room that are not in the room except, which
	// may be "". Events arrive in the order of the calls. A payload that is an event.Appender is
	// encoded without reflection.
	CastExcept(ctx context.Context, room, except, event string, payload any) error
}

// Characters is the source of characters.
type Characters interface {
	// Character returns who plays a character and what it can do, or NOT_FOUND.
	Character(ctx context.Context, id string) (Character, error)
}

// A Character can enter a fight.
type Character struct {
	UserID string // the user who plays it
	Name   string
	Stats  Stats
}

// Presence tells combat who is online.
type Presence interface {
	// Online reports whether a user is connected, on any node.
	Online(ctx context.Context, userID string) (bool, error)
}

// Ignores knows who ignores whom.
type Ignores interface {
	// Ignores reports whether a user ignores another one.
	Ignores(ctx context.Context, userID, otherID string) (bool, error)
}

// Rewarder pays the winner of a fight.
type Rewarder interface {
	// Reward gives goods to a character. Calls with the same key pay once. A fault other than
	// UNAVAILABLE, TIMEOUT and LOCKED means that this reward can never be paid.
	Reward(ctx context.Context, key, characterID string, won Rewards) error
}

// Scorer counts victories.
type Scorer interface {
	// Score counts a victory. Calls with the same key count once.
	Score(ctx context.Context, v Victory) error
}

// A Victory is counted on the leaderboards.
type Victory struct {
	Key    string // identifies the victory
	ID     string // the winner's: the character's id, or the user's when no character was chosen
	Name   string
	Points int64
	At     time.Time
}

// Config configures a Service. The zero value works.
type Config struct {
	// Characters returns what characters can do. With nil all players have the same stats, and
	// nobody can fight another player.
	Characters Characters
	// Presence tells who can be challenged: only users who are online. With nil everybody can.
	Presence Presence
	// Ignores tells whose challenges a player is not told of; nil: nobody ignores anybody.
	Ignores Ignores
	// Rewarder pays for victories; nil pays nothing.
	Rewarder Rewarder
	// Scorer counts victories; nil counts nothing.
	Scorer Scorer
	// Ended is told of each fight that ended, after the winner was paid, before the fight counts as
	// settled: once, or again when it returned an error, or when the node died at that moment. nil:
	// nobody is told.
	Ended func(ctx context.Context, end Ending, participants []Participant) error

	// ChallengeFor is how long a challenge is open; 0 means 30 seconds.
	ChallengeFor time.Duration
	// AbandonAfter is how long a fight lasts in which nobody moves; 0 means 2 minutes. The fight ends
	// at most SweepInterval later.
	AbandonAfter time.Duration
	// SweepInterval is how often Run looks for fights to end and to settle; 0 means 1 second.
	SweepInterval time.Duration
	// TTL is how long Redis keeps a fight after its last change, and after it was settled. It is at
	// least twice AbandonAfter; 0 means 10 minutes.
	TTL time.Duration
	// MaxPaidVictories is how many victories of the same two characters over each other are paid and
	// counted in one day, from 00:00 UTC; 0 means 5. Fights against NPCs are not limited.
	MaxPaidVictories int
	// MaxFights is how many running fights one user may have; 0 means 5.
	MaxFights int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Seed returns the seed of a new fight; nil takes it from crypto/rand.
	Seed func() uint64
	// Report receives the errors that happen after an action was stored, when the player's answer
	// can no longer be an error. nil ignores them.
	Report func(error)
}

// A Service serves fights. It is safe for concurrent use.
type Service struct {
	rooms  Rooms
	store  store
	cfg    Config
	fights fightCache

	node   string        // identifies this process in the ids of its changes
	writes atomic.Uint64 // counts the changes of this process
}

// New returns a Service that keeps fights in rdb and talks to players through rooms. Abandoned
// fights end only while Run runs on some node.
func New(rdb redis.UniversalClient, rooms Rooms, cfg Config) *Service {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&cfg.ChallengeFor, 30*time.Second)
	or(&cfg.AbandonAfter, 2*time.Minute)
	or(&cfg.SweepInterval, time.Second)
	or(&cfg.TTL, 10*time.Minute)
	cfg.TTL = max(cfg.TTL, 2*cfg.AbandonAfter)
	if cfg.MaxFights == 0 {
		cfg.MaxFights = 5
	}
	if cfg.MaxPaidVictories == 0 {
		cfg.MaxPaidVictories = 5
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Seed == nil {
		cfg.Seed = func() uint64 { return binary.LittleEndian.Uint64(randomBytes(8)) }
	}
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	return &Service{
		rooms: rooms, cfg: cfg, store: newStore(rdb, cfg.TTL, cfg.Report),
		fights: fightCache{maxFights: 10_000, fights: map[string]*cachedFight{}},
		node:   base64.RawURLEncoding.EncodeToString(randomBytes(9)),
	}
}

// Routes returns the events that clients may send.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("combat:start", s.Start).Limit("rooms").Once(event.CanRepeat(), event.Beside(challengesOfOpponent)),
		event.On("combat:accept", s.Accept).Limit("rooms").Once(event.CanRepeat(), event.Beside(challengesOfCaller)),
		event.On("combat:decline", s.Decline).Limit("rooms").Once(event.CanRepeat(), event.Beside(challengesOfCaller)),
		event.On("combat:duels", s.SetDuels).Limit("rooms"),
		event.On("combat:action", s.Act).Limit("combat").Once(event.CanRepeat(), event.Beside(fightKeyOf)),
		event.On("combat:state", s.State).Limit("reads"),
		event.On("combat:list", s.List).Limit("reads"),
	}
}

// fightKeyOf returns the key of the fight in which an action is: the record of the action's
// idempotency key lies in its slot. An id that is no fight's has none.
func fightKeyOf(_ event.Player, in Action) string {
	if !isCombatID(in.CombatID) {
		return ""
	}
	return keys.Combat(in.CombatID)
}

// challengesOfOpponent returns the key of the challenges to the character in a start: the record of
// the start's idempotency key lies in its slot. For a fight against an NPC it is the caller's own.
func challengesOfOpponent(p event.Player, in StartRequest) string {
	if in.OpponentID == "" { // an NPC; without a key there would be no record
		return challengesOfCaller(p, ChallengeAnswer{})
	}
	return keys.CharacterChallenges(in.OpponentID)
}

// challengesOfCaller returns the key of the challenges to the caller's character.
func challengesOfCaller(p event.Player, _ ChallengeAnswer) string {
	return keys.CharacterChallenges(cmp.Or(p.CharacterID, p.UserID))
}

// Casts returns the events that the server sends.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Challenge]("combat:challenged", "Another player wants to fight your character; also when you come back while the challenge is open."),
		event.Sends[ChallengeCancelled]("combat:cancelled", "A challenge of yours, or to you, has ended without a fight. None is sent when its time is over."),
		event.Sends[Started]("combat:started", "A fight between you and another player has begun. Both players receive it."),
		event.Sends[Update]("combat:update", "A turn was played in a fight that you follow."),
		event.Sends[Ending]("combat:ended", "A fight that you follow is over and settled. It is the fight's last event."),
	}
}

// StartRequest names the opponent of a new fight: either an NPC or another player.
type StartRequest struct {
	// NPC is the name of an opponent that the server plays, such as goblin. The answer to an unknown
	// name lists all.
	NPC string `json:"npc,omitempty" validate:"max=64"`
	// OpponentID is the id of another player's character.
	OpponentID string `json:"opponentId,omitempty" validate:"omitempty,id"`
	// IdempotencyKey is the caller's own name for this start. A start that is sent again with the
	// same key begins no second fight and gets the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// Action is what a player wants to do in a fight.
type Action struct {
	CombatID string `json:"combatId" validate:"required,max=64"`
	Action   string `json:"action" validate:"oneof=attack defend skill flee"`
	// Target is the id of the participant that attack and skill hit. When it is absent, they hit the
	// opponent.
	Target string `json:"target,omitempty" validate:"omitempty,id"`
	// IdempotencyKey is the caller's own name for this action. An action that is sent again with the
	// same key is not played a second time and gets the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// StateRequest names the fight to read.
type StateRequest struct {
	CombatID string `json:"combatId" validate:"required,max=64"`
}

// Fights answers combat:list with the caller's running fights, oldest first.
type Fights struct {
	Combats []State `json:"combats"`
}

// State reads a fight. From then on a participant's connection receives the fight's events, so a
// client that lost its connection continues with this event.
// Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) State(ctx context.Context, p event.Player, in StateRequest) (State, error) {
	if !isCombatID(in.CombatID) {
		return State{}, fault.ErrNotFound
	}
	state, err := s.store.loadState(ctx, in.CombatID)
	if err != nil || !isFollower(&p, &state) {
		return state, err
	}
	if err := s.updateFollower(ctx, &p, &state); err != nil || state.Status == Ended {
		return state, err
	}
	// The turns between the first read and the join were not received: the state has to have them.
	if state, err = s.store.loadState(ctx, in.CombatID); err != nil || state.Status != Ended {
		return state, err
	}
	return state, s.updateFollower(ctx, &p, &state)
}

// List reads the caller's running fights, including those that other players started. From then on
// the connection receives the events of each. Errors: UNAVAILABLE.
func (s *Service) List(ctx context.Context, p event.Player, _ event.None) (Fights, error) {
	running, err := s.store.loadRunning(ctx, p.UserID)
	if err != nil {
		return Fights{}, err
	}
	var joins errgroup.Group // at once, so that their subscriptions cost one round trip
	hasJoined := false
	for i := range running {
		if isFollower(&p, &running[i]) {
			hasJoined = true
			joins.Go(func() error { return s.updateFollower(ctx, &p, &running[i]) })
		}
	}
	if err := joins.Wait(); err != nil || !hasJoined {
		return Fights{running}, err
	}
	// The turns between the first read and the joins were not received: the states have to have them.
	running, err = s.store.loadRunning(ctx, p.UserID)
	return Fights{running}, err
}

// isFollower reports whether the player's connection belongs into the fight's room: that of a
// participant. The users of a fight between players do not: their devices receive its events
// without being in the room.
func isFollower(p *event.Player, state *State) bool {
	by := participantIndex(state.Participants, p)
	return p.Conn != "" && by >= 0 && !(state.isDuel() && state.Participants[by].UserID == p.UserID)
}

// updateFollower puts a follower's connection into the fight's room while the fight runs, and takes
// it out once the fight has ended.
func (s *Service) updateFollower(ctx context.Context, p *event.Player, state *State) error {
	do := s.rooms.Join
	if state.Status == Ended {
		do = s.rooms.Leave
	}
	if _, err := do(ctx, p.Conn, RoomPrefix+state.CombatID); err != nil {
		return fmt.Errorf("combat %s: follow: %w", state.CombatID, err)
	}
	return nil
}

// participantIndex returns the index of the player's participant, by user id or by the character
// that the player has chosen; -1 when the player does not take part.
func participantIndex(fighters []Participant, p *event.Player) int {
	for i := range fighters {
		if f := &fighters[i]; f.Kind == kindPlayer &&
			(p.UserID != "" && f.UserID == p.UserID || p.CharacterID != "" && f.CharacterID == p.CharacterID) {
			return i
		}
	}
	return -1
}

// isCombatID reports whether an id has the form of a fight's id.
func isCombatID(id string) bool {
	_, err := ulid.ParseStrict(id)
	return err == nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it would end the process instead
	return b
}

// newWriterID returns an id for one change of a fight. The script compares it to recognize a change
// that go-redis sends again because the first answer was lost.
func (s *Service) newWriterID() string {
	b := append(make([]byte, 0, 32), s.node...)
	b = append(b, '-')
	return string(strconv.AppendUint(b, s.writes.Add(1), 36))
}
