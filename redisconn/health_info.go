package redisconn

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// readDetails fills in what INFO and CONFIG report. A server that does not know them, or does not
// let us ask, is not called degraded for it.
func (h *Health) readDetails(ctx context.Context, client redis.UniversalClient) {
	nodes := h.readInfos(ctx, client)
	if len(nodes) == 0 {
		return
	}
	n := nodes[0]
	h.Version = n.serverVersion()
	h.EvictionPolicy = n["maxmemory_policy"]
	if h.Role == "" {
		h.Role = strings.Replace(n["role"], "slave", "replica", 1)
	}
	if h.Version == "" {
		h.addWarning("this Redis runs inside the gateway, for development: nothing is kept, nothing is shared")
		return
	}
	h.readPersistence(ctx, client, n)
	h.Memory = &Memory{}
	full, broken := false, false
	for _, n := range nodes {
		if n.intField("maxmemory") > 0 && n["maxmemory_policy"] != "noeviction" { // of a Cluster the worst
			h.EvictionPolicy = n["maxmemory_policy"]
		}
		used, limit := n.intField("used_memory"), n.intField("maxmemory")
		h.Memory.UsedBytes += used
		h.Memory.MaxBytes += limit
		full = full || limit > 0 && used > limit/10*9
		broken = broken || n["rdb_last_bgsave_status"] == "err" || n["aof_last_write_status"] == "err"
	}
	if full {
		h.addWarning("more than 90 % of maxmemory is used")
	}
	if broken {
		h.addWarning("the last save to disk failed")
	}
	if h.MayEvict() {
		h.addWarning("maxmemory-policy " + h.EvictionPolicy + " may throw away sessions and inventories; set noeviction")
	}
	if n["master_link_status"] == "down" {
		h.addWarning("this replica has lost its master")
	}
}

// readInfos returns the INFO of the server, or of every master of a Cluster.
func (h *Health) readInfos(ctx context.Context, client redis.UniversalClient) []info {
	cluster := redisx.ClusterOf(client)
	if cluster == nil {
		text, err := client.Info(ctx).Result()
		if err != nil {
			h.addWarning("Redis does not answer INFO")
			return nil
		}
		return []info{parseInfo(text)}
	}
	h.Role = "cluster"
	var mu sync.Mutex
	var nodes []info
	err := redisx.ForEachMaster(ctx, client, func(ctx context.Context, master redis.UniversalClient) error {
		text, err := master.Info(ctx).Result()
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, parseInfo(text))
		}
		return err
	})
	if err != nil {
		h.Status, h.Error = StatusDegraded, "a master of the Cluster does not answer"
	}
	if text, err := cluster.ClusterInfo(ctx).Result(); err == nil {
		if state := parseInfo(text)["cluster_state"]; state != "ok" {
			h.Status, h.Error = StatusDegraded, "the Cluster is down"
		}
	}
	return nodes
}

// readPersistence finds out how the server stores its data. Only CONFIG says whether it makes
// snapshots, and many hosted servers refuse CONFIG.
func (h *Health) readPersistence(ctx context.Context, client redis.UniversalClient, n info) {
	aof := n["aof_enabled"] == "1"
	save, err := client.ConfigGet(ctx, "save").Result()
	switch rdb := save["save"] != ""; {
	case aof && rdb:
		h.Persistence = "rdb+aof"
	case aof:
		h.Persistence = "aof"
	case rdb:
		h.Persistence = "rdb"
	case err == nil:
		h.Persistence = "none"
		h.addWarning("nothing is kept when Redis restarts: neither snapshots nor an append-only file")
	}
}
