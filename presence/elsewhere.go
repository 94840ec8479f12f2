package presence

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// CountElsewhere counts those of these users who are online on other nodes. Errors: those of Redis.
func (s *Service) CountElsewhere(ctx context.Context, userIDs []string) (online int, err error) {
	nodes, err := s.rdb.ZRange(ctx, keys.PresenceNodes, 0, -1).Result()
	if err != nil {
		return 0, fmt.Errorf("count users elsewhere: %w", err)
	}
	for part := range slices.Chunk(userIDs, 1000) {
		members := make([]any, len(part))
		for i, id := range part {
			members[i] = id
		}
		var found []*redis.BoolSliceCmd
		pipe := s.rdb.Pipeline()
		for _, node := range nodes {
			if node != s.node {
				found = append(found, pipe.SMIsMember(ctx, keys.PresenceOn(keys.OnlineUsers, node), members...))
			}
		}
		if len(found) == 0 {
			return 0, nil
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return online, fmt.Errorf("count users elsewhere: %w", err)
		}
		for i := range part {
			if slices.ContainsFunc(found, func(on *redis.BoolSliceCmd) bool { return on.Val()[i] }) {
				online++
			}
		}
	}
	return online, nil
}
