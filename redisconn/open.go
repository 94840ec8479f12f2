package redisconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/aeturnis/realtime/internal/redisx"
)

var (
	// ErrUnreachable is what Open returns, wrapped, when the URL is valid and Redis does not answer,
	// or can not serve now.
	ErrUnreachable = errors.New("Redis cannot be reached")
	// ErrRefused is what Open returns, wrapped, when Redis answers and does not let us in: the login
	// is wrong, or a right is missing.
	ErrRefused = errors.New("Redis refuses us")
)

// Config configures a client. The zero value works.
type Config struct {
	// PoolSize is how many connections the client opens to one server at most; 0 means ten for each
	// core. Subscriptions and pipelines have connections of their own.
	PoolSize int
	// DialTimeout, ReadTimeout, WriteTimeout and PoolTimeout bound the parts of a command; 0 means
	// 500 ms. A command is tried at most twice, and ends when the caller's context does.
	DialTimeout, ReadTimeout, WriteTimeout, PoolTimeout time.Duration
	// TLS is used for the rediss schemes; nil trusts the system's certificate authorities.
	TLS *tls.Config
	// TLSFiles, when set, are read again at each dial, so that certificates can be rotated. TLS is
	// then used only while they can not be read.
	TLSFiles TLSFiles
	// SentinelUsername and SentinelPassword are for the sentinels themselves; the
	// credentials in the URL are for the servers behind them.
	SentinelUsername, SentinelPassword string
	// Password is for the servers, where the URL has none.
	Password string
	// Credentials, when set, returns the login for the servers. It is called at each dial, so that a
	// password can be rotated. While it fails, the last login is used, at first that of the URL and
	// Password. It may be called from any goroutine.
	Credentials func() (user, password string, err error)
	// LookupHost resolves the names of servers; nil asks the system's resolver.
	LookupHost func(ctx context.Context, host string) ([]string, error)
	// Moves, when set, watches whether the same server answers at the address as before. It is for
	// this client alone, and its Run must be called.
	Moves *MoveMonitor
	// Name is the name of our connections in CLIENT LIST; it must not hold spaces. A server that
	// refuses names is used without.
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

// A connection of a pool lives for at most maxConnLife, and for up to twice connLifeJitter less.
const (
	maxConnLife    = 30 * time.Minute
	connLifeJitter = 5 * time.Minute
)

// New makes a client, and does not connect yet. The error is a *URLError.
func New(rawURL string, cfg Config) (redis.UniversalClient, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	o := &redis.UniversalOptions{
		Addrs: t.addrs, MasterName: t.master, IsClusterMode: t.isCluster(),
		DB: t.db, Username: t.user, Password: cmp.Or(t.password, cfg.Password),
		SentinelUsername: cfg.SentinelUsername, SentinelPassword: cfg.SentinelPassword,
		OnConnect: nameConnection(cfg.Name), PoolSize: cfg.PoolSize,
		DialTimeout: cfg.DialTimeout, ReadTimeout: cfg.ReadTimeout,
		WriteTimeout: cfg.WriteTimeout, PoolTimeout: cfg.PoolTimeout,
		ContextTimeoutEnabled: true,
		// Our commands and replies are short, and the batches of a pipeline have some tens of
		// kilobytes. The default buffers are 64 KiB for a connection, and 256 KiB for one of a pipeline.
		ReadBufferSize: 8 << 10, WriteBufferSize: 8 << 10,
		PipelineReadBufferSize: 32 << 10, PipelineWriteBufferSize: 32 << 10,
		DisableIdentity: true, // a round trip that Redis 7.0 answers with an error
		DialerRetries:   1,
		MaxRetries:      1,
		// A connection is dialled anew now and then, so that what stands behind the address is seen.
		ConnMaxLifetime: maxConnLife - connLifeJitter, ConnMaxLifetimeJitter: connLifeJitter,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if cfg.Credentials != nil {
		o.CredentialsProviderContext = followLogin(login{o.Username, o.Password}, cfg.Credentials)
	}
	var secure func() (*tls.Config, error)
	if t.usesTLS() {
		if cfg.TLS == nil {
			cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		o.TLSConfig = cfg.TLS.Clone()
		secure = newTLSConfig(o.TLSConfig, cfg.TLSFiles)
	}
	network := "tcp"
	if t.scheme == "unix" {
		network = "unix"
	}
	o.Dialer = newDialer(network, secure, cfg.DialTimeout, cfg.LookupHost).dial
	if t.isCluster() {
		c := o.Cluster()
		// A dead master cannot say who took over. By default go-redis would read the slots' map only
		// once a minute.
		c.ClusterStateReloadInterval = time.Second
		return redis.NewClusterClient(c), nil
	}
	client := redis.NewUniversalClient(o)
	if server := redisx.SingleServer(client); server != nil && cfg.Moves != nil {
		cfg.Moves.attach(server, t.master != "")
	}
	return client, nil
}

// Open makes a client and waits for one answer of Redis. The error is a *URLError, or wraps
// ErrUnreachable or ErrRefused and the cause; no client is returned then.
func Open(ctx context.Context, rawURL string, cfg Config) (redis.UniversalClient, error) {
	client, err := New(rawURL, cfg)
	if err != nil {
		return nil, err
	}
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close() // nothing was sent
		kind := ErrUnreachable
		if isLoginRefused(err) {
			kind = ErrRefused
		}
		return nil, fmt.Errorf("%s: %w: %w", Redact(rawURL), kind, err)
	}
	return client, nil
}

// isLoginRefused tells whether Redis answered that it will not serve us, and would not later
// either.
func isLoginRefused(err error) bool {
	word := redisx.RefusalWord(err)
	return isReply(err) && (!redisx.Unavailable(err) || word == "NOAUTH" || word == "WRONGPASS")
}

// A login is a user of Redis and its password.
type login struct{ user, password string }

// followLogin returns what go-redis calls at each dial for the login: that of now, or while it can
// not be read, which may be half of a rotation, the last one.
func followLogin(first login, now func() (user, password string, err error)) func(context.Context) (string, string, error) {
	var last atomic.Pointer[login]
	last.Store(&first)
	return func(context.Context) (string, string, error) {
		if user, password, err := now(); err == nil {
			last.Store(&login{user, password})
		}
		l := last.Load()
		return l.user, l.password, nil
	}
}

// nameConnection returns what gives each new connection its name. Not every server and proxy takes
// a name, and nothing but CLIENT LIST needs it, so a refusal is no failure.
func nameConnection(name string) func(context.Context, *redis.Conn) error {
	if name == "" {
		return nil
	}
	return func(ctx context.Context, conn *redis.Conn) error {
		if err := conn.ClientSetName(ctx, name).Err(); !isReply(err) {
			return err
		}
		return nil
	}
}
