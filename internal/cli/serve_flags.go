package cli

import (
	"time"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/server"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// ServeFlags are the settings of `gateway serve`. server.Config tells what each one does.
type ServeFlags struct {
	Config        string   `placeholder:"FILE" help:"Read settings from this YAML file. Its keys are the flags' names."`
	Addr          string   `default:"127.0.0.1:8080" help:"Players connect to this address."`
	Path          string   `default:"/socket.io/" help:"Socket.IO clients connect to this path, with or without the / at its end."`
	AdminAddr     string   `default:"127.0.0.1:8081" help:"Operators find /metrics, /health/detailed and /debug/pprof at this address. If it is empty, none of them is served."`
	AdminHosts    []string `placeholder:"HOST" help:"Requests to --admin-addr may name this host, such as gateway-1, beside loopback and IP addresses; others are refused, and so are those of pages of other sites. The flag may be repeated."`
	AdminUI       string   `name:"admin-ui" default:"off" enum:"off,readonly,full" help:"Let operators watch with Socket.IO's Admin UI, at the namespace /admin; with full they may also end connections and empty rooms. With --dev or --page its page is at /admin-ui/ (${enum})."`
	AdminUIUsers  string   `name:"admin-ui-users-file" placeholder:"FILE" help:"These operators may log in to the Admin UI: a line name:hash for each, as htpasswd -B writes it."`
	APIAddr       string   `name:"api-addr" placeholder:"ADDR" help:"Programs of the game call the server API at this address, such as 127.0.0.1:8082, with the keys of --api-keys-file. The default is none: it is not served."`
	APIKeysFile   string   `name:"api-keys-file" placeholder:"FILE" help:"The keys of the server API, one a line: name, sha256 and scopes as JSON or YAML. It is read again at SIGHUP and when it changes."`
	TLSCert       string   `name:"tls-cert" placeholder:"FILE" help:"Serve TLS 1.2 and later at --addr, --admin-addr and --api-addr with this certificate, with the chain to its authority, in PEM. It needs --tls-key. Both are read again when they change. Without it no address serves TLS, and a proxy in front does."`
	TLSKey        string   `name:"tls-key" placeholder:"FILE" help:"The key of --tls-cert, in PEM."`
	AdminClientCA string   `name:"admin-client-ca" placeholder:"FILE" help:"Clients of --admin-addr must have a certificate that one of these authorities signed; it needs --tls-cert."`
	APIClientCA   string   `name:"api-client-ca" placeholder:"FILE" help:"Clients of --api-addr must have a certificate that one of these authorities signed, beside their key; it needs --tls-cert."`
	webhookFlags  `embed:""`
	RedisFlags    `embed:""`
	redisWaitFlag `embed:""`
	Dev           bool   `help:"Believe players: let guests log in under any name and take any character, relax origins and limits, and without --redis start an embedded Redis, which keeps nothing. This is for a developer's machine."`
	Env           string `enum:",development,production" default:"" help:"This changes nothing any more, because only --dev believes players; with production, --dev is warned of (development, production)."`
	Node          string `help:"Use this name for the node in logs, metrics and sessions. The default is the host's name and the port."`

	ClusterPrefix     string        `placeholder:"NAME" help:"Gateways on one Redis that have the same prefix act as one, and so do Node servers whose adapter has it as its option key. The default is socket.io, followed by the number of the database unless that is 0."`
	ClusterJoinWindow time.Duration `default:"1h" help:"For this long after a Node server or an emitter was heard, the gateway receives the casts to all rooms, so that what such a program sends right behind its socketsJoin is heard; 0 means never."`
	Recovery          time.Duration `default:"2m" help:"For this long Redis keeps what was cast to a room, so that everybody hears what was acknowledged: a gateway that was cut off from Redis reads what it missed, and a client whose connection broke goes on with it on any gateway. 0 keeps nothing."`
	RecoveryMemory    int           `default:"268435456" help:"How many bytes of Redis that may take; beyond it the oldest go."`

	SessionTTL         time.Duration `default:"30m" help:"A session without activity ends after this time."`
	SessionAbsoluteTTL time.Duration `default:"24h" help:"A session ends after this time, also when its player is active."`
	SessionCookie      string        `placeholder:"NAME" help:"This cookie may carry the session id. The default is __Host-sid over HTTPS and sid over plain HTTP; both are read."`
	AllowedOrigins     []string      `placeholder:"URL" help:"Pages of these origins may use this gateway and the session cookie, such as https://play.example, beside those on its own host (Host, or X-Forwarded-Host of a trusted proxy). The flag may be repeated."`

	loginFlags   `embed:""`
	LimitFlags   `embed:""`
	profileFlags `embed:""`
	chatFlags    `embed:""`
	combatFlags  `embed:""`
	cacheFlags   `embed:""`

	Page            bool          `help:"Serve the console at /, and the events as /asyncapi.json and /events.d.ts, to everybody. --dev serves them too."`
	ServeClient     bool          `default:"true" help:"Serve the official client to pages: socket.io.js, socket.io.min.js and socket.io.esm.min.js below --path. The default is true; --serve-client=false serves none."`
	HTTPIdleTimeout time.Duration `name:"http-idle-timeout" default:"620s" help:"A connection of HTTP is kept open for this long between two requests. It must be longer than a balancer in front keeps it; Google's keep it for 600 s."`

	DrainFor       time.Duration `default:"10s" help:"When the gateway stops, it closes its connections one after the other over this time."`
	HandlerTimeout time.Duration `default:"5s" help:"The handler of one event may take this long."`
	tradeFlags     `embed:""`

	PingInterval        time.Duration `default:"25s" help:"Each connection is sent a heartbeat this often."`
	PingTimeout         time.Duration `default:"20s" help:"A client must answer a heartbeat within this time."`
	ConnectTimeout      time.Duration `default:"10s" help:"A new connection must log in within this time; half of it once a part of a message has come."`
	UpgradeTimeout      time.Duration `default:"10s" help:"An upgrade to websocket must complete within this time."`
	BodyTimeout         time.Duration `default:"10s" help:"The body of a POST must arrive within this time."`
	MaxPayload          int           `default:"1000000" help:"One message, and one POST, may have this many bytes."`
	MaxPackets          int           `default:"2000" help:"One POST may have this many packets."`
	MaxAttachments      int           `default:"10" help:"One message may have this many binary values."`
	MaxDepth            int           `default:"32" help:"The JSON of a payload may be nested this deep."`
	MaxRooms            int           `default:"64" help:"One connection may be in this many rooms."`
	InboundQueue        int           `default:"256" help:"This many events of one connection may wait. When more come, the sender is slowed down."`
	OutboundQueue       int           `default:"1048576" help:"This many bytes may wait for one client. When more would have to wait, the connection is closed as too slow."`
	MaxConnections      int           `default:"100000" help:"The gateway may have this many connections, or fewer where the limit of open files allows fewer; 0 means as many as that allows."`
	MaxConnectionsAddr  int           `name:"max-connections-per-address" default:"0" help:"One address (IPv6: one /64) may have this many connections; 0 means no bound."`
	MaxConnectionsUser  int           `name:"max-connections-per-user" default:"20" help:"One user may have this many connections, to all nodes together; 0 means no bound."`
	MaxHTTPAddr         int           `name:"max-http-connections-per-address" default:"100" help:"One address (IPv6: one /64) may have this many TCP connections that are plain HTTP; 0 means no bound. Websockets and the connections of trusted proxies do not count."`
	HandshakesPerSecond float64       `default:"0" help:"The gateway accepts this many new connections per second; 0 means no bound."`
	Compression         bool          `help:"Offer permessage-deflate. It costs memory and time for each connection."`

	OTLPEndpoint string  `name:"otlp-endpoint" placeholder:"URL" help:"Send traces to this collector of OpenTelemetry (OTLP over HTTP), such as http://127.0.0.1:4318. Without it nothing is traced."`
	TraceSample  float64 `default:"0.01" help:"Trace this share of the events, handshakes and requests, from 0 to 1; chance decides, whatever a client's traceparent says."`

	LogLevel     string       `default:"info" enum:"debug,info,warn,error" help:"Log lines of this level and above (${enum})."`
	FileBackends FileBackends `kong:"-"` // of the file; the program sets them after it has parsed

	LogFormat string `default:"auto" enum:"auto,json,console" help:"auto means console in a terminal, and json elsewhere (${enum})."`
}

// loginFlags say who may open sessions, and from where.
type loginFlags struct {
	JWTSecretFile     string        `name:"jwt-secret-file" placeholder:"FILE" help:"Accept tokens at POST /auth/login that are signed with the secret in this file (HS256, at least 32 bytes)."`
	JWTJWKS           string        `name:"jwt-jwks" placeholder:"URL" help:"Accept tokens that are signed by one of the public keys at this https URL or in this file (RS256, ES256, EdDSA)."`
	JWTIssuer         string        `name:"jwt-issuer" placeholder:"ISS" help:"The claim iss of a token must be this."`
	JWTAudience       string        `name:"jwt-audience" placeholder:"AUD" help:"The claim aud of a token must contain this."`
	JWTSkew           time.Duration `name:"jwt-skew" default:"30s" help:"The clock of the tokens' issuer may be off by this much."`
	Devices           string        `default:"many" placeholder:"RULE" help:"This rule limits the devices on which a user may be connected: many (no limit), single (a new one ends the old one), newest:N (the newest N stay), or oldest:N (a new one is refused)."`
	SessionSource     string        `default:"gateway" enum:"gateway,express" help:"With express, the logins of a site with express-session and connect-redis count here too (${enum})."`
	SessionSecretFile string        `placeholder:"FILE" help:"This file has the secret of that site's sessions. While the secret is being changed, it may have several, one on each line."`
	ExpressCookie     string        `default:"connect.sid" help:"That site keeps its session ids in this cookie."`
	TrustedProxies    []string      `placeholder:"NETWORK" help:"Believe the X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto of proxies in this network, such as 10.0.0.0/8. The flag may be repeated."`
}

// webhookFlags say who is told what happens.
type webhookFlags struct {
	WebhookURL     string        `name:"webhook-url" placeholder:"URL" help:"Tell this program of the game what happens: signed POSTs, each at least once, in the order of each player. It is https, or http on this machine. Without it nobody is told."`
	WebhookSecret  string        `name:"webhook-secret-file" placeholder:"FILE" help:"Sign these requests with the secret in this file. While the secret is being changed, it may have several, one on each line. It is read again at SIGHUP and when it changes."`
	WebhookCA      string        `name:"webhook-ca-file" placeholder:"FILE" help:"Trust the authorities in this file, and not those of the system, for the receiver of webhooks."`
	WebhookEvents  []string      `name:"webhook-events" placeholder:"TYPE" help:"Tell these: connected, disconnected, session.ended, chat.reported, combat.ended, trade.completed, item.minted. The default is all. The flag may be repeated."`
	WebhookTimeout time.Duration `name:"webhook-timeout" default:"10s" help:"The receiver of webhooks must answer within this time."`
	WebhookRetry   time.Duration `name:"webhook-retry" default:"1s" help:"What the receiver did not take is sent again after this time; each later time it is four times as long, and after ten tries it is parked: gateway webhooks list. With the default, ten tries take a day."`
	WebhookQueue   int           `name:"webhook-queue" default:"100000" help:"This many events may wait in Redis for the receiver; beyond it new ones are dropped and counted."`
}

// profileFlags say where users and characters come from.
type profileFlags struct {
	ProfilesURL   string `name:"profiles-url" placeholder:"URL" help:"Users and characters come from this service: GET URL/users/{id}, GET and PUT URL/characters/{id}. Without it, --dev invents users, and otherwise there are none."`
	ProfilesToken string `name:"profiles-token" placeholder:"TOKEN" help:"Send this bearer token to the profile service. It is better set as GATEWAY_PROFILES_TOKEN."`
	ProfilesFile  string `name:"profiles-token-file" placeholder:"FILE" help:"Read the token for the profile service from this file, again for each request."`
}

// chatFlags are about the chat.
type chatFlags struct {
	ChatHistory int `default:"1000" help:"About this many messages of each channel are kept for chat:history; 0 keeps none."`
}

// combatFlags are about fights.
type combatFlags struct {
	CombatTimeout time.Duration `name:"combat-timeout" default:"2m" help:"A fight in which nobody moves for this long ends, and nobody wins."`
}

// cacheFlags tune the cache.
type cacheFlags struct {
	CacheLocalBytes int64         `default:"67108864" help:"This process may keep this many bytes of the cache in its own memory, besides Redis; 0 means none."`
	CacheTTL        time.Duration `name:"cache-ttl" default:"30m" help:"Users and characters are cached for this long."`
}

// tradeFlags are about trades and their locks.
type tradeFlags struct {
	TradeExpiry     time.Duration `default:"5m" help:"A trade may be open for this long."`
	LockRedis       []string      `placeholder:"URL" help:"Keep locks on a majority of independent Redis servers, of which this is one, instead of on --redis. The flag may be repeated."`
	LockPassword    string        `name:"lock-redis-password-file" placeholder:"FILE" help:"Read the password of the servers of --lock-redis from this file, for those whose URL has none."`
	TradeDurability string        `default:"auto" enum:"auto,none,wait,fsync" help:"A trade is answered when the Redis server has it (none), when a replica has it (wait), or when it is on disk (fsync, Redis 7.2). With auto it is the best of these that Redis can do; the log and the first lines tell which. What Redis cannot do is refused (${enum})."`
}

// Configure returns what the flags say as the configuration of a server. Its streams and its
// features are the caller's to set.
func (f *ServeFlags) Configure() (server.Config, error) {
	if err := joinFaults(f.flagFaults()); err != nil {
		return server.Config{}, err
	}
	redisFlags := f.RedisFlags // the settings are read again at SIGHUP
	if err := redisFlags.ReadURLFile(); err != nil {
		return server.Config{}, err
	}
	policies, err := f.configuredPolicies(f.Dev)
	if err != nil {
		return server.Config{}, err
	}
	return f.config(redisFlags.Redis, policies), nil
}

// config returns what the flags say, with what was read from files.
func (f *ServeFlags) config(redisURL string, policies []throttle.Policy) server.Config {
	return server.Config{
		Backends: f.FileBackends.list(),

		Addr: f.Addr, Path: f.Path, NoClientFiles: !f.ServeClient, Page: f.Page, AdminAddr: f.AdminAddr, APIAddr: f.APIAddr, APIKeysFile: f.APIKeysFile, AdminHosts: f.AdminHosts, Node: f.Node, Dev: f.Dev, Env: f.Env,
		AdminUI: f.AdminUI, AdminUIUsersFile: f.AdminUIUsers,
		TLSCert: f.TLSCert, TLSKey: f.TLSKey, AdminClientCA: f.AdminClientCA, APIClientCA: f.APIClientCA,
		WebhookURL: f.WebhookURL, WebhookSecretFile: f.WebhookSecret, WebhookCAFile: f.WebhookCA, WebhookEvents: f.WebhookEvents,
		WebhookTimeout: explicitZero(f.WebhookTimeout), WebhookRetry: explicitZero(f.WebhookRetry), WebhookQueue: explicitZero(f.WebhookQueue),

		RedisURL: redisURL, RedisURLFile: f.RedisURLFile, RedisPasswordFile: f.RedisPassword, RedisCAFile: f.RedisCA, RedisCertFile: f.RedisCert, RedisKeyFile: f.RedisKey, SentinelLogin: f.SentinelLogin,
		RedisWait: f.wait(), LockRedisURLs: f.LockRedis, LockRedisPasswordFile: f.LockPassword, ClusterPrefix: f.ClusterPrefix, ClusterJoinWindow: explicitZero(f.ClusterJoinWindow),
		Recovery: explicitZero(f.Recovery), RecoveryMemory: explicitZero(f.RecoveryMemory),

		SessionTTL: explicitZero(f.SessionTTL), SessionAbsoluteTTL: explicitZero(f.SessionAbsoluteTTL), SessionCookie: f.SessionCookie,
		AllowedOrigins: f.AllowedOrigins, TrustedProxies: f.TrustedProxies, Devices: f.Devices,

		JWTSecretFile: f.JWTSecretFile, JWTKeySet: f.JWTJWKS, JWTIssuer: f.JWTIssuer, JWTAudience: f.JWTAudience, JWTSkew: explicitZero(f.JWTSkew),
		ExpressSessions: f.SessionSource == "express", ExpressSecretFile: f.SessionSecretFile, ExpressCookie: f.ExpressCookie,

		Policies: policies, PolicyEvents: f.policyEvents(), NoLocalLimits: f.LimitFallback == "none", LimitTimeout: explicitZero(f.LimitTimeout), LimitCloseAfter: explicitZero(f.LimitCloseAfter),

		ProfilesURL: f.ProfilesURL, ProfilesToken: f.ProfilesToken, ProfilesTokenFile: f.ProfilesFile,
		CacheLocalBytes: explicitZero(f.CacheLocalBytes), CacheTTL: explicitZero(f.CacheTTL),
		ChatHistory: explicitZero(f.ChatHistory), CombatTimeout: explicitZero(f.CombatTimeout),
		TradeExpiry: explicitZero(f.TradeExpiry), TradeDurability: trade.Durability(f.TradeDurability),

		DrainFor: explicitZero(f.DrainFor), HandlerTimeout: explicitZero(f.HandlerTimeout),

		PingInterval: explicitZero(f.PingInterval), PingTimeout: explicitZero(f.PingTimeout), ConnectTimeout: explicitZero(f.ConnectTimeout),
		UpgradeTimeout: explicitZero(f.UpgradeTimeout), BodyTimeout: explicitZero(f.BodyTimeout), HTTPIdleTimeout: explicitZero(f.HTTPIdleTimeout),
		MaxPayload: explicitZero(f.MaxPayload), MaxPackets: explicitZero(f.MaxPackets), MaxAttachments: explicitZero(f.MaxAttachments), MaxDepth: explicitZero(f.MaxDepth),
		MaxRooms: explicitZero(f.MaxRooms), InboundQueue: explicitZero(f.InboundQueue), OutboundQueue: explicitZero(f.OutboundQueue),
		MaxConnections: explicitZero(f.MaxConnections), MaxConnectionsPerAddress: explicitZero(f.MaxConnectionsAddr), MaxConnectionsPerUser: explicitZero(f.MaxConnectionsUser),
		MaxHTTPConnectionsPerAddress: explicitZero(f.MaxHTTPAddr),
		HandshakesPerSecond:          explicitZero(f.HandshakesPerSecond), Compression: f.Compression,

		OTLPEndpoint: f.OTLPEndpoint, TraceSample: explicitZero(f.TraceSample), LogLevel: f.LogLevel, LogFormat: f.LogFormat,
	}
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

// flagFaults returns what server.Config could not tell from a setting that is allowed.
func (f *ServeFlags) flagFaults() (faults []error) {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"chat-history", int64(f.ChatHistory)},
		{"max-connections", int64(f.MaxConnections)},
		{"max-connections-per-address", int64(f.MaxConnectionsAddr)},
		{"max-connections-per-user", int64(f.MaxConnectionsUser)},
		{"max-http-connections-per-address", int64(f.MaxHTTPAddr)},
		{"limit-close-after", int64(f.LimitCloseAfter)},
		{"cache-local-bytes", f.CacheLocalBytes},
	} {
		if n.value < 0 {
			faults = append(faults, usage.Errorf("--%s must be at least 0", n.name))
		}
	}
	for _, c := range []struct {
		isWrong bool
		fault   string
	}{
		{f.DrainFor < 0, "--drain-for must not be negative"},
		{f.HandshakesPerSecond < 0, "--handshakes-per-second must be 0 to 1e9"},
		{f.TraceSample < 0, "--trace-sample must be 0 to 1"},
		{f.Path == "", "--path must not be empty"},
		{f.ExpressCookie == "", "--express-cookie must not be empty"},
		{f.Devices == "", "--devices must not be empty"},
	} {
		if c.isWrong {
			faults = append(faults, usage.Errorf("%s", c.fault))
		}
	}
	return faults
}
