package cli

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisdial"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/redisconn"
)

// RedisFlags are those of every command that needs Redis.
type RedisFlags struct {
	Redis         string `placeholder:"URL" help:"Use this Redis: redis://[user:password@]host:port[/db], rediss://…, unix:///path, redis+sentinel://host:port,…/MASTER or redis+cluster://host:port,…"`
	RedisURLFile  string `name:"redis-url-file" placeholder:"FILE" help:"Read the URL of --redis from this file, so that no password stands in the command line or the environment."`
	RedisPassword string `name:"redis-password-file" placeholder:"FILE" help:"Read the password of Redis from this file; the URL of --redis has none then."`
	RedisCA       string `name:"redis-ca" placeholder:"FILE" help:"For rediss://, trust the authorities in this file (PEM) instead of the system's."`
	RedisCert     string `name:"redis-cert" placeholder:"FILE" help:"For rediss://, present this certificate, with --redis-key."`
	RedisKey      string `name:"redis-key" placeholder:"FILE" help:"For rediss://, this is the key of --redis-cert."`
	SentinelLogin string `name:"redis-sentinel-login" placeholder:"USER:PASSWORD" help:"Log in to the sentinels with this; the login in the URL is for the servers. It is better set as GATEWAY_REDIS_SENTINEL_LOGIN."`
}

// redisWaitFlag is for the command that serves.
type redisWaitFlag struct {
	RedisWait *time.Duration `name:"redis-wait" placeholder:"DURATION" help:"At the start, wait this long for a Redis that is away, then end with status 3. The default is to wait for ever, and with --dev not to wait."`
}

// wait returns what Config.RedisWait is to be.
func (f redisWaitFlag) wait() time.Duration {
	if f.RedisWait == nil {
		return 0
	}
	return explicitZero(*f.RedisWait)
}

// CommandConfig is for the clients of commands that end soon.
var CommandConfig = redisconn.Config{Name: "gateway-command", PoolSize: 4}

// OpenRedis connects for a command that ends soon. The caller closes the client.
func (f RedisFlags) OpenRedis(ctx context.Context) (redis.UniversalClient, error) {
	if err := f.ReadURLFile(); err != nil {
		return nil, err
	}
	if f.Redis == "" {
		return nil, usage.Errorf("--redis is required")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return f.Target().Open(ctx, CommandConfig)
}

// ReadURLFile sets Redis from the file of --redis-url-file, where that is given.
func (f *RedisFlags) ReadURLFile() (err error) {
	switch {
	case f.RedisURLFile == "":
		return nil
	case f.Redis != "":
		return usage.Errorf("--redis and --redis-url-file exclude each other")
	}
	f.Redis, err = redisdial.ReadSecret("--redis-url-file", f.RedisURLFile)
	return err
}

// Target returns what the flags say of Redis.
func (f RedisFlags) Target() redisdial.Target {
	return redisdial.Target{URL: f.Redis, CAFile: f.RedisCA, CertFile: f.RedisCert, KeyFile: f.RedisKey, SentinelLogin: f.SentinelLogin, PasswordFile: f.RedisPassword, URLFile: f.RedisURLFile}
}
