package server

import (
	"slices"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/trade"
)

// neededCommands are the Redis commands of the gateway, with examples of arguments as
// redisconn.Rights has them. INFO and CONFIG GET are not among them: without these, only
// /health/redis says less.
var neededCommands = []string{
	"EVAL return(1) 0", "EVALSHA 0000000000000000000000000000000000000000 0",
	"MULTI", "EXEC", "DISCARD", "TIME", "SCAN 0", "PUBLISH CHANNEL m", "SUBSCRIBE CHANNEL", "UNSUBSCRIBE CHANNEL", "PUBSUB NUMSUB CHANNEL",
	"DEL KEY", "UNLINK KEY", "EXISTS KEY", "PERSIST KEY", "PEXPIRE KEY 1", "PEXPIREAT KEY 1", "EXPIRE KEY 1 NX", "PTTL KEY",
	"GET KEY", "SET KEY v", "SETNX KEY v", "PSETEX KEY 1 v", "MGET KEY", "APPEND KEY v", "STRLEN KEY", "GETRANGE KEY 0 1", "INCR KEY", "INCRBY KEY 1",
	"HGET KEY f", "HMGET KEY f", "HGETALL KEY", "HKEYS KEY", "HLEN KEY", "HEXISTS KEY f", "HSET KEY f v", "HSETNX KEY f v", "HDEL KEY f", "HINCRBY KEY f 1",
	"SADD KEY m", "SREM KEY m", "SCARD KEY", "SISMEMBER KEY m", "SMISMEMBER KEY m", "SMEMBERS KEY", "SPOP KEY", "SRANDMEMBER KEY 1",
	"ZADD KEY 1 m", "ZREM KEY m", "ZCARD KEY", "ZCOUNT KEY 0 1", "ZSCORE KEY m", "ZMSCORE KEY m", "ZRANGE KEY 0 1", "ZRANGEBYSCORE KEY 0 1", "ZRANGEBYLEX KEY - +",
	"ZREVRANGE KEY 0 1", "ZREVRANK KEY m", "ZREMRANGEBYSCORE KEY 0 1",
	"RPUSH KEY v", "LINDEX KEY 0", "LLEN KEY", "LRANGE KEY 0 1", "LTRIM KEY 0 1",
	"XADD KEY * f v", "XDEL KEY 1-1", "XLEN KEY", "XRANGE KEY - +", "XREVRANGE KEY + -", "XTRIM KEY MAXLEN 1",
}

// webhookCommands are the further commands of a gateway that tells webhooks.
var webhookCommands = []string{"XREADGROUP GROUP g c STREAMS KEY >", "XGROUP CREATE KEY g 0", "XACK KEY g 1-1"}

// neededKeys are the patterns of the keys of package keys.
var neededKeys = []string{
	"session:*", "{session:*", "sessions:*", "once:*", "user:*", "{user:*", "char:*", "{char:*", "guild:*", "party:*", "zone:*", "cache:*", "temp:*", "job:*",
	"ratelimit:*", "lock:*", "{lock:*", "chat:*", "{chat:*", "online:*", "presence:*", "{presence:*", "combat:*", "leaderboard:*", "{leaderboard:*",
	"trade:*", "{trade:*",
}

// neededRights returns what the Redis user of this node must be allowed to do.
func (n *node) neededRights() redisconn.Rights {
	r := redisconn.Rights{
		Commands: slices.Clone(neededCommands), Keys: slices.Clone(neededKeys),
		Channels: []string{keys.Revocations, keys.LimitChanges, keys.CacheInvalidations, keys.LockReleases, keys.RightsChanges},
	}
	if n.cfg.ExpressSessions {
		r.Keys = append(r.Keys, keys.ExpressSession("*"))
	}
	if n.cfg.WebhookURL != "" {
		r.Keys = append(r.Keys, "webhooks:*")
		r.Commands = append(r.Commands, webhookCommands...)
	}
	if c := n.clusterConfig(); c != nil {
		r.Channels = append(r.Channels, c.Prefix+"*")
		if c.Log != nil {
			r.Keys = append(r.Keys, "{"+c.Prefix+":log}:*")
		}
		if c.JoinWindow > 0 { // as another server's joins need it, of the namespaces of the players
			r.Patterns = append(r.Patterns, c.Prefix+"#/#*")
			for _, f := range n.cfg.Features {
				if pattern := c.Prefix + "#" + namespaceOf(f) + "#*"; namespaceOf(f) != "" && !slices.Contains(r.Patterns, pattern) {
					r.Patterns = append(r.Patterns, pattern)
				}
			}
			r.Keys = append(r.Keys, c.Prefix+"-joins#*")
		}
	}
	if redisx.IsCluster(n.redis.client) {
		r.Commands = append(r.Commands, "SPUBLISH CHANNEL m", "SSUBSCRIBE CHANNEL", "SUNSUBSCRIBE CHANNEL")
	}
	switch n.cfg.TradeDurability {
	case trade.Wait:
		r.Commands = append(r.Commands, "WAIT 0 1")
	case trade.Fsync:
		r.Commands = append(r.Commands, "WAITAOF 0 0 1")
	}
	return r
}
