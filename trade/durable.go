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

// Durability is what stands behind an ok.
type Durability string

const (
	// None: one server has it in memory. What its disk or its replica had not got when it dies is lost; on a
	// Cluster that may be one half of a trade, which Audit then names.
	None Durability = "none"
	// Wait: a replica has it in memory too (WAIT 1). It survives the death of the server, when that replica takes over.
	Wait Durability = "wait"
	// Fsync: the server's append-only file has it on disk (WAITAOF 1 0, Redis 7.2). It survives a power cut.
	Fsync Durability = "fsync"
)

// ErrDurability is why Check refuses a server.
var ErrDurability = errors.New("trade: the Redis server has not this durability")

// waitTimeout bounds the wait for a replica or the disk, ms: less than a command may take.
const waitTimeout = 300

// Check asks whether Redis can carry the service: ErrRing for a Ring, ErrDurability, wrapped with what is
// missing, when it cannot do what Config.Durability names.
func (s *Service) Check(ctx context.Context) error {
	if _, isRing := s.rdb.(*redis.Ring); isRing {
		return ErrRing
	}
	if !s.waitsForDurability() {
		return nil
	}
	if s.cfg.Durability != Wait && s.cfg.Durability != Fsync {
		return fmt.Errorf("%w: %q", ErrDurability, s.cfg.Durability)
	}
	check := func(ctx context.Context, node redis.Cmdable, key string) error {
		pipe := node.Pipeline()
		if key != "" {
			pipe.Set(ctx, key, 1, time.Minute) // the wait is for what this connection wrote
		}
		wait := pipe.Do(ctx, s.waitCommand()...)
		if _, err := pipe.Exec(ctx); err != nil && wait.Err() == nil {
			return wrapRedisError(err, "trade: durability")
		}
		return s.checkWait(wait)
	}
	cluster, isCluster := s.rdb.(*redis.ClusterClient)
	if !isCluster {
		return check(ctx, s.rdb, keys.Temp("trade", "durability"))
	}
	// Any key of a master's slots would do; without one, the wait tells at least whether it is known.
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return check(ctx, master, "") })
}

// confirmDurable waits for what was written before, over any connection, to the server of a key.
func (c *core) confirmDurable(ctx context.Context, key string) error {
	if !c.waitsForDurability() {
		return nil
	}
	_, err := c.runScript(ctx, touchScript, []string{key})
	return err
}

// touchScript writes something without changing anything, so that there is something to wait for. A key
// that is gone stays so.
var touchScript = redisx.NewScript("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'looked', 1) end return {'ok'}")

// runScript runs a script of one slot, and waits for what Config.Durability names. It returns the answer
// in words. If the wait fails, the script has run all the same: UNAVAILABLE, and a repeat waits again.
func (c *core) runScript(ctx context.Context, script *redisx.Script, scriptKeys []string, args ...any) ([]string, error) {
	if !c.waitsForDurability() {
		return answerWords(c.scripts.Do(ctx, script, scriptKeys, args...))
	}
	var node redis.Cmdable = c.rdb
	if cluster, isCluster := c.rdb.(*redis.ClusterClient); isCluster {
		master, err := cluster.MasterForKey(ctx, scriptKeys[0])
		if err != nil {
			return nil, err
		}
		node = master
	}
	answer, wait, err := c.sendAndWait(ctx, node, script.Command(ctx, false, scriptKeys, args...))
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		answer, wait, err = c.sendAndWait(ctx, node, script.Command(ctx, true, scriptKeys, args...))
	}
	if err != nil {
		return nil, err
	}
	if err := c.checkWait(wait); err != nil {
		return nil, fault.Unavailable("trade", redisx.RetryAfter, err)
	}
	return answer, nil
}

func (c *core) waitsForDurability() bool { return c.cfg.Durability != None && c.cfg.Durability != "" }

// sendAndWait sends a script and the wait over one connection: a wait is for what its connection wrote.
func (c *core) sendAndWait(ctx context.Context, node redis.Cmdable, eval *redis.Cmd) (answer []string, wait *redis.Cmd, err error) {
	pipe := node.Pipeline()
	_ = pipe.Process(ctx, eval) // only queues
	wait = pipe.Do(ctx, c.waitCommand()...)
	_, _ = pipe.Exec(ctx) // each command has its own error
	answer, err = answerWords(eval)
	return answer, wait, err
}

// answerWords returns the answer of a script. One that is a number says that all is well, and is short for
// {'ok', number}.
func answerWords(cmd *redis.Cmd) ([]string, error) {
	if n, ok := cmd.Val().(int64); ok && cmd.Err() == nil {
		return []string{"ok", strconv.FormatInt(n, 10)}, nil
	}
	return cmd.StringSlice()
}

// waitCommand returns the command that waits for a replica or the disk.
func (c *core) waitCommand() []any {
	if c.cfg.Durability == Fsync {
		return []any{"waitaof", 1, 0, waitTimeout}
	}
	return []any{"wait", 1, waitTimeout}
}

// checkWait tells whether a replica, or the disk, has confirmed what was written.
func (c *core) checkWait(wait *redis.Cmd) error {
	v, err := wait.Result()
	if err != nil {
		if isReply(err) {
			return fmt.Errorf("%w: %s: %w", ErrDurability, c.cfg.Durability, err)
		}
		return wrapRedisError(err, "trade: durability")
	}
	confirmed, _ := v.(int64)
	if list, ok := v.([]any); ok && len(list) > 0 { // WAITAOF: this server, replicas
		confirmed, _ = list[0].(int64)
	}
	if confirmed < 1 {
		return fmt.Errorf("%w: %s: nobody confirmed it within %d ms", ErrDurability, c.cfg.Durability, waitTimeout)
	}
	return nil
}
