package redisconn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Metrics measures client: its connections, and how long commands take, including retries and the
// wait for a connection. It registers
//
//	gateway_redis_command_duration_seconds{command, outcome} outcome: ok, error, unavailable
//	gateway_redis_pool_connections{pool, state}            pool: main, pipeline; state: busy, idle
//	gateway_redis_pool_{hits,misses,timeouts,waits,stale}_total{pool}
//	gateway_redis_pool_wait_seconds_total{pool}
//
// where command is one of a fixed list of families (string, hash, script, pipeline…). Pub/sub is
// not measured. It must be called once for each registry: the error is the registry's.
func Metrics(reg prometheus.Registerer, client redis.UniversalClient) error {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gateway_redis_command_duration_seconds", Help: "How long Redis commands took.",
		Buckets: []float64{.00025, .0005, .001, .0025, .005, .025, .1, .5, 2.5},
	}, []string{"command", "outcome"})
	if err := reg.Register(h); err != nil {
		return err
	}
	if err := reg.Register(&poolCollector{client}); err != nil {
		reg.Unregister(h)
		return err
	}
	client.AddHook(newMeter(h))
	return nil
}

const (
	outcomeOK = iota
	outcomeError
	outcomeUnavailable
	outcomes
)

var outcomeNames = [outcomes]string{"ok", "error", "unavailable"}

func outcomeOfError(err error) int {
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return outcomeOK
	case IsUnavailable(err):
		return outcomeUnavailable
	}
	return outcomeError
}

// A meter is the hook that measures commands. A series begins when there is something to measure,
// so that a node has a few dozen and not all that there could be. It is looked up once, so that a
// command costs no more than two readings of the clock.
type meter struct {
	families map[string]*familyTimes // by command
	other    *familyTimes
	pipeline *familyTimes
}

// familyTimes are the histograms of one family of commands.
type familyTimes struct {
	all      *prometheus.HistogramVec
	family   string
	outcomes [outcomes]atomic.Pointer[prometheus.Observer] // nil until the first
}

func (f *familyTimes) observe(outcome int, d time.Duration) {
	observer := f.outcomes[outcome].Load()
	if observer == nil {
		first := f.all.WithLabelValues(f.family, outcomeNames[outcome])
		observer = &first
		f.outcomes[outcome].Store(observer)
	}
	(*observer).Observe(d.Seconds())
}

func newMeter(h *prometheus.HistogramVec) *meter {
	m := &meter{families: make(map[string]*familyTimes), other: &familyTimes{all: h, family: "other"}, pipeline: &familyTimes{all: h, family: "pipeline"}}
	for family, commands := range families {
		times := &familyTimes{all: h, family: family}
		for _, c := range commands {
			m.families[c] = times
		}
	}
	return m
}

func (m *meter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *meter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmd)
		times := m.families[cmd.Name()]
		if times == nil {
			times = m.other
		}
		times.observe(outcomeOfError(err), time.Since(start))
		return err
	}
}

func (m *meter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmds)
		m.pipeline.observe(outcomeOfError(err), time.Since(start))
		return err
	}
}

// families lists the commands that we use, by label. Commands that block on purpose have their own.
var families = map[string][]string{
	"string":   {"get", "set", "setnx", "setex", "psetex", "getset", "getdel", "getex", "mget", "mset", "incr", "incrby", "decr", "decrby", "append", "strlen"},
	"key":      {"del", "unlink", "exists", "expire", "pexpire", "expireat", "pexpireat", "persist", "ttl", "pttl", "type", "scan", "rename", "dump", "restore"},
	"hash":     {"hget", "hset", "hsetnx", "hmget", "hmset", "hgetall", "hdel", "hexists", "hincrby", "hkeys", "hvals", "hlen", "hscan"},
	"list":     {"lpush", "rpush", "lpushx", "rpushx", "lpop", "rpop", "lrange", "lindex", "llen", "lrem", "ltrim", "lset"},
	"set":      {"sadd", "srem", "smembers", "sismember", "smismember", "scard", "spop", "sscan", "sunion", "sinter", "sdiff"},
	"zset":     {"zadd", "zrem", "zrange", "zrevrange", "zrangebyscore", "zrevrangebyscore", "zscore", "zmscore", "zrank", "zrevrank", "zcard", "zcount", "zincrby", "zpopmin", "zpopmax", "zremrangebyscore", "zremrangebyrank", "zscan"},
	"stream":   {"xadd", "xrange", "xrevrange", "xlen", "xdel", "xtrim", "xack", "xgroup", "xinfo", "xpending", "xclaim", "xautoclaim"},
	"script":   {"eval", "evalsha", "eval_ro", "evalsha_ro", "script", "fcall", "fcall_ro"},
	"publish":  {"publish", "spublish", "pubsub"},
	"blocking": {"xread", "xreadgroup", "blpop", "brpop", "blmove", "bzpopmin", "bzpopmax", "wait", "waitaof"},
	"connect":  {"hello", "auth", "select", "client"},
	"server":   {"ping", "info", "config", "time", "role", "cluster", "command", "dbsize", "memory", "flushdb"},
}
