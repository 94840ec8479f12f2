package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// isWrongType reports whether a key holds something of another type, which another program stored.
func isWrongType(err error) bool {
	return err != nil && (errors.Is(err, errWrongType) || redis.HasErrorPrefix(err, "WRONGTYPE"))
}

// errWrongType is what lookAndLease returns then.
var errWrongType = errors.New("WRONGTYPE of another program")

// reportUnreadable counts and reports a stored value that cannot be decoded. The report does not
// quote the value.
func (m *Manager) reportUnreadable(key string) {
	m.counters.forPrefixOf(key).unreadable.Add(1)
	m.cfg.OnError("decode", fmt.Errorf("%w: %.64q", ErrValue, key))
}

// removeUnreadable removes a value that cannot be decoded, here and in Redis, so that the next read
// of it is a miss. If it was replaced meanwhile, the new one stays.
func (m *Manager) removeUnreadable(ctx context.Context, key string, e *entry) {
	m.forgetLocal(key)
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	if err := removeScript.Do(ctx, m.rdb, []string{key}, e.data).Err(); err != nil && !isWrongType(err) {
		_ = m.reportFailure(ctx, "remove", key, err)
	}
}
