package cli

import (
	"time"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/server"
	"github.com/aeturnis/realtime/trade"
)

// ServeFlags are the settings of `gateway serve`. server.Config tells what each one does.
type ServeFlags struct {
	Config     string `placeholder:"FILE" help:"A YAML file with settings by their flags' names."`
	Addr       string `default:"127.0.0.1:8080" help:"Where players connect."`
	AdminAddr  string `default:"127.0.0.1:8081" help:"Where operators look: /metrics, /health/detailed, /debug/pprof. Empty serves none."`
	RedisFlags `embed:""`
	Dev        bool   `help:"Guest logins, relaxed origins and limits: for a developer's machine."`
	Env        string `default:"development" enum:"development,production" help:"production refuses --dev and the embedded Redis (${enum})."`
	Node       string `help:"This node's name in logs, metrics and sessions. Default: the host's name and the port."`

	ClusterPrefix string `placeholder:"NAME" help:"Gateways (and Node servers, by their adapter's option key) on one Redis that share this are one. Default: socket.io, and the database's number behind it where that is not 0."`

	SessionTTL         time.Duration `default:"30m" help:"How long a session lives without activity."`
	SessionAbsoluteTTL time.Duration `default:"24h" help:"How long a session lives at most."`
	SessionCookie      string        `default:"sid" help:"The cookie that may carry the session id."`
	AllowedOrigins     []string      `placeholder:"URL" help:"Pages of other hosts that may use this gateway and the session cookie, such as https://play.example; may be repeated."`

	loginFlags   `embed:""`
	LimitFlags   `embed:""`
	profileFlags `embed:""`
	chatFlags    `embed:""`
	combatFlags  `embed:""`
	cacheFlags   `embed:""`

	DrainFor       time.Duration `default:"10s" help:"Over how long connections are closed at a stop."`
	HandlerTimeout time.Duration `default:"5s" help:"How long one event may take."`
	tradeFlags     `embed:""`

	PingInterval        time.Duration `default:"25s" help:"Between heartbeats."`
	PingTimeout         time.Duration `default:"20s" help:"For a heartbeat's answer."`
	ConnectTimeout      time.Duration `default:"45s" help:"For a connection to log in."`
	UpgradeTimeout      time.Duration `default:"10s" help:"For an upgrade to websocket to complete."`
	BodyTimeout         time.Duration `default:"10s" help:"For the body of a POST to arrive."`
	MaxPayload          int           `default:"1000000" help:"Bytes of one message, and of one POST."`
	MaxPackets          int           `default:"2000" help:"Packets in one POST."`
	MaxAttachments      int           `default:"10" help:"Binary values in one message."`
	MaxDepth            int           `default:"32" help:"Nesting of a payload's JSON."`
	MaxRooms            int           `default:"64" help:"Rooms that one connection may be in."`
	InboundQueue        int           `default:"256" help:"Events of one connection that may wait; then its sender is slowed."`
	OutboundQueue       int           `default:"1048576" help:"Bytes that may wait for one client; then it is closed as too slow."`
	MaxConnections      int           `default:"100000" help:"Connections in all; 0 is no bound."`
	MaxConnectionsAddr  int           `name:"max-connections-per-address" default:"0" help:"Connections of one address; 0 is no bound."`
	HandshakesPerSecond float64       `default:"0" help:"New connections per second; 0 is no bound."`
	Compression         bool          `help:"Offer permessage-deflate. It costs memory and time for each connection."`

	LogLevel  string `default:"info" enum:"debug,info,warn,error" help:"${enum}."`
	LogFormat string `default:"auto" enum:"auto,json,console" help:"auto is console in a terminal, else json (${enum})."`
}

// loginFlags say who may open sessions, and from where.
type loginFlags struct {
	JWTSecretFile     string        `name:"jwt-secret-file" placeholder:"FILE" help:"Take tokens at POST /auth/login that are signed by this secret (HS256, at least 32 bytes)."`
	JWTJWKS           string        `name:"jwt-jwks" placeholder:"URL" help:"Take tokens that are signed by one of these public keys (RS256, ES256, EdDSA): an https URL, or a file."`
	JWTIssuer         string        `name:"jwt-issuer" placeholder:"ISS" help:"What iss of a token must be."`
	JWTAudience       string        `name:"jwt-audience" placeholder:"AUD" help:"What aud of a token must contain."`
	JWTSkew           time.Duration `name:"jwt-skew" default:"30s" help:"How far the clock of the tokens' issuer may be off."`
	Devices           string        `default:"many" placeholder:"RULE" help:"On how many devices a user may be connected: many, single (a new one ends the old), newest:N, or oldest:N (a new one is refused)."`
	SessionSource     string        `default:"gateway" enum:"gateway,express" help:"express makes logins of a site with express-session and connect-redis count here too (${enum})."`
	SessionSecretFile string        `placeholder:"FILE" help:"The secret of that site's sessions; several, a line each, while it is changed."`
	ExpressCookie     string        `default:"connect.sid" help:"The cookie of that site's sessions."`
	TrustedProxies    []string      `placeholder:"NETWORK" help:"Proxies whose X-Forwarded-For is believed: 10.0.0.0/8; may be repeated."`
}

// profileFlags say where users and characters come from.
type profileFlags struct {
	ProfilesURL   string `name:"profiles-url" placeholder:"URL" help:"The profile service: GET URL/users/{id}, GET and PUT URL/characters/{id}. Without it --dev makes users up, and else there are none."`
	ProfilesToken string `name:"profiles-token" placeholder:"TOKEN" help:"Sent to the profile service as a bearer token; better set as GATEWAY_PROFILES_TOKEN."`
}

