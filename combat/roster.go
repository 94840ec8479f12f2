package combat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

const (
	// rosterTTL is how long Redis remembers who played a character last.
	rosterTTL = 7 * 24 * time.Hour
	// rosterQueueLength is how many players may wait to be written. When it is full, a player is left
	// out until they connect again.
	rosterQueueLength = 4096
	// rosterBatchLength is how many players are written in one round trip at most.
	rosterBatchLength = 256
)

// A Roster records which user plays a character, from the sessions that connect. It is needed
// because a source of characters may not know that, and because there may be no source.
type Roster struct {
	rdb       redis.UniversalClient
	report    func(error)
	connected chan event.Player
}

// NewRoster returns a roster that keeps its records in rdb. report receives the errors of writing,
// and may be nil. Nothing is written until Run runs.
func NewRoster(rdb redis.UniversalClient, report func(error)) *Roster {
	if report == nil {
		report = func(error) {}
	}
	return &Roster{rdb: rdb, report: report, connected: make(chan event.Player, rosterQueueLength)}
}

// Connected records the character of a player who has connected. It does not wait.
func (r *Roster) Connected(p event.Player) {
	if p.CharacterID == "" {
		return
	}
	select {
	case r.connected <- p:
	default:
	}
}

// CharacterChanged records that a player has chosen another character. It does not wait.
func (r *Roster) CharacterChanged(p event.Player) { r.Connected(p) }

// Disconnected does nothing: the player may connect again, and still plays the character.
func (r *Roster) Disconnected(event.Player) {}

// Player returns the user who played a character last. Errors: NOT_FOUND, UNAVAILABLE.
func (r *Roster) Player(ctx context.Context, characterID string) (userID string, err error) {
	userID, err = r.rdb.Get(ctx, keys.CharacterPlayer(characterID)).Result()
	if errors.Is(err, redis.Nil) {
		return "", fault.ErrNotFound
	}
	return userID, wrapRedisError(ctx, "player of "+characterID, err)
}

// Run writes the recorded players to Redis, many at a time, until ctx ends.
func (r *Roster) Run(ctx context.Context) error {
	for {
		select {
		case p := <-r.connected:
			if err := r.writePlayers(ctx, p); err != nil && ctx.Err() == nil && !errors.Is(err, fault.ErrUnavailable) {
				r.report(fmt.Errorf("combat: roster: %w", err))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// writePlayers writes one player and those that wait behind it in the queue.
func (r *Roster) writePlayers(ctx context.Context, first event.Player) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := r.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for p, n := first, 1; ; n++ {
			pipe.Set(ctx, keys.CharacterPlayer(p.CharacterID), p.UserID, rosterTTL)
			if n == rosterBatchLength {
				return nil
			}
			select {
			case p = <-r.connected:
			default:
				return nil
			}
		}
	})
	return wrapRedisError(ctx, "write", err)
}
