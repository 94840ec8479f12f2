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

// Roster is a Membership that the game keeps in Redis: the sets guild:<id>:members and
// party:<id>:members hold the user ids that may come into these channels. Channels of the
// other kinds are open to all, and all channels to those with one of Roles.
type Roster struct {
	Redis redis.UniversalClient
	Roles []string // nil is "moderator" and "admin"
}

// MayJoin implements Membership.
func (r Roster) MayJoin(ctx context.Context, p event.Player, channel string) (bool, error) {
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
	in, err := r.Redis.SIsMember(ctx, keys.Members(kind, id), p.UserID).Result()
	if err != nil {
		return false, redisx.WrapFault(ctx, feature, "who is in "+channel, err)
	}
	return in, nil
}
