package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ErrUnreachable is what Open returns, wrapped, when the URL is fine and Redis is not.
var ErrUnreachable = errors.New("Redis cannot be reached")

// Config tunes a client. The zero value works.
type Config struct {
	// PoolSize is how many connections one server may get from us; 0 means ten a core.
	// Subscriptions and pipelines have their own.
	PoolSize int
	// DialTimeout, ReadTimeout, WriteTimeout and PoolTimeout bound the parts of a
	// command; 0 means 500 ms. A command is tried twice, and a caller's context always
	// ends it earlier.
	DialTimeout, ReadTimeout, WriteTimeout, PoolTimeout time.Duration
	// TLS is used for the rediss schemes; nil trusts the system's authorities.
	TLS *tls.Config
	// SentinelUsername and SentinelPassword are for the sentinels themselves; the
	// credentials in the URL are for the servers behind them.
	SentinelUsername, SentinelPassword string
	// Name is what CLIENT LIST shows for our connections; it must hold no spaces.
	Name string
}

func (c Config) withDefaults() Config {
	for _, d := range []*time.Duration{&c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.PoolTimeout} {
		if *d <= 0 {
			*d = 500 * time.Millisecond
		}
	}
	return c
}

// New makes a client without dialling. The error is a *URLError.
func New(rawURL string, cfg Config) (redis.UniversalClient, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	o := &redis.UniversalOptions{
		Addrs: t.addrs, MasterName: t.master, IsClusterMode: t.isCluster(),
		DB: t.db, Username: t.user, Password: t.password,
		SentinelUsername: cfg.SentinelUsername, SentinelPassword: cfg.SentinelPassword,
		ClientName: cfg.Name, PoolSize: cfg.PoolSize,
		DialTimeout: cfg.DialTimeout, ReadTimeout: cfg.ReadTimeout,
		WriteTimeout: cfg.WriteTimeout, PoolTimeout: cfg.PoolTimeout,
		ContextTimeoutEnabled: true,
		// Our commands and answers are short, and a pipeline's batches some tens of
		// kilobytes: go-redis' own buffers would be 64 KiB a connection, 256 of a pipeline's.
		ReadBufferSize: 8 << 10, WriteBufferSize: 8 << 10,
		PipelineReadBufferSize: 32 << 10, PipelineWriteBufferSize: 32 << 10,
		DisableIdentity: true, // a round trip that Redis 7.0 answers with an error
		DialerRetries:   1,
		MaxRetries:      1,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if t.usesTLS() {
		if cfg.TLS == nil {
			cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		o.TLSConfig = cfg.TLS.Clone()
	}
	network := "tcp"
	if t.scheme == "unix" {
		network = "unix"
	}
	o.Dialer = newDialer(network, o.TLSConfig, cfg.DialTimeout)
	if t.isCluster() {
		c := o.Cluster()
		// A dead master does not tell who took over: by itself go-redis would ask for the
		// map once a minute.
		c.ClusterStateReloadInterval = time.Second
		return redis.NewClusterClient(c), nil
	}
	return redis.NewUniversalClient(o), nil
}

// Open makes a client and waits for one answer. The error is a *URLError, or wraps
// ErrUnreachable and the cause; then there is no client.
func Open(ctx context.Context, rawURL string, cfg Config) (redis.UniversalClient, error) {
	client, err := New(rawURL, cfg)
	if err != nil {
		return nil, err
	}
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close() // nothing was sent
		return nil, fmt.Errorf("%s: %w: %w", Redact(rawURL), ErrUnreachable, err)
	}
	return client, nil
}
