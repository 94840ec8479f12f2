package presence

import (
	"context"
	"fmt"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// sweepDeadNode takes the users of a dead node out of all scopes.
func (s *Service) sweepDeadNode(ctx context.Context, node string) error {
	index := keys.PresenceNode(node)
	for {
		scopes, err := s.rdb.SRandMemberN(ctx, index, 32).Result()
		if err != nil {
			return fmt.Errorf("sweep dead node: %w", err)
		}
		if len(scopes) == 0 {
			if err := s.rdb.SRem(ctx, keys.PresenceDead, node).Err(); err != nil {
				return fmt.Errorf("sweep dead node: %w", err)
			}
			return nil
		}
		for _, name := range scopes {
			if err := s.sweepScopeOfNode(ctx, name, node); err != nil {
				return fmt.Errorf("sweep dead node: %w", err)
			}
			if err := s.rdb.SRem(ctx, index, name).Err(); err != nil {
				return fmt.Errorf("sweep dead node: %w", err)
			}
		}
	}
}

func (s *Service) sweepScopeOfNode(ctx context.Context, name, node string) error {
	for {
		call := s.leaveCall(name, node, usersPerCall)
		redisx.RunScripts(ctx, s.rdb, call)
		reply, err := call.Slice()
		if err != nil {
			return err
		}
		if err := s.broadcastReply(ctx, name, reply, scopeUse{}); err != nil {
			return err
		}
		if n, _ := reply[1].(int64); n < usersPerCall {
			return nil
		}
	}
}
