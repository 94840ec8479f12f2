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

// durableWithin bounds the wait for a replica or the disk, ms: less than a command may take.
const durableWithin = 300

// Check asks whether Redis can carry the service: ErrRing for a Ring, ErrDurability, wrapped with what is
// missing, when it can not do what Config.Durability names.
func (s *Service) Check(ctx context.Context) error {
	if _, ring := s.rdb.(*redis.Ring); ring {
		return ErrRing
	}
	if s.cfg.Durability == None || s.cfg.Durability == "" {
		return nil
	}
	if s.cfg.Durability != Wait && s.cfg.Durability != Fsync {
		return fmt.Errorf("%w: %q", ErrDurability, s.cfg.Durability)
	}
	ask := func(ctx context.Context, node redis.Cmdable, key string) error {
		pipe := node.Pipeline()
		if key != "" {
			pipe.Set(ctx, key, 1, time.Minute) // the wait is for what this connection wrote
		}
		done := pipe.Do(ctx, s.durable()...)
		if _, err := pipe.Exec(ctx); err != nil && done.Err() == nil {
			return trouble(err, "trade: durability")
		}
		return s.judge(done)
	}
	cluster, ok := s.rdb.(*redis.ClusterClient)
	if !ok {
		return ask(ctx, s.rdb, keys.Temp("trade", "durability"))
	}
	// Any key of a master's slots would do; without one, the wait tells at least whether it is known.
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return ask(ctx, master, "") })
}

// durable is the command that waits.
func (s *Service) durable() []any {
	if s.cfg.Durability == Fsync {
		return []any{"waitaof", 1, 0, durableWithin}
	}
	return []any{"wait", 1, durableWithin}
}

// judge tells whether the wait was long enough.
func (s *Service) judge(done *redis.Cmd) error {
	v, err := done.Result()
	if err != nil {
		if isReply(err) {
			return fmt.Errorf("%w: %s: %w", ErrDurability, s.cfg.Durability, err)
		}
		return trouble(err, "trade: durability")
	}
	n, _ := v.(int64)
	if list, ok := v.([]any); ok && len(list) > 0 { // WAITAOF: this server, replicas
		n, _ = list[0].(int64)
	}
	if n < 1 {
		return fmt.Errorf("%w: %s: nobody confirmed it within %d ms", ErrDurability, s.cfg.Durability, durableWithin)
	}
	return nil
}

// run runs a script of one slot, and waits for what Config.Durability names. It answers in words.
// When the wait fails the script has run all the same: UNAVAILABLE, and a repeat waits again.
func (s *Service) run(ctx context.Context, lua *redisx.Script, ks []string, args ...any) ([]string, error) {
	if s.cfg.Durability == None || s.cfg.Durability == "" {
		return words(s.scripts.Do(ctx, lua, ks, args...))
	}
	var node redis.Cmdable = s.rdb
	if cluster, ok := s.rdb.(*redis.ClusterClient); ok {
		master, err := cluster.MasterForKey(ctx, ks[0])
		if err != nil {
			return nil, err
		}
		node = master
	}
	answer, done, err := s.sendAndWait(ctx, node, lua.Command(ctx, false, ks, args...))
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		answer, done, err = s.sendAndWait(ctx, node, lua.Command(ctx, true, ks, args...))
	}
	if err != nil {
		return nil, err
	}
	if err := s.judge(done); err != nil {
		return nil, fault.Unavailable("trade", redisx.RetryAfter, err)
	}
	return answer, nil
}

// sendAndWait sends both over one connection: a wait is for what its connection wrote.
func (s *Service) sendAndWait(ctx context.Context, node redis.Cmdable, eval *redis.Cmd) (answer []string, done *redis.Cmd, err error) {
	pipe := node.Pipeline()
	_ = pipe.Process(ctx, eval) // only queues
	done = pipe.Do(ctx, s.durable()...)
	_, _ = pipe.Exec(ctx) // each command has its own error
	answer, err = words(eval)
	return answer, done, err
}

// settled waits for what was written before, over any connection, to what ks names.
func (s *Service) settled(ctx context.Context, key string) error {
	if s.cfg.Durability == None || s.cfg.Durability == "" {
		return nil
	}
	_, err := s.run(ctx, touchScript, []string{key})
	return err
}

// touchScript writes something without changing anything, so that there is something to wait for. What is gone stays so.
var touchScript = redisx.NewScript("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'looked', 1) end return {'ok'}")

// words are the answer of a script. One that is a number says that all is well, and is short for {'ok', number}.
func words(cmd *redis.Cmd) ([]string, error) {
	if n, ok := cmd.Val().(int64); ok && cmd.Err() == nil {
		return []string{"ok", strconv.FormatInt(n, 10)}, nil
	}
	return cmd.StringSlice()
}
