package redisx

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// SingleServer returns the client of one server that has all keys: a plain client or one that
// follows a master by Sentinel. It returns nil for every other client.
func SingleServer(rdb redis.UniversalClient) *redis.Client {
	client, _ := rdb.(*redis.Client)
	return client
}

// ClusterOf returns the client of a Cluster, or nil for every other client.
func ClusterOf(rdb redis.UniversalClient) *redis.ClusterClient {
	cluster, _ := rdb.(*redis.ClusterClient)
	return cluster
}

// IsSingleServer tells whether one server has all keys, so that one script may use any of them.
func IsSingleServer(rdb redis.UniversalClient) bool { return SingleServer(rdb) != nil }

// IsCluster tells whether keys lie on the servers of a Cluster, so that one script may use only
// keys of one slot.
func IsCluster(rdb redis.UniversalClient) bool { return ClusterOf(rdb) != nil }

// IsRing tells whether go-redis itself spreads keys over servers that know nothing of each other.
func IsRing(rdb redis.UniversalClient) bool {
	_, ring := rdb.(*redis.Ring)
	return ring
}

// ForEachMaster calls fn for each server that keys are written to: once with rdb itself, or on a
// Cluster with each master, all at the same time. It waits for all calls, and returns the first
// error.
func ForEachMaster(ctx context.Context, rdb redis.UniversalClient, fn func(ctx context.Context, master redis.UniversalClient) error) error {
	cluster := ClusterOf(rdb)
	if cluster == nil {
		return fn(ctx, rdb)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return fn(ctx, master) })
}

// ForEachNode is ForEachMaster for the masters and the replicas of a Cluster. It is for questions
// about connections, because clients may be connected to any of them.
func ForEachNode(ctx context.Context, rdb redis.UniversalClient, fn func(ctx context.Context, node redis.UniversalClient) error) error {
	cluster := ClusterOf(rdb)
	if cluster == nil {
		return fn(ctx, rdb)
	}
	return cluster.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error { return fn(ctx, node) })
}

// MasterForKey returns the client of the server that key is written to: rdb itself, or on a Cluster
// the master of the key's slot.
func MasterForKey(ctx context.Context, rdb redis.UniversalClient, key string) (redis.UniversalClient, error) {
	cluster := ClusterOf(rdb)
	if cluster == nil {
		return rdb, nil
	}
	master, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	return master, nil
}
