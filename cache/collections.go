package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// addToCounter changes a counter in one transaction.
func (m *Manager) addToCounter(ctx context.Context, doing, key string, by int64, ttl time.Duration) (int64, error) {
	if err := validateKey(key); err != nil {
		return 0, err
	}
	bounded, cancel := m.contextWithBudget(ctx)
	defer cancel()
	pipe := m.rdb.TxPipeline()
	if ttl > 0 {
		pipe.SetNX(bounded, key, 0, max(ttl, time.Millisecond)) //nolint:staticcheck // SET NX PX is what it sends
	}
	n := pipe.IncrBy(bounded, key, by)
	_, err := pipe.Exec(bounded)
	m.forgetLocal(key)
	if err != nil {
		return 0, m.reportFailure(ctx, doing, key, err)
	}
	return n.Val(), nil
}

// Increment adds by to a counter, which starts at 0, and returns the sum. If the counter is new and
// ttl is positive, the counter expires after ttl; otherwise its TTL does not change. Other nodes
// are not told: read a counter with Increment by 0, because Get may answer from L1.
func (m *Manager) Increment(ctx context.Context, key string, by int64, ttl time.Duration) (int64, error) {
	return m.addToCounter(ctx, "increment", key, by, ttl)
}

// Decrement subtracts by from a counter, and else does the same as Increment.
func (m *Manager) Decrement(ctx context.Context, key string, by int64, ttl time.Duration) (int64, error) {
	return m.addToCounter(ctx, "decrement", key, -by, ttl)
}

// runSetCommand runs one command on a set of strings.
func runSetCommand[T any](ctx context.Context, m *Manager, doing, key string, run func(context.Context) (T, error)) (out T, err error) {
	if err := validateKey(key); err != nil {
		return out, err
	}
	bounded, cancel := m.contextWithBudget(ctx)
	defer cancel()
	out, err = run(bounded)
	if err != nil && !errors.Is(err, redis.Nil) {
		return out, m.reportFailure(ctx, doing, key, err)
	}
	return out, nil
}

// AddToSet adds members to a set and returns how many are new; without members it does nothing. A
// set lives until it is empty.
func (m *Manager) AddToSet(ctx context.Context, key string, members ...string) (int64, error) {
	if len(members) == 0 {
		return 0, validateKey(key)
	}
	return runSetCommand(ctx, m, "add to set", key, func(ctx context.Context) (int64, error) {
		return m.rdb.SAdd(ctx, key, membersToArgs(members)...).Result()
	})
}

// RemoveFromSet removes members from a set and returns how many were in it; without members it does
// nothing.
func (m *Manager) RemoveFromSet(ctx context.Context, key string, members ...string) (int64, error) {
	if len(members) == 0 {
		return 0, validateKey(key)
	}
	return runSetCommand(ctx, m, "remove from set", key, func(ctx context.Context) (int64, error) {
		return m.rdb.SRem(ctx, key, membersToArgs(members)...).Result()
	})
}

// InSet tells whether the member is in the set.
func (m *Manager) InSet(ctx context.Context, key, member string) (bool, error) {
	return runSetCommand(ctx, m, "in set", key, func(ctx context.Context) (bool, error) {
		return m.rdb.SIsMember(ctx, key, member).Result()
	})
}

// maxMembers bounds the set that SetMembers returns.
const maxMembers = 100_000

// SetMembers returns all members of a set, in no particular order. It returns ErrTooLarge for a set
// of more than 100,000 members.
func (m *Manager) SetMembers(ctx context.Context, key string) ([]string, error) {
	return runSetCommand(ctx, m, "set members", key, func(ctx context.Context) ([]string, error) {
		n, err := m.rdb.SCard(ctx, key).Result()
		if err != nil {
			return nil, err
		}
		if n > maxMembers {
			return nil, fmt.Errorf("%w: %d members", ErrTooLarge, n)
		}
		return m.rdb.SMembers(ctx, key).Result()
	})
}

func membersToArgs(members []string) []any {
	out := make([]any, len(members))
	for i, s := range members {
		out[i] = s
	}
	return out
}
