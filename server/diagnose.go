package server

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/trade"
)

// This file looks for what would not work, or is dangerous, before a node serves: `gateway doctor`.

// The verdicts of a Diagnosis.
const (
	DiagnosisOK   = "ok"
	DiagnosisWarn = "warn" // it is served, and somebody should look
	DiagnosisFail = "fail" // players would be refused, or data lost
)

// A Diagnosis is one thing that was looked at.
type Diagnosis struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Text    string `json:"text"`
	Fix     string `json:"fix,omitzero"` // what to do
}

// Bounds of the offset between the clock of this machine and Redis's.
const (
	warnClockOffset = 500 * time.Millisecond // sessions and bans end visibly early or late
	failClockOffset = 10 * time.Second       // trade.Config.Skew on a Cluster
)

// Diagnose looks at the settings, this machine and Redis, and serves nothing. It takes at most a
// few seconds, and writes nothing to Redis.
func Diagnose(ctx context.Context, cfg Config) []Diagnosis {
	cfg = cfg.WithDefaults()
	d := &diagnoses{}
	if faults := cfg.Faults(); len(faults) > 0 {
		for _, err := range faults {
			d.add("settings", DiagnosisFail, err.Error(), "gateway config check FILE names all faults with their lines")
		}
	} else {
		d.add("settings", DiagnosisOK, "they can be served; their hash is "+cfg.settingsHash(), "")
	}
	n := newNode(cfg, "doctor")
	n.log = zap.NewNop()
	d.judgeOpenFiles(&cfg)
	d.judgeOrigins(&cfg)
	d.judgeProxies(&cfg)
	if cfg.RedisURL == "" {
		d.add("redis", DiagnosisWarn, "there is none: --dev would start one that keeps nothing", "name one by --redis")
		return d.list
	}
	if err := n.redis.open(ctx, &n.cfg); err != nil {
		d.add("redis", DiagnosisFail, err.Error(), "")
		return d.list
	}
	defer n.redis.close()
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	d.judgeRedis(within, n)
	return d.list
}

type diagnoses struct{ list []Diagnosis }

func (d *diagnoses) add(name, verdict, text, fix string) {
	d.list = append(d.list, Diagnosis{name, verdict, text, fix})
}

// judgeOpenFiles compares the limit of open files with what the settings want.
func (d *diagnoses) judgeOpenFiles(cfg *Config) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		d.add("open files", DiagnosisWarn, "the limit is unknown: "+err.Error(), "")
		return
	}
	allowed := divideDescriptors(limit.Cur, 1+len(cfg.LockRedisURLs)).sockets
	text := fmt.Sprintf("the limit of %d allows %d connections, and --max-connections is %d", limit.Cur, allowed, cfg.MaxConnections)
	if cfg.MaxConnections > allowed {
		d.add("open files", DiagnosisWarn, text, "raise LimitNOFILE of the unit, or ulimit -n, or lower --max-connections")
		return
	}
	d.add("open files", DiagnosisOK, text, "")
}

// judgeOrigins looks at the origins of pages.
func (d *diagnoses) judgeOrigins(cfg *Config) {
	var plain []string
	for _, o := range cfg.AllowedOrigins {
		if strings.HasPrefix(o, "http://") && !strings.HasPrefix(o, "http://localhost") && !strings.HasPrefix(o, "http://127.0.0.1") {
			plain = append(plain, o)
		}
	}
	switch {
	case len(plain) > 0:
		d.add("origins", DiagnosisWarn, "pages of "+strings.Join(plain, ", ")+" are not encrypted, and may use the session cookie", "name their https origins")
	case len(cfg.AllowedOrigins) == 0:
		d.add("origins", DiagnosisOK, "only pages on the gateway's own host may connect", "")
	default:
		d.add("origins", DiagnosisOK, "pages of "+strings.Join(cfg.AllowedOrigins, ", ")+" may connect, beside those on the own host", "")
	}
}

// judgeProxies looks at whose X-Forwarded-For is believed.
func (d *diagnoses) judgeProxies(cfg *Config) {
	for _, network := range cfg.TrustedProxies {
		if strings.HasSuffix(network, "/0") {
			d.add("proxies", DiagnosisFail, "--trusted-proxies "+network+" believes everybody: each player may say which address it has", "name the networks of the proxies alone")
			return
		}
	}
	if len(cfg.TrustedProxies) == 0 {
		d.add("proxies", DiagnosisWarn, "none is trusted: behind one, all players have its address, and share its limits", "with a proxy in front, name it by --trusted-proxies")
		return
	}
	d.add("proxies", DiagnosisOK, "X-Forwarded-For of "+strings.Join(cfg.TrustedProxies, ", ")+" is believed", "")
}

