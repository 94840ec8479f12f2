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
	// rosterTTL is for how long it is known who played a character last.
	rosterTTL = 7 * 24 * time.Hour
	// rosterQueue is how many comings may wait to be written; more are left out, and
	// known from the player's next coming on.
	rosterQueue = 4096
	rosterBatch = 256
)

// A Roster knows which user plays a character, from the sessions that connected: a
// character source may not know that, or there may be none.
type Roster struct {
	rdb    redis.UniversalClient
	report func(error)
	came   chan event.Player
}

// NewRoster makes a roster; report is told when one could not be written, and may be nil.
// Run must run for it to learn anything.
func NewRoster(rdb redis.UniversalClient, report func(error)) *Roster {
	if report == nil {
		report = func(error) {}
	}
	return &Roster{rdb: rdb, report: report, came: make(chan event.Player, rosterQueue)}
}

// Came notes what a player plays who has connected. It does not wait.
func (r *Roster) Came(p event.Player) {
	if p.CharacterID == "" {
		return
	}
	select {
	case r.came <- p:
	default:
	}
}

// Changed notes that a player has chosen another character.
func (r *Roster) Changed(p event.Player) { r.Came(p) }

// Went does nothing: who played a character last may come back.
func (r *Roster) Went(event.Player) {}

// Player is the user who played a character last. Errors: NOT_FOUND, UNAVAILABLE.
func (r *Roster) Player(ctx context.Context, characterID string) (userID string, err error) {
	userID, err = r.rdb.Get(ctx, keys.CharacterPlayer(characterID)).Result()
	if errors.Is(err, redis.Nil) {
		return "", fault.ErrNotFound
	}
	return userID, trouble(ctx, "player of "+characterID, err)
}

// Run writes what Came is told, many at a time, until ctx ends.
func (r *Roster) Run(ctx context.Context) error {
	for {
		select {
		case p := <-r.came:
			if err := r.write(ctx, p); err != nil && ctx.Err() == nil && !errors.Is(err, fault.ErrUnavailable) {
				r.report(fmt.Errorf("combat: roster: %w", err))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// write writes one coming and those that wait behind it.
func (r *Roster) write(ctx context.Context, first event.Player) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := r.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for p, n := first, 1; ; n++ {
			pipe.Set(ctx, keys.CharacterPlayer(p.CharacterID), p.UserID, rosterTTL)
			if n == rosterBatch {
				return nil
			}
			select {
			case p = <-r.came:
			default:
				return nil
			}
		}
	})
	return trouble(ctx, "write", err)
}