// chatFlags are about the chat.
type chatFlags struct {
	ChatHistory int `default:"1000" help:"About how many messages of a channel are kept for chat:history; 0 keeps none."`
}

// combatFlags are about fights.
type combatFlags struct {
	CombatTimeout time.Duration `name:"combat-timeout" default:"2m" help:"A fight in which nobody moves for so long ends, and nobody wins."`
}

// cacheFlags tune the cache.
type cacheFlags struct {
	CacheLocalBytes int64         `default:"67108864" help:"What this process may cache besides Redis, in bytes; 0 is nothing."`
	CacheTTL        time.Duration `name:"cache-ttl" default:"30m" help:"How long users and characters are cached."`
}

// tradeFlags are about trades and their locks.
type tradeFlags struct {
	TradeExpiry     time.Duration `default:"5m" help:"How long a trade may be open."`
	LockRedis       []string      `placeholder:"URL" help:"Redis servers that do not depend on each other, for locks on their majority instead of on --redis; may be repeated."`
	TradeDurability string        `default:"none" enum:"none,wait,fsync" help:"What an ok of a trade waits for: none; wait, a replica has it; fsync, it is on disk (Redis 7.2) (${enum})."`
}

// isProduction reports whether --env is production.
func (f *ServeFlags) isProduction() bool { return f.Env == "production" }

// Configure returns what the flags say as the configuration of a server. Its streams and its
// features are the caller's to set.
func (f *ServeFlags) Configure() (server.Config, error) {
	if err := f.checkFlags(); err != nil {
		return server.Config{}, err
	}
	policies, err := f.configuredPolicies(f.Dev)
	if err != nil {
		return server.Config{}, err
	}
	return server.Config{
		Addr: f.Addr, AdminAddr: f.AdminAddr, Node: f.Node, Dev: f.Dev, Production: f.isProduction(),

		RedisURL: f.Redis, RedisCAFile: f.RedisCA, RedisCertFile: f.RedisCert, RedisKeyFile: f.RedisKey, SentinelLogin: f.SentinelLogin,
		LockRedisURLs: f.LockRedis, ClusterPrefix: f.ClusterPrefix,

		SessionTTL: explicitZero(f.SessionTTL), SessionAbsoluteTTL: explicitZero(f.SessionAbsoluteTTL), SessionCookie: f.SessionCookie,
		AllowedOrigins: f.AllowedOrigins, TrustedProxies: f.TrustedProxies, Devices: f.Devices,

		JWTSecretFile: f.JWTSecretFile, JWTKeySet: f.JWTJWKS, JWTIssuer: f.JWTIssuer, JWTAudience: f.JWTAudience, JWTSkew: explicitZero(f.JWTSkew),
		ExpressSessions: f.SessionSource == "express", ExpressSecretFile: f.SessionSecretFile, ExpressCookie: f.ExpressCookie,

		Policies: policies, PolicyEvents: f.policyEvents(), NoLocalLimits: f.LimitFallback == "none", LimitCloseAfter: explicitZero(f.LimitCloseAfter),

		ProfilesURL: f.ProfilesURL, ProfilesToken: f.ProfilesToken,
		CacheLocalBytes: explicitZero(f.CacheLocalBytes), CacheTTL: explicitZero(f.CacheTTL),
		ChatHistory: explicitZero(f.ChatHistory), CombatTimeout: explicitZero(f.CombatTimeout),
		TradeExpiry: explicitZero(f.TradeExpiry), TradeDurability: trade.Durability(f.TradeDurability),

		DrainFor: explicitZero(f.DrainFor), HandlerTimeout: explicitZero(f.HandlerTimeout),

		PingInterval: explicitZero(f.PingInterval), PingTimeout: explicitZero(f.PingTimeout), ConnectTimeout: explicitZero(f.ConnectTimeout),
		UpgradeTimeout: explicitZero(f.UpgradeTimeout), BodyTimeout: explicitZero(f.BodyTimeout),
		MaxPayload: explicitZero(f.MaxPayload), MaxPackets: explicitZero(f.MaxPackets), MaxAttachments: explicitZero(f.MaxAttachments), MaxDepth: explicitZero(f.MaxDepth),
		MaxRooms: explicitZero(f.MaxRooms), InboundQueue: explicitZero(f.InboundQueue), OutboundQueue: explicitZero(f.OutboundQueue),
		MaxConnections: explicitZero(f.MaxConnections), MaxConnectionsPerAddress: explicitZero(f.MaxConnectionsAddr),
		HandshakesPerSecond: explicitZero(f.HandshakesPerSecond), Compression: f.Compression,

		LogLevel: f.LogLevel, LogFormat: f.LogFormat,
	}, nil
}

// explicitZero returns the value of a flag as server.Config has it, where zero stands for the
// default: a flag's zero is the operator's, so it becomes -1. That means "none" where none is
// allowed, and is refused elsewhere.
func explicitZero[T int | int64 | float64 | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// checkFlags refuses what server.Config could not tell from a setting that is allowed.
func (f *ServeFlags) checkFlags() error {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"chat-history", int64(f.ChatHistory)},
		{"max-connections", int64(f.MaxConnections)},
		{"max-connections-per-address", int64(f.MaxConnectionsAddr)},
		{"limit-close-after", int64(f.LimitCloseAfter)},
		{"cache-local-bytes", f.CacheLocalBytes},
	} {
		if n.value < 0 {
			return usage.Errorf("--%s must be at least 0", n.name)
		}
	}
	switch {
	case f.DrainFor < 0:
		return usage.Errorf("--drain-for must not be negative")
	case f.HandshakesPerSecond < 0:
		return usage.Errorf("--handshakes-per-second must be 0 to 1e9")
	case f.SessionCookie == "":
		return usage.Errorf("--session-cookie must not be empty")
	}
	return nil
}