// judgeRedis looks at Redis.
func (d *diagnoses) judgeRedis(ctx context.Context, n *node) {
	client := n.redis.client
	health := redisconn.Check(ctx, client)
	if health.Status == redisconn.StatusDown {
		d.add("redis", DiagnosisFail, redisconn.Redact(n.cfg.RedisURL)+" does not answer: "+health.Error, "")
		return
	}
	d.add("redis", DiagnosisOK, fmt.Sprintf("%s, %s, %s, PING in %.1f ms", redisconn.Redact(n.cfg.RedisURL), health.Version, health.Role, health.LatencyMs), "")
	if health.Role == "replica" {
		d.add("role", DiagnosisFail, "it is a replica, and takes no writes", "name its master, or the sentinels")
	}
	d.judgeRights(ctx, n)
	switch {
	case health.MayEvict():
		d.add("eviction", DiagnosisFail, "maxmemory-policy is "+health.EvictionPolicy+": sessions and inventories go when the memory is full", "maxmemory-policy noeviction")
	case health.EvictionPolicy == "":
		d.add("eviction", DiagnosisWarn, "the policy is not known: CONFIG GET or INFO is refused", "+config|get +info for our user")
	default:
		d.add("eviction", DiagnosisOK, "nothing is evicted", "")
	}
	switch health.Persistence {
	case "none":
		d.add("persistence", DiagnosisFail, "Redis keeps nothing when it restarts", "appendonly yes, or snapshots by save")
	case "rdb":
		d.add("persistence", DiagnosisWarn, "snapshots alone: what came after the last one is lost with the server", "appendonly yes")
	case "":
		d.add("persistence", DiagnosisWarn, "it is not known: CONFIG GET or INFO is refused", "+config|get +info for our user")
	default:
		d.add("persistence", DiagnosisOK, health.Persistence, "")
	}
	for _, text := range health.Warnings {
		d.add("redis", DiagnosisWarn, text, "")
	}
	d.judgeTrades(ctx, n)
	d.judgeClock(ctx, client)
	d.judgeAdapters(ctx, n)
}

// judgeRights names the rights that our user lacks.
func (d *diagnoses) judgeRights(ctx context.Context, n *node) {
	missing, err := n.neededRights().FindMissing(ctx, n.redis.client)
	switch {
	case err != nil:
		d.add("rights", DiagnosisWarn, "they can not be judged: "+err.Error(), "")
	case !missing.IsEmpty():
		d.add("rights", DiagnosisFail, missing.Public(), missing.String())
	default:
		d.add("rights", DiagnosisOK, "our user may do what the gateway needs", "")
	}
	missing, err = operatorRights.FindMissing(ctx, n.redis.client)
	if err == nil && !missing.IsEmpty() {
		d.add("rights", DiagnosisWarn, "operators' commands would not reach this node: "+missing.Public(), missing.String())
	}
}

// operatorRights are what our user needs so that operators' commands reach the node. It serves
// without them.
var operatorRights = redisconn.Rights{Keys: []string{"operators:*"}, Channels: []string{"operators:*"}}

// judgeTrades says what an ok of a trade would have waited for.
func (d *diagnoses) judgeTrades(ctx context.Context, n *node) {
	trades := trade.New(n.redis.client, nil, nil, nil, trade.Config{Durability: n.cfg.TradeDurability})
	judged, err := trades.JudgeDurability(ctx)
	switch {
	case err != nil:
		d.add("trades", DiagnosisWarn, "how durable they are can not be judged: "+err.Error(), "")
	case judged.Durability == trade.None:
		d.add("trades", DiagnosisWarn, "a trade that was answered with ok can be lost when Redis dies: "+judged.Why, "an append-only file or a replica")
	default:
		d.add("trades", DiagnosisOK, string(judged.Durability)+": "+judged.Why, "")
	}
}

