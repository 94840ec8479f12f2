package server

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	pathpkg "path"
	"slices"
	"strings"
	"time"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/internal/backend"
	"github.com/aeturnis/realtime/internal/redisdial"
	"github.com/aeturnis/realtime/internal/tracing/otlp"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/webhooks"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// A Backend is a program of the game that serves events.
type Backend = backend.Config

// A BackendFault is one thing that is wrong with a Backend. It is in the chain of an ErrConfig.
type BackendFault = backend.Fault

// ErrConfig is in the chain of every error about a Config that can not be served. The error's
// text names the setting as the flag of `gateway serve` that sets it.
var ErrConfig = usage.Err

// A Config says how a server runs. It needs RedisURL, or Dev for a developer's machine: Dev alone
// serves on 127.0.0.1:8080 with an embedded Redis that keeps nothing. A field that is zero gets its
// default. In parentheses stands the flag of `gateway serve` that sets the field;
// docs/serve-help.txt lists all flags. Run returns an ErrConfig when a duration without another
// rule is less than a millisecond, or a bound without another rule is less than 1.
type Config struct {
	// Features are served beside those of the gateway itself (chat, combat, trade, presence,
	// leaderboard). See Feature.
	Features []Feature

	// Backends are programs of the game that serve events, and may judge who connects. Their names and
	// events must not be those of Features or of the gateway. (`backends` in the file of --config)
	Backends []Backend

	// Out receives a few lines for people when Run begins to serve: the addresses, and which Redis
	// is used. Nil writes none.
	Out io.Writer
	// LogTo is where log lines go; nil is os.Stderr.
	LogTo io.Writer
	// ServiceManager, if not nil, is told how the server is.
	ServiceManager ServiceManager
	// Listeners are sockets that somebody else listens on, such as systemd, in place of the addresses
	// of --addr, --admin-addr and --api-addr: their keys are addr, admin-addr and api-addr. Run closes
	// them.
	Listeners map[string]net.Listener
	// OTLPEndpoint is the URL of an OpenTelemetry collector that takes OTLP over HTTP, such as
	// http://127.0.0.1:4318. Default: nothing is traced, and tracing costs nothing. (--otlp-endpoint)
	OTLPEndpoint string
	// TraceSample is the share of events, handshakes and requests that are traced, from 0 to 1.
	// Default: 0.01; negative traces none. (--trace-sample)
	TraceSample float64
	// LogLevel is debug, info, warn or error. Default: info. (--log-level)
	LogLevel string
	// LogFormat is json, console or auto, which is console in a terminal and json elsewhere.
	// Default: auto. (--log-format)
	LogFormat string

	// Addr is where players connect. Default: 127.0.0.1:8080. (--addr)
	Addr string
	// Path is where Socket.IO clients connect. It begins with /, and it is the same with and without
	// a / at the end. Default: /socket.io/. (--path)
	Path string
	// NoClientFiles keeps the official client's bundles, such as Path + "socket.io.min.js", from
	// being served. (--serve-client=false)
	NoClientFiles bool
	// Page serves the console at /, /asyncapi.json and /events.d.ts to everybody who reaches Addr, as
	// Dev does. (--page)
	Page bool
	// AdminUI lets operators watch with Socket.IO's Admin UI, which connects to the namespace /admin
	// at Addr: readonly, full, with which they also end connections and empty rooms, or off. With Dev
	// or Page its page is at /admin-ui/. Default: off. (--admin-ui)
	AdminUI string
	// AdminUIUsersFile names these operators: a line name:hash for each, as `htpasswd -B` writes it.
	// It is read again at each login, and who is not in it any more is disconnected.
	// (--admin-ui-users-file)
	AdminUIUsersFile string
	// AdminAddr is where operators find /metrics, /health/detailed and /debug/pprof. DANGER: it
	// asks for no login, so players must not be able to reach it. Default: empty, which serves
	// none of them. (--admin-addr, whose default is 127.0.0.1:8081)
	AdminAddr string
	// WebhookURL is the program of the game that is told what happens: who connects, what is traded,
	// and so on (docs/webhooks.md). It is https, or http on loopback. Empty tells nobody. All nodes of
	// a cluster need the same. It can not be used on a Redis Cluster. (--webhook-url)
	WebhookURL string
	// WebhookSecretFile has the secret with which these requests are signed; while it is being
	// changed, several, one on each line. It is read again at SIGHUP and when it changes.
	// (--webhook-secret-file)
	WebhookSecretFile string
	// WebhookCAFile has the authorities that the receiver's certificate is checked against, in place
	// of the system's. (--webhook-ca-file)
	WebhookCAFile string
	// WebhookEvents are the types of events that are told. Default: all of them. (--webhook-events)
	WebhookEvents []string
	// WebhookTimeout is how long the receiver may take to answer. Default: 10 s. (--webhook-timeout)
	WebhookTimeout time.Duration
	// WebhookRetry is how long an event waits that the receiver did not take; each later time it is
	// four times as long. Default: 1 s, with which ten tries take a day. (--webhook-retry)
	WebhookRetry time.Duration
	// WebhookQueue is how many events may wait in Redis; beyond it new ones are dropped. Default:
	// 100,000; at most 1,000,000. (--webhook-queue)
	WebhookQueue int
	// APIAddr is where programs of the game call the server API. Empty serves none. It needs
	// APIKeysFile. (--api-addr)
	APIAddr string
	// APIKeysFile has the keys of the server API, one a line (package internal/apikeys). It is read
	// again at each SIGHUP and when it changes; a file that is wrong changes nothing.
	// (--api-keys-file)
	APIKeysFile string
	// TLSCert and TLSKey are the files of the certificate, with the chain to its authority, and of its
	// key, in PEM. With them, Addr, AdminAddr and APIAddr serve TLS 1.2 and later, and nothing in the
	// clear. They are read again at SIGHUP and when they change; a file that is wrong changes nothing.
	// Default: empty, which serves no TLS: a proxy in front does. (--tls-cert, --tls-key)
	TLSCert, TLSKey string
	// AdminClientCA and APIClientCA are files of the authorities, in PEM, one of which must have
	// signed the certificate of each client of AdminAddr and of APIAddr. They are read again like
	// TLSCert. Default: empty, which asks clients for no certificate. (--admin-client-ca,
	// --api-client-ca)
	AdminClientCA, APIClientCA string
	// AdminHosts are the names by which programs reach AdminAddr, such as gateway-1. A request there
	// whose Host is none of them, neither loopback nor an IP address, is refused, so that the page of
	// another site in an operator's browser gets nothing. Default: none. (--admin-hosts)
	AdminHosts []string
	// Node is the name of this node in logs, metrics and sessions. No two nodes may have the same.
	// Default: the host's name and the port of Addr. (--node)
	Node string
	// Dev is for a developer's machine: guests log in under any name, pages of this machine may
	// connect, everybody may join every chat channel, logins are limited less, and without RedisURL
	// an embedded Redis is started. DANGER: players are believed, so anybody can be anybody, and
	// without ProfilesURL a player may choose any character and take its goods. (--dev)
	Dev bool
	// Env is "", development or production. It changes nothing, but that Dev in production is warned
	// of. (--env)
	Env string

	// RedisURL is where Redis is: redis://, rediss://, unix://, redis+sentinel:// or
	// redis+cluster://, as redisconn.Open takes it. Only with Dev it may be empty, which
	// starts an embedded Redis that keeps nothing. (--redis)
	RedisURL string
	// RedisURLFile is the file from which RedisURL was read. The login in it is read again at each
	// dial, so that it can be rotated. (--redis-url-file)
	RedisURLFile string
	// RedisPasswordFile holds the password for RedisURL, which has none then. It is read again at each
	// dial. (--redis-password-file)
	RedisPasswordFile string
	// RedisWait is how long Run waits at the start for a Redis that is away. Meanwhile /health/live
	// is 200, /health/ready is 503, and everything else is refused with 503. Default: for ever, or
	// with Dev not at all; negative does not wait. (--redis-wait)
	RedisWait time.Duration
	// RedisCAFile, RedisCertFile and RedisKeyFile are PEM files for rediss://: the authorities to
	// trust instead of the system's, our certificate and its key. (--redis-ca, --redis-cert,
	// --redis-key)
	RedisCAFile, RedisCertFile, RedisKeyFile string
	// SentinelLogin is user:password for the sentinels themselves. (--redis-sentinel-login)
	SentinelLogin string
	// LockRedisURLs are Redis servers that do not depend on each other. A lock is then held on a
	// majority of them. Empty keeps the locks on RedisURL. (--lock-redis)
	LockRedisURLs []string
	// LockRedisPasswordFile holds the password for those of LockRedisURLs that have none. It is read
	// again at each dial. (--lock-redis-password-file)
	LockRedisPasswordFile string
	// ClusterPrefix is the beginning of the names of the pub/sub channels between nodes: up to 64
	// letters, digits or -_.: characters. Nodes with the same prefix are one cluster, and so are
	// Node servers whose adapter has it as its option key. Default: socket.io, or
	// socket.io:<database> where RedisURL names a database other than 0. (--cluster-prefix)
	ClusterPrefix string
	// ClusterJoinWindow is for how long after a Node server or an emitter was heard this node receives
	// the casts to all rooms, so that its players hear what such a program sends right behind its
	// socketsJoin. Default: 1 hour; negative never does so. (--cluster-join-window)
	ClusterJoinWindow time.Duration
	// Recovery is how long Redis keeps what was cast to a room, so that everybody hears what was
	// acknowledged: a node that was cut off reads what it missed, and a client whose connection broke
	// goes on with it on any node. Default: 2 minutes; negative keeps nothing. On a Redis Cluster
	// nothing is kept. (--recovery)
	Recovery time.Duration
	// RecoveryMemory is how many bytes of Redis that may take. Default: 256 MiB. (--recovery-memory)
	RecoveryMemory int

	// SessionTTL is how long a session lives without activity. Default: 30 minutes. (--session-ttl)
	SessionTTL time.Duration
	// SessionAbsoluteTTL is how long a session lives at most. Default: 24 hours.
	// (--session-absolute-ttl)
	SessionAbsoluteTTL time.Duration
	// SessionCookie is the name of the cookie that may carry the session id. Default: __Host-sid over
	// HTTPS, also where one of TrustedProxies says so (X-Forwarded-Proto), and sid over plain HTTP;
	// both are read. (--session-cookie)
	SessionCookie string
	// AllowedOrigins are the origins of pages that may use this gateway and the session cookie,
	// such as https://play.example (no path, and no / at the end). Pages on the gateway's own host
	// may, too: the Host of their request, or its X-Forwarded-Host from one of TrustedProxies.
	// Default: none. (--allowed-origins)
	AllowedOrigins []string
	// TrustedProxies are the networks of the proxies whose X-Forwarded-For, X-Forwarded-Host and
	// X-Forwarded-Proto are believed, such as 10.0.0.0/8. Without them, all players behind a proxy
	// have its address, and share the limits of that address. (--trusted-proxies)
	TrustedProxies []string
	// Devices says on how many devices a user may be connected: many, single (a new one ends the
	// old), newest:N (a new one ends the oldest), or oldest:N (a new one is refused), with N from 1
	// to 100. Default: many. (--devices)
	Devices string

	// JWTSecretFile holds the secret of at least 32 bytes that signs the tokens (HS256) which
	// POST /auth/login takes. (--jwt-secret-file)
	JWTSecretFile string
	// JWTKeySet is the https URL, or the file, of the public keys that sign the tokens (RS256,
	// ES256, EdDSA) which POST /auth/login takes. It excludes JWTSecretFile. (--jwt-jwks)
	JWTKeySet string
	// JWTIssuer and JWTAudience are what the claim iss of a token must be, and what its claim aud
	// must contain. Both are required where tokens are taken, because tokens for other services would
	// be accepted too; with Dev an empty one checks nothing. (--jwt-issuer, --jwt-audience)
	JWTIssuer, JWTAudience string
	// JWTSkew is how far the clock of the tokens' issuer may be off. Default: 30 seconds.
	// (--jwt-skew)
	JWTSkew time.Duration
	// ExpressSessions makes logins of a site with express-session and connect-redis count here
	// too. It needs ExpressSecretFile. (--session-source express)
	ExpressSessions bool
	// ExpressSecretFile holds the secret with which that site signs its sessions. While the site
	// changes it, the file holds the old and the new one, each in a line. (--session-secret-file)
	ExpressSecretFile string
	// ExpressCookie is the cookie of that site's sessions. Default: connect.sid.
	// (--express-cookie)
	ExpressCookie string

	// Policies are the limits. A route's Limits name them, so a feature with limits of its own
	// appends them to throttle.Defaults. Nil is throttle.Defaults(Dev). (--limit, policies)
	Policies []throttle.Policy
	// PolicyEvents maps the name of a policy to events that spend it, in addition to the policies
	// that their routes name. (policies in the file)
	PolicyEvents map[string][]string
	// ReloadPolicies is called at each SIGHUP and returns the limits as they are configured then.
	// After an error the old limits stay. With nil the server does not handle SIGHUP, so the
	// signal ends the process unless the program handles it.
	ReloadPolicies func() ([]throttle.Policy, error)
	// Reload is called at each SIGHUP, in place of ReloadPolicies, and returns the settings as they
	// are configured then. What can change while the node runs does: Policies, LogLevel, DrainFor,
	// TraceSample, and the files of secrets. Other settings that have changed are named in the log,
	// and need a restart.
	Reload func() (Config, error)
	// NoLocalLimits says what happens while Redis is away to events that spend a limit: true
	// answers them with UNAVAILABLE, false lets each node limit by its own memory until Redis is
	// back. (--limit-fallback none)
	NoLocalLimits bool
	// LimitTimeout is how long Redis may take to decide a limit. Then this node decides by its own
	// memory, which may admit more than the limit in all, or answers as NoLocalLimits says. Where
	// Redis is far away, it must be longer than a few round trips. Default: 40 ms. (--limit-timeout)
	LimitTimeout time.Duration
	// LimitCloseAfter bounds the refusals of one policy to one connection within the policy's window,
	// as a multiple of its limit: with 10, a connection is closed at the 100th refusal by a limit of
	// 10 events. Default: 10; negative never closes. (--limit-close-after)
	LimitCloseAfter int

	// ProfilesURL is the profile service: GET URL/users/{id}, GET and PUT URL/characters/{id}.
	// Without it, Dev invents users and characters, and otherwise none is known. (--profiles-url)
	ProfilesURL string
	// ProfilesToken is sent to the profile service as a bearer token. (--profiles-token)
	ProfilesToken string
	// ProfilesTokenFile holds that token. It is read again for each request. (--profiles-token-file)
	ProfilesTokenFile string
	// CacheLocalBytes bounds the cache in this process, in bytes. Default: 64 MiB; negative caches
	// in Redis only. (--cache-local-bytes)
	CacheLocalBytes int64
	// CacheTTL is how long users and characters are cached. Default: 30 minutes. (--cache-ttl)
	CacheTTL time.Duration

	// ChatHistory is about how many messages of a channel are kept for chat:history. Default:
	// 1,000; negative keeps none. (--chat-history)
	ChatHistory int
	// CombatTimeout is how long a fight lasts in which nobody moves; it ends without a winner.
	// Default: 2 minutes. (--combat-timeout)
	CombatTimeout time.Duration
	// TradeExpiry is how long a trade may be open. Default: 5 minutes. (--trade-expiry)
	TradeExpiry time.Duration
	// TradeDurability is what the ok of a trade waits for; Run refuses more than Redis can do.
	// Default: trade.Auto, which follows what Redis can do and warns where that is trade.None.
	// (--trade-durability)
	TradeDurability trade.Durability

	// DrainFor is the time over which connections are closed, one after the other, when the server
	// stops. Default: 10 seconds; negative closes them at once. (--drain-for)
	DrainFor time.Duration
	// HandlerTimeout is how long the handler of one event may take; then the context of the handler
	// ends. Default: 5 seconds. (--handler-timeout)
	HandlerTimeout time.Duration

	// PingInterval is the time between heartbeats. Default: 25 seconds. (--ping-interval)
	PingInterval time.Duration
	// PingTimeout is how long the answer to a heartbeat may take. Default: 20 seconds.
	// (--ping-timeout)
	PingTimeout time.Duration
	// ConnectTimeout is how long a new connection may take to log in; then it is closed. Once a part
	// of a message has come, the rest must come within half of it. Before the login a message may have
	// 64 KiB at most. Default: 10 seconds. (--connect-timeout)
	ConnectTimeout time.Duration
	// UpgradeTimeout is how long an upgrade to a websocket may take. Default: 10 seconds.
	// (--upgrade-timeout)
	UpgradeTimeout time.Duration
	// BodyTimeout is how long the body of a POST may take to arrive. Default: 10 seconds.
	// (--body-timeout)
	BodyTimeout time.Duration
	// HTTPIdleTimeout is how long a TCP connection of HTTP is kept open between two requests. Where a
	// balancer in front keeps it longer, it sends requests into connections that were just closed.
	// Default: 620 seconds, because Google's balancers keep them for 600. (--http-idle-timeout)
	HTTPIdleTimeout time.Duration
	// MaxPayload is how many bytes one message, or the body of one POST, may have. Default:
	// 1,000,000. (--max-payload)
	MaxPayload int
	// MaxPackets is how many packets one POST may hold. Default: 2,000. (--max-packets)
	MaxPackets int
	// MaxAttachments is how many binary values one message may have. Default: 10.
	// (--max-attachments)
	MaxAttachments int
	// MaxDepth is how deep the JSON of a payload may be nested. Default: 32. (--max-depth)
	MaxDepth int
	// MaxRooms is how many rooms one connection may be in. Default: 64. (--max-rooms)
	MaxRooms int
	// InboundQueue is how many events of one connection may wait before its sender is slowed.
	// Default: 256. (--inbound-queue)
	InboundQueue int
	// OutboundQueue is how many bytes may wait for one client before it is closed as too slow.
	// Default: 1 MiB. (--outbound-queue)
	OutboundQueue int
	// MaxConnections bounds the connections of this node. Default: 100,000; negative is no bound. Less
	// is in force where the limit of open files allows less.
	// (--max-connections)
	MaxConnections int
	// MaxConnectionsPerAddress bounds the connections of one address (IPv6: of one /64) to this
	// node. Default and negative: no bound. (--max-connections-per-address)
	MaxConnectionsPerAddress int
	// MaxConnectionsPerUser bounds the connections of one user, to all nodes: a further one is refused
	// with TOO_MANY_CONNECTIONS. While Redis can not count them, each node bounds its own. Default:
	// 20; negative is no bound. (--max-connections-per-user)
	MaxConnectionsPerUser int
	// MaxHTTPConnectionsPerAddress bounds the TCP connections of one address (IPv6: of one /64) to
	// this node that are plain HTTP: polling, requests, and what sends nothing. Further ones may only
	// become websockets, and have a second for that. The connections of TrustedProxies are not
	// bounded. Default: 100; negative is no bound. (--max-http-connections-per-address)
	MaxHTTPConnectionsPerAddress int
	// HandshakesPerSecond bounds the new connections to this node in a second. Default and
	// negative: no bound. (--handshakes-per-second)
	HandshakesPerSecond float64
	// Compression offers permessage-deflate. It costs memory and time for each connection.
	// (--compression)
	Compression bool
}

