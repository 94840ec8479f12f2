package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/redisconn"
)

// redisFlag is what every command takes that needs Redis.
type redisFlag struct {
	Redis         string `placeholder:"URL" help:"redis://[user:password@]host:port[/db], rediss://…, unix:///path, redis+sentinel://host:port,…/MASTER or redis+cluster://host:port,…"`
	RedisCA       string `name:"redis-ca" placeholder:"FILE" help:"For rediss://: the authorities to trust instead of the system's (PEM)."`
	RedisCert     string `name:"redis-cert" placeholder:"FILE" help:"For rediss://: our certificate, with --redis-key."`
	RedisKey      string `name:"redis-key" placeholder:"FILE" help:"For rediss://: its key."`
	SentinelLogin string `name:"redis-sentinel-login" placeholder:"USER:PASSWORD" help:"For the sentinels themselves; better set as GATEWAY_REDIS_SENTINEL_LOGIN. The URL's is for the servers."`
}

// open connects for a command that ends soon.
func (f redisFlag) open(ctx context.Context) (redis.UniversalClient, error) {
	if f.Redis == "" {
		return nil, usage("--redis is required")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return f.connect(ctx, f.Redis, redisconn.Config{Name: "gateway-command", PoolSize: 4})
}

// connect is redisconn.Open with the flags' TLS and login; what can not be read is wrong usage.
func (f redisFlag) connect(ctx context.Context, url string, cfg redisconn.Config) (redis.UniversalClient, error) {
	secrets, err := redisconn.TLSFiles{CA: f.RedisCA, Cert: f.RedisCert, Key: f.RedisKey}.Load()
	switch {
	case err != nil:
		return nil, usageError{fmt.Errorf("--redis-ca, --redis-cert, --redis-key: %w", err)}
	case secrets != nil && !redisconn.Secure(url):
		return nil, usage("--redis-ca, --redis-cert and --redis-key need a rediss:// URL")
	}
	cfg.TLS = secrets
	cfg.SentinelUsername, cfg.SentinelPassword, _ = strings.Cut(f.SentinelLogin, ":")
	rdb, err := redisconn.Open(ctx, url, cfg)
	if errors.Is(err, redisconn.ErrURL) {
		return nil, usageError{fmt.Errorf("--redis: %w", err)}
	}
	return rdb, err
}

// openRedis connects to what --redis names, or starts the embedded default.
func (n *node) openRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	url := n.cfg.Redis
	if url == "" {
		server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
		if err != nil {
			return fmt.Errorf("embedded Redis: %w", err)
		}
		n.embedded, url = server, server.URL()
	}
	rdb, err := n.cfg.connect(ctx, url, redisconn.Config{Name: "gateway", PoolSize: 64})
	if err != nil {
		n.closeRedis()
		return err
	}
	n.rdb = rdb
	return nil
}

func (n *node) closeRedis() {
	if n.rdb != nil {
		_ = n.rdb.Close()
	}
	if n.embedded != nil {
		_ = n.embedded.Close()
	}
}
