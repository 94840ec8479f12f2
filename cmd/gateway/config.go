package main

import (
	"net/http"
	"os"
	"time"
)

// serveCmd is the configuration of `gateway serve`: every setting, once.
type serveCmd struct {
	Config    string `placeholder:"FILE" help:"A YAML file with settings by their flags' names."`
	Addr      string `default:"127.0.0.1:8080" help:"Where players connect."`
	AdminAddr string `default:"127.0.0.1:8081" help:"Where operators look: /metrics, /health/detailed, /debug/pprof. Empty serves none."`
	redisFlag `embed:""`
	Dev       bool   `help:"Guest logins, relaxed origins and limits: for a developer's machine."`
	Env       string `default:"development" enum:"development,production" help:"production refuses --dev and the embedded Redis (${enum})."`
	Node      string `help:"This node's name in logs, metrics and sessions. Default: the host's name and the port."`

	ClusterPrefix string `placeholder:"NAME" help:"Gateways (and Node servers, by their adapter's option key) on one Redis that share this are one. Default: socket.io, and the database's number behind it where that is not 0."`

	SessionTTL         time.Duration `default:"30m" help:"How long a session lives without activity."`
	SessionAbsoluteTTL time.Duration `default:"24h" help:"How long a session lives at most."`
	SessionCookie      string        `default:"sid" help:"The cookie that may carry the session id."`
	AllowedOrigins     []string      `placeholder:"URL" help:"Pages of other hosts that may use this gateway and the session cookie, such as https://play.example; may be repeated."`

	loginSettings   `embed:""`
	limitSettings   `embed:""`
	profileSettings `embed:""`
	chatSettings    `embed:""`
	fightSettings   `embed:""`
	cacheSettings   `embed:""`

	DrainFor       time.Duration `default:"10s" help:"Over how long connections are closed at a stop."`
	HandlerTimeout time.Duration `default:"5s" help:"How long one event may take."`
	tradeSettings  `embed:""`

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

// check names what does not fit together.
func (c *serveCmd) check() error {
	switch {
	case c.Env == "production" && c.Dev:
		return usage("--dev is refused with --env production")
	case c.Env == "production" && c.Redis == "":
		return usage("--redis is required with --env production: the embedded Redis keeps nothing")
	}
	for _, d := range []struct {
		name  string
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
		{"combat-timeout", c.CombatTimeout},
		{"cache-ttl", c.CacheTTL},
	} {
		if d.value < time.Millisecond {
			return usage("--%s must be at least 1ms", d.name)
		}
	}
	for _, n := range []struct {
		name  string
		value int
		least int
	}{
		{"max-payload", c.MaxPayload, 1},
		{"max-packets", c.MaxPackets, 1},
		{"max-attachments", c.MaxAttachments, 1},
		{"max-depth", c.MaxDepth, 1},
		{"max-rooms", c.MaxRooms, 1},
		{"chat-history", c.ChatHistory, 0},
		{"inbound-queue", c.InboundQueue, 1},
		{"outbound-queue", c.OutboundQueue, 1},
		{"max-connections", c.MaxConnections, 0},
		{"limit-close-after", c.LimitCloseAfter, 0},
		{"max-connections-per-address", c.MaxConnectionsAddr, 0},
	} {
		if n.value < n.least {
			return usage("--%s must be at least %d", n.name, n.least)
		}
	}
	switch {
	case !isPrefix(c.ClusterPrefix):
		return usage("--cluster-prefix must be up to 64 letters, digits or -_.:")
	case c.DrainFor < 0:
		return usage("--drain-for must not be negative")
	case !(c.HandshakesPerSecond >= 0 && c.HandshakesPerSecond <= 1e9): // NaN is neither
		return usage("--handshakes-per-second must be 0 to 1e9")
	case (&http.Cookie{Name: c.SessionCookie, Value: "x"}).Valid() != nil:
		return usage("--session-cookie: %q can not be the name of a cookie", c.SessionCookie)
	}
	for _, o := range c.AllowedOrigins {
		if !isOrigin(o) {
			return usage("--allowed-origins: %q is no origin such as https://play.example (without a path, not even /)", o)
		}
	}
	return nil
}

// node is the configured name, or one that tells where this process listens.
func (c *serveCmd) node(port string) string {
	if c.Node != "" {
		return c.Node
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "gateway"
	}
	return host + ":" + port
}