// WithDefaults returns c with the default in every field that is zero and has one.
func (c Config) WithDefaults() Config {
	setDefault(&c.LogTo, io.Writer(os.Stderr))
	setDefault(&c.TraceSample, 0.01)
	setDefault(&c.LogLevel, "info")
	setDefault(&c.LogFormat, "auto")
	setDefault(&c.Addr, "127.0.0.1:8080")
	setDefault(&c.Path, "/socket.io/")
	if !strings.HasSuffix(c.Path, "/") {
		c.Path += "/"
	}
	setDefault(&c.AdminUI, "off")
	setDefault(&c.WebhookTimeout, 10*time.Second)
	setDefault(&c.WebhookRetry, time.Second)
	setDefault(&c.WebhookQueue, webhooks.DefaultMax)
	if len(c.WebhookEvents) == 0 && c.WebhookURL != "" {
		c.WebhookEvents = webhooks.Types()
	}
	setDefault(&c.ClusterJoinWindow, time.Hour)
	setDefault(&c.Recovery, 2*time.Minute)
	setDefault(&c.RecoveryMemory, 256<<20)
	if c.RedisWait == 0 && !c.Dev {
		c.RedisWait = math.MaxInt64
	}
	setDefault(&c.SessionTTL, 30*time.Minute)
	setDefault(&c.SessionAbsoluteTTL, 24*time.Hour)
	setDefault(&c.Devices, "many")
	setDefault(&c.JWTSkew, 30*time.Second)
	setDefault(&c.ExpressCookie, "connect.sid")
	if c.Policies == nil {
		c.Policies = throttle.Defaults(c.Dev)
	}
	setDefault(&c.LimitTimeout, 40*time.Millisecond)
	setDefault(&c.LimitCloseAfter, 10)
	setDefault(&c.CacheLocalBytes, 64<<20)
	setDefault(&c.CacheTTL, 30*time.Minute)
	setDefault(&c.ChatHistory, 1000)
	setDefault(&c.CombatTimeout, 2*time.Minute)
	setDefault(&c.TradeExpiry, 5*time.Minute)
	setDefault(&c.TradeDurability, trade.Auto)
	setDefault(&c.DrainFor, 10*time.Second)
	setDefault(&c.HandlerTimeout, 5*time.Second)
	setDefault(&c.PingInterval, 25*time.Second)
	setDefault(&c.PingTimeout, 20*time.Second)
	setDefault(&c.ConnectTimeout, 10*time.Second)
	setDefault(&c.UpgradeTimeout, 10*time.Second)
	setDefault(&c.BodyTimeout, 10*time.Second)
	setDefault(&c.HTTPIdleTimeout, 620*time.Second)
	setDefault(&c.MaxPayload, 1_000_000)
	setDefault(&c.MaxPackets, 2000)
	setDefault(&c.MaxAttachments, 10)
	setDefault(&c.MaxDepth, 32)
	setDefault(&c.MaxRooms, 64)
	setDefault(&c.InboundQueue, 256)
	setDefault(&c.OutboundQueue, 1<<20)
	setDefault(&c.MaxConnections, 100_000)
	setDefault(&c.MaxConnectionsPerAddress, -1)
	setDefault(&c.MaxConnectionsPerUser, 20)
	setDefault(&c.MaxHTTPConnectionsPerAddress, 100)
	setDefault(&c.HandshakesPerSecond, -1)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check returns an ErrConfig that names everything that is wrong, or does not fit together. The
// defaults must be set.
func (c *Config) check() error { return usage.Wrap(errors.Join(c.Faults()...)) }

// Faults returns everything that is wrong with the settings, or does not fit together, one
// ErrConfig for each fault. The defaults must be set. Run returns more of them: what files hold,
// and what Redis can do.
func (c Config) Faults() (faults []error) {
	refuse := func(format string, args ...any) { faults = append(faults, usage.Errorf(format, args...)) }
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"session-ttl", c.SessionTTL},
		{"session-absolute-ttl", c.SessionAbsoluteTTL},
		{"handler-timeout", c.HandlerTimeout},
		{"trade-expiry", c.TradeExpiry},
		{"ping-interval", c.PingInterval},
		{"ping-timeout", c.PingTimeout},
		{"connect-timeout", c.ConnectTimeout},
		{"upgrade-timeout", c.UpgradeTimeout},
		{"body-timeout", c.BodyTimeout},
		{"http-idle-timeout", c.HTTPIdleTimeout},
		{"combat-timeout", c.CombatTimeout},
		{"cache-ttl", c.CacheTTL},
		{"limit-timeout", c.LimitTimeout},
		{"webhook-timeout", c.WebhookTimeout},
		{"webhook-retry", c.WebhookRetry},
	} {
		if d.value < time.Millisecond {
			refuse("--%s must be at least 1ms", d.flag)
		}
	}
	if c.WebhookRetry > time.Hour { // the tenth try would come after thirty years
		refuse("--webhook-retry must be at most 1h")
	}
	for _, n := range []struct {
		flag  string
		value int
	}{
		{"max-payload", c.MaxPayload},
		{"webhook-queue", c.WebhookQueue},
		{"max-packets", c.MaxPackets},
		{"max-attachments", c.MaxAttachments},
		{"max-depth", c.MaxDepth},
		{"max-rooms", c.MaxRooms},
		{"inbound-queue", c.InboundQueue},
		{"outbound-queue", c.OutboundQueue},
	} {
		if n.value < 1 {
			refuse("--%s must be at least 1", n.flag)
		}
	}
	if c.WebhookQueue > maxWebhookQueue { // a node has the order of all of them in memory
		refuse("--webhook-queue must be at most %d", maxWebhookQueue)
	}
	if !isSocketPath(c.Path) {
		refuse("--path must be a path such as /socket.io/, and not one that the gateway serves itself")
	}
	if !isChannelPrefix(c.ClusterPrefix) {
		refuse("--cluster-prefix must be up to 64 letters, digits or -_.:")
	}
	if !(c.HandshakesPerSecond <= 1e9) { // NaN is not
		refuse("--handshakes-per-second must be 0 to 1e9")
	}
	if c.OTLPEndpoint != "" {
		if _, err := otlp.ParseEndpoint(c.OTLPEndpoint); err != nil {
			refuse("--otlp-endpoint: %w", err)
		}
	}
	if !(c.TraceSample <= 1) { // NaN is not
		refuse("--trace-sample must be 0 to 1")
	}
	if c.SessionCookie != "" && (&http.Cookie{Name: c.SessionCookie, Value: "x"}).Valid() != nil {
		refuse("--session-cookie: %q can not be the name of a cookie", c.SessionCookie)
	}
	if c.SessionTTL > c.SessionAbsoluteTTL && c.SessionAbsoluteTTL >= time.Millisecond {
		refuse("--session-ttl (%s) must not be longer than --session-absolute-ttl (%s)", c.SessionTTL, c.SessionAbsoluteTTL)
	}
	for _, o := range c.AllowedOrigins {
		if !auth.IsOrigin(o) {
			refuse("--allowed-origins: %q is no origin such as https://play.example (without a path, not even /)", o)
		}
	}
	if _, err := auth.ParseProxies(c.TrustedProxies); err != nil {
		refuse("--trusted-proxies: %w", err)
	}
	switch {
	case !slices.Contains([]string{"off", "readonly", "full"}, c.AdminUI):
		refuse("--admin-ui must be off, readonly or full")
	case c.AdminUI != "off" && c.AdminUIUsersFile == "":
		refuse("--admin-ui needs --admin-ui-users-file")
	case c.AdminUI == "off" && c.AdminUIUsersFile != "":
		refuse("--admin-ui-users-file is for --admin-ui readonly or full")
	}
	if _, err := parseDevices(c.Devices); err != nil {
		faults = append(faults, err)
	}
	if c.JWTSecretFile != "" && c.JWTKeySet != "" {
		refuse("--jwt-secret-file and --jwt-jwks exclude each other")
	}
	if c.APIAddr != "" && c.APIKeysFile == "" {
		refuse("--api-addr needs --api-keys-file: `gateway api-key create` makes a key")
	}
	if c.APIAddr == "" && c.APIKeysFile != "" {
		refuse("--api-keys-file is for --api-addr")
	}
	for _, fault := range backend.Check(c.Backends, c.HandlerTimeout) {
		faults = append(faults, usage.Errorf("--config: %w", fault))
	}
	faults = append(faults, c.checkWebhooks()...)
	faults = append(faults, c.checkTLS()...)
	if c.RedisURL == "" && !c.Dev {
		refuse("--redis is required: only with --dev an embedded Redis is started, which keeps nothing")
	}
	return faults
}