// judgeClock compares the clock of this machine with Redis's. On a Cluster, with the one that
// differs most.
func (d *diagnoses) judgeClock(ctx context.Context, client redis.UniversalClient) {
	offset, err := redisconn.ClockOffset(ctx, client)
	if err != nil {
		d.add("clock", DiagnosisWarn, "it can not be compared: "+err.Error(), "")
		return
	}
	text := fmt.Sprintf("this machine is %s %s Redis", offset.Abs().Round(time.Millisecond), map[bool]string{true: "ahead of", false: "behind"}[offset > 0])
	switch off := offset.Abs(); {
	case off > failClockOffset:
		d.add("clock", DiagnosisFail, text, "synchronise the clocks, as by chrony")
	case off > warnClockOffset:
		d.add("clock", DiagnosisWarn, text, "synchronise the clocks, as by chrony")
	default:
		d.add("clock", DiagnosisOK, text, "")
	}
}

// judgeAdapters looks for Socket.IO servers on this Redis that do not hear this gateway.
func (d *diagnoses) judgeAdapters(ctx context.Context, n *node) {
	client, prefix := n.redis.client, n.clusterConfig().Prefix
	var mu sync.Mutex
	others, sharded, streams, ours := map[string]bool{}, map[string]bool{}, map[string]bool{}, false
	err := redisx.ForEachNode(ctx, client, func(ctx context.Context, server redis.UniversalClient) error {
		classic, err := server.PubSubChannels(ctx, "*#/#*").Result()
		if err != nil {
			return err
		}
		shards, _ := server.PubSubShardChannels(ctx, "*#/#*").Result() // Redis before 7 has none
		mu.Lock()
		defer mu.Unlock()
		for _, channel := range classic {
			name := adapterPrefix(channel)
			if streamsChannel.MatchString(channel) {
				streams[name] = true
				continue
			}
			ours = ours || name == prefix
			others[name] = name != prefix
		}
		for _, channel := range shards {
			sharded[adapterPrefix(channel)] = true
		}
		return nil
	})
	if err != nil {
		d.add("adapters", DiagnosisWarn, "Socket.IO servers beside us can not be seen: "+err.Error(), "+pubsub for our user")
		return
	}
	found := len(d.list)
	for _, name := range sortedKeys(others) {
		d.add("adapters", DiagnosisWarn, fmt.Sprintf("Socket.IO servers with the prefix %q are on this Redis, and do not hear those with %q", name, prefix), "--cluster-prefix, and the option key of Node's adapter, must be the same")
	}
	if !redisx.IsCluster(client) {
		for _, name := range sortedKeys(sharded) {
			d.add("adapters", DiagnosisFail, fmt.Sprintf("Node servers with the sharded adapter (prefix %q) do not hear this gateway", name), "use createAdapter of @socket.io/redis-adapter, which is the classic one")
		}
	}
	for _, key := range []string{"socket.io", "socket.io-0"} { // what the adapter calls its streams
		if kind, err := client.Type(ctx, key).Result(); err == nil && kind == "stream" {
			streams["socket.io"] = true
		}
	}
	for _, name := range sortedKeys(streams) {
		d.add("adapters", DiagnosisFail, fmt.Sprintf("Node servers with @socket.io/redis-streams-adapter (prefix %q) do not hear this gateway", name), "use @socket.io/redis-adapter")
	}
	if len(d.list) == found {
		text := "no other Socket.IO server is on this Redis"
		if ours {
			text = "all Socket.IO servers on this Redis have the prefix " + prefix
		}
		d.add("adapters", DiagnosisOK, text, "")
	}
}

// streamsChannel is the channel of its own that each server with @socket.io/redis-streams-adapter
// listens to, for requests: the prefix, the namespace, and 16 hexadecimal digits.
var streamsChannel = regexp.MustCompile(`^[^#]*#/[^#]*#[0-9a-f]{16}#$`)

// adapterPrefix returns what stands before the namespace in the name of a channel, without what
// tells requests from broadcasts.
func adapterPrefix(channel string) string {
	name, _, _ := strings.Cut(channel, "#")
	for _, kind := range []string{"-request", "-response", "-heartbeat", "-position", "-takeover"} {
		name = strings.TrimSuffix(name, kind)
	}
	return cmp.Or(strings.ToValidUTF8(name[:min(len(name), 100)], "?"), "(none)")
}

// sortedKeys returns the names that are true.
func sortedKeys(names map[string]bool) (list []string) {
	for name, isTrue := range names {
		if isTrue {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}
