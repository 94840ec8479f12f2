package trade

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// Durability says how safely goods are stored before a trade is answered with ok.
type Durability string

const (
	// None: the trade is in the memory of one server. If the server dies, a trade that has reached
	// neither its disk nor a replica is lost. On a Cluster one half of a trade may be lost; Audit
	// then reports it.
	None Durability = "none"
	// Wait: the trade is in the memory of a replica too (WAIT 1). It survives the death of the server
	// if that replica takes over.
	Wait Durability = "wait"
	// Fsync: the trade is on disk, in the server's append-only file (WAITAOF 1 0, Redis 7.2). It
	// survives a power cut.
	Fsync Durability = "fsync"
	// Auto: the best of the three that Redis can do, as JudgeDurability finds it; None before that.
	Auto Durability = "auto"
)

// ErrDurability is what Check returns, wrapped, when Redis cannot do what Config.Durability asks
// for.
var ErrDurability = errors.New("trade: the Redis server has not this durability")

// waitTimeout bounds the wait for a replica or the disk, ms: less than a command may take.
const waitTimeout = 300

// Check tells whether the service can work with this Redis. Errors: ErrRing; ErrDurability, wrapped
// with what is missing; UNAVAILABLE when Redis does not answer.
func (s *Service) Check(ctx context.Context) error {
	if redisx.IsRing(s.rdb) {
		return ErrRing
	}
	switch s.cfg.Durability {
	case None, Auto, "":
		return nil
	case Wait, Fsync:
		return s.tryDurability(ctx, s.cfg.Durability)
	}
	return fmt.Errorf("%w: %q", ErrDurability, s.cfg.Durability)
}

// tryDurability writes something and waits until it is as durable as d says, on every master.
// Errors are those of Check.
func (c *core) tryDurability(ctx context.Context, d Durability) error {
	return redisx.ForEachMaster(ctx, c.rdb, func(ctx context.Context, server redis.UniversalClient) error {
		pipe := server.Pipeline()
		if !c.isCluster {
			pipe.Set(ctx, keys.Temp("trade", "durability"), 1, time.Minute) // the wait is for what this connection wrote
		} // On a Cluster we know no key that lies on this master. The wait alone still shows whether the server has the command.
		wait := pipe.Do(ctx, d.waitCommand()...)
		if _, err := pipe.Exec(ctx); err != nil && wait.Err() == nil {
			return wrapRedisError(err, "trade: durability")
		}
		return d.checkWaitReply(wait)
	})
}

// confirmDurable waits for what was written before, over any connection, to the server of a key.
func (c *core) confirmDurable(ctx context.Context, key string) error {
	if !c.durabilityInForce().waits() {
		return nil
	}
	_, err := c.runDurableScript(ctx, touchScript, []string{key})
	return err
}

// touchScript writes a field that nobody reads, so that there is a write to wait for. It does not
// make a key that is gone.
var touchScript = redisx.NewScript("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'looked', 1) end return {'ok'}")

// runDurableScript runs a script of one slot, and waits until its writes are as durable as
// Config.Durability says. It returns the answer in words. If the wait fails, the error is
// UNAVAILABLE although the script has run; a repeat waits again.
func (c *core) runDurableScript(ctx context.Context, script *redisx.Script, scriptKeys []string, args ...any) ([]string, error) {
	d := c.durabilityInForce()
	if !d.waits() {
		return answerWords(c.scripts.Do(ctx, script, scriptKeys, args...))
	}
	server, err := redisx.MasterForKey(ctx, c.rdb, scriptKeys[0])
	if err != nil {
		return nil, err
	}
	reply, wait := script.DoThen(ctx, server, d.waitCommand(), scriptKeys, args...)
	answer, err := answerWords(reply)
	if err != nil {
		return nil, err
	}
	if err := d.checkWaitReply(wait); err != nil {
		return nil, fault.Unavailable("trade", redisx.RetryAfter, err)
	}
	return answer, nil
}

// waits tells whether an ok waits for more than the server's memory.
func (d Durability) waits() bool { return d == Wait || d == Fsync }

// answerWords returns the answer of a script as words. A number is short for {'ok', number}.
func answerWords(cmd *redis.Cmd) ([]string, error) {
	if n, ok := cmd.Val().(int64); ok && cmd.Err() == nil {
		return []string{"ok", strconv.FormatInt(n, 10)}, nil
	}
	return cmd.StringSlice()
}

// waitCommand returns the command that waits for a replica or the disk.
func (d Durability) waitCommand() []any {
	if d == Fsync {
		return []any{"waitaof", 1, 0, waitTimeout}
	}
	return []any{"wait", 1, waitTimeout}
}

// checkWaitReply tells whether a replica, or the disk, has confirmed what was written.
func (d Durability) checkWaitReply(wait *redis.Cmd) error {
	v, err := wait.Result()
	if err != nil {
		if isServerReply(err) {
			return fmt.Errorf("%w: %s: %w", ErrDurability, d, err)
		}
		return wrapRedisError(err, "trade: durability")
	}
	confirmed, _ := v.(int64)
	if list, ok := v.([]any); ok && len(list) > 0 { // WAITAOF: this server, replicas
		confirmed, _ = list[0].(int64)
	}
	if confirmed < 1 {
		return fmt.Errorf("%w: %s: nobody confirmed it within %d ms", ErrDurability, d, waitTimeout)
	}
	return nil
}