// isSocketPath reports whether Socket.IO may be served at a path: whether it is a plain one, and
// nothing else of ours is below it.
func isSocketPath(path string) bool {
	u, err := url.Parse(path)
	if err != nil || u.Path != path || !strings.HasPrefix(path, "/") || pathpkg.Clean(path)+"/" != path {
		return false
	}
	for _, own := range []string{
		"/auth/login", "/chat/message", "/combat/action", "/api/users/", "/api/characters/", "/api/leaderboards/",
		"/health/live", "/js/", "/css/", "/vendor/", "/admin-ui/",
	} {
		if strings.HasPrefix(own, path) {
			return false
		}
	}
	return true
}

// isChannelPrefix reports whether s may be a ClusterPrefix; "" stands for the default.
func isChannelPrefix(s string) bool {
	for _, r := range s {
		if !strings.ContainsRune("-_.:", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return len(s) <= 64
}

// nodeName returns the configured name of the node, or one made of the host's name and the port.
func (c *Config) nodeName(port string) string {
	if c.Node != "" {
		return c.Node
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "gateway"
	}
	return fmt.Sprintf("%s:%s", host, port)
}

// redisTarget returns where the Redis at url is reached, and how.
func (c *Config) redisTarget(url string) redisdial.Target {
	return redisdial.Target{
		URL: url, CAFile: c.RedisCAFile, CertFile: c.RedisCertFile, KeyFile: c.RedisKeyFile, SentinelLogin: c.SentinelLogin,
		PasswordFile: c.RedisPasswordFile, URLFile: c.RedisURLFile, LockPasswordFile: c.LockRedisPasswordFile,
	}
}
