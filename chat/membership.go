package chat

import (
	"context"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// RedisMembership is a Membership that the game keeps in Redis: the sets guild:<id>:members and
// party:<id>:members hold the ids of the users who may join these channels. Channels of other kinds
// are open to everybody, and players with one of Roles may join all channels.
type RedisMembership struct {
	Redis redis.UniversalClient
	Roles []string // nil means "moderator" and "admin"
}

// IsOpen reports whether a channel is neither a guild's nor a party's.
func (r RedisMembership) IsOpen(channel string) bool {
	kind, _, _ := strings.Cut(channel, ":")
	return kind != "guild" && kind != "party"
}

// mayJoinAll reports whether a player's roles open all channels.
func (r RedisMembership) mayJoinAll(p *event.Player) bool {
	roles := r.Roles
	if roles == nil {
		roles = []string{"moderator", "admin"}
	}
	return slices.ContainsFunc(roles, p.HasRole)
}

// MayJoin reports whether a player may join a channel. Errors: UNAVAILABLE.
func (r RedisMembership) MayJoin(ctx context.Context, p event.Player, channel string) (bool, error) {
	if r.IsOpen(channel) || r.mayJoinAll(&p) {
		return true, nil
	}
	kind, id, _ := strings.Cut(channel, ":")
	isMember, err := r.Redis.SIsMember(ctx, keys.Members(kind, id), p.UserID).Result()
	if err != nil {
		return false, redisx.WrapFault(ctx, feature, "members of "+channel, err)
	}
	return isMember, nil
}

// maxAskedAtOnce is how many users one SMISMEMBER asks about.
const maxAskedAtOnce = 1000

// MayStay says of each player whether the player may stay in a channel, with one call for each
// thousand of them. Errors: UNAVAILABLE.
func (r RedisMembership) MayStay(ctx context.Context, channel string, players []event.Player) ([]bool, error) {
	may := make([]bool, 0, len(players))
	if r.IsOpen(channel) {
		return slices.Repeat([]bool{true}, len(players)), nil
	}
	kind, id, _ := strings.Cut(channel, ":")
	for some := range slices.Chunk(players, maxAskedAtOnce) {
		ids := make([]any, len(some))
		for i := range some {
			ids[i] = some[i].UserID
		}
		areMembers, err := r.Redis.SMIsMember(ctx, keys.Members(kind, id), ids...).Result()
		if err != nil {
			return nil, redisx.WrapFault(ctx, feature, "members of "+channel, err)
		}
		for i := range some {
			may = append(may, areMembers[i] || r.mayJoinAll(&some[i]))
		}
	}
	return may, nil
}
