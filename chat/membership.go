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

// MayJoin reports whether a player may join a channel. Errors: UNAVAILABLE.
func (r RedisMembership) MayJoin(ctx context.Context, p event.Player, channel string) (bool, error) {
	kind, id, _ := strings.Cut(channel, ":")
	if kind != "guild" && kind != "party" {
		return true, nil
	}
	roles := r.Roles
	if roles == nil {
		roles = []string{"moderator", "admin"}
	}
	if slices.ContainsFunc(roles, p.HasRole) {
		return true, nil
	}
	isMember, err := r.Redis.SIsMember(ctx, keys.Members(kind, id), p.UserID).Result()
	if err != nil {
		return false, redisx.WrapFault(ctx, feature, "members of "+channel, err)
	}
	return isMember, nil
}
