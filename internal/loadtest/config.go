package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// The bounds of a run. Every run ends and fits into one process, whatever the caller asks for.
const (
	MaxClients   = 50_000
	MaxFor       = 24 * time.Hour
	maxInflight  = 4096
	maxRate      = 5_000_000
	minTextBytes = 56
	maxTextBytes = 500 // the longest text that chat:message accepts
)

// ErrConfig means that Run did not start because the scenario's name or a setting is invalid.
var ErrConfig = errors.New("bad load test")

// Config describes a run: the target, the number of clients, the rate and the duration. Only Target
// is required. The zero value of every other field selects its default.
type Config struct {
	// Target is the server's URL, "http://host:port" or "https://host:port".
	Target string
	// Nodes are further servers of the same cluster. The clients are spread evenly over Target and
	// Nodes, so that neighbours connect to different servers.
	Nodes []string
	// Redis is the URL (redis://, rediss:// or unix://) of the Redis in which the run creates its
	// sessions, and from which the trade scenario reads the inventories at the end. If it is empty,
	// each client logs in as a guest with POST /auth/login. That is slow, and the server allows it
	// only with --dev.
	Redis string
	// Clients is the number of connections. The default is 100.
	Clients int
	// Rate is the number of events per second of all clients together, sent at even intervals. This
	// is an open loop: latency is measured from the time at which an event was due. With 0 the loop
	// is closed: each client sends its next event when the one before is finished.
	Rate float64
	// Inflight is the largest number of unfinished events of one client. The default is 1 in a
	// closed loop and 64 in an open loop. An event is finished when it is answered and, for a chat
	// message, every member has received it.
	Inflight int
	// Apart makes a client write each event by itself, as a game does, so that each has a packet of
	// its own. Otherwise the events that a client may send are written together.
	Apart bool
	// Reconnect makes a client reconnect, as a browser does, when the server ends its connection,
	// and then continue its traffic. It is meant for a test of a rolling restart. An end that
	// gateway:closing announced is then no fault. An event that was answered must still have
	// happened. An event is then finished when it is answered. Only ping, chat, fanout, combat,
	// mixed and recovery support it. In recovery no end of a connection is a fault, clients present
	// the pid and offset that they have, and whoever is recovered must have missed nothing.
	Reconnect bool
	// ReturnTo are the servers to which a client goes when it reconnects, in turn. Without them it
	// returns to the server that it came from.
	ReturnTo []string
	// Ramp is the time over which first the connections and then the traffic rise from zero. It is
	// not part of the measured time.
	Ramp time.Duration
	// Warmup is a time of full traffic before the measured time. Its answers and deliveries are
	// checked like all others.
	Warmup time.Duration
	// For is the measured time. The default is 10 s.
	For time.Duration
	// RoomSize is the number of members of a chat room. The default is 10. The fanout scenario has
	// one room for all clients.
	RoomSize int
	// Speakers is the number of clients that send in the fanout scenario. The default is 1.
	Speakers int
	// TextBytes is the length of a chat message, 56 to 500 bytes. The default is 96.
	TextBytes int
	// Timeout is the longest wait for an answer, a delivery or a connection. After it, the run
	// counts the event as lost. The default is 10 s.
	Timeout time.Duration
	// Header is sent with each handshake, in addition to the headers that a websocket needs.
	Header http.Header
	// Mint gives a character items to trade with, and records them in the server's ledger. The
	// trade scenario needs it against the gateway. If it is nil, the scenario writes the
	// inventories in Redis directly.
	Mint func(ctx context.Context, character, item string, qty int64) error
	// OneSided makes only one client of each pair give coins in the trade scenario.
	OneSided bool
	// Fresh gives each event of the trade scenario an idempotency key of its own. Otherwise every
	// eighth event repeats the key before it and must move nothing, if the server sends `session`.
	Fresh bool
	// Watch is called with true when the measured time starts, and with false when it ends. It must
	// return quickly.
	Watch func(measuring bool)
}

func (c Config) withDefaults() Config {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Clients, 100)
	set(&c.RoomSize, 10)
	set(&c.Speakers, 1)
	set(&c.TextBytes, 96)
	if c.Rate > 0 {
		set(&c.Inflight, 64)
	}
	set(&c.Inflight, 1)
	if c.For == 0 {
		c.For = 10 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

func (c Config) validate() error {
	between := func(name string, v, low, high int) error {
		if v < low || v > high {
			return fmt.Errorf("%s is %d; it may be %d to %d", name, v, low, high)
		}
		return nil
	}
	lasts := func(name string, v, low, high time.Duration) error {
		if v < low || v > high {
			return fmt.Errorf("%s is %s; it may be %s to %s", name, v, low, high)
		}
		return nil
	}
	var rate error
	if c.Rate < 0 || c.Rate > maxRate || c.Rate != c.Rate {
		rate = fmt.Errorf("rate is %g; it may be 0 to %d a second", c.Rate, maxRate)
	}
	return errors.Join(
		between("clients", c.Clients, 1, MaxClients),
		between("inflight", c.Inflight, 1, maxInflight),
		between("room size", c.RoomSize, 1, MaxClients),
		between("speakers", c.Speakers, 1, c.Clients),
		between("text bytes", c.TextBytes, minTextBytes, maxTextBytes),
		lasts("for", c.For, 10*time.Millisecond, MaxFor),
		lasts("ramp", c.Ramp, 0, time.Hour),
		lasts("warmup", c.Warmup, 0, time.Hour),
		lasts("timeout", c.Timeout, 10*time.Millisecond, 5*time.Minute),
		rate,
	)
}

// maxDuration returns the longest time that a run may take, whatever the server does.
func (c Config) maxDuration() time.Duration {
	setup := 30*time.Second + time.Duration(c.Clients)*10*time.Millisecond
	return setup + 2*c.Ramp + c.Warmup + c.For + 4*c.Timeout + maxReturnTime
}

// endpoint holds the parts of a target's URL.
type endpoint struct {
	address  string // host:port
	host     string // for the Host header
	isTLS    bool
	baseURL  string // scheme://host:port
	dialAddr string // ip:port
}

func parseTarget(target string) (endpoint, error) {
	u, err := url.Parse(target)
	if err != nil {
		return endpoint{}, errors.New("target: not a URL")
	}
	if !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Hostname() == "" || u.User != nil {
		return endpoint{}, fmt.Errorf("target %q: http://host:port is wanted", u.Redacted())
	}
	e := endpoint{address: u.Host, host: u.Host, isTLS: u.Scheme == "https", baseURL: u.Scheme + "://" + u.Host}
	if u.Port() == "" {
		e.address += map[bool]string{false: ":80", true: ":443"}[e.isTLS]
	}
	return e, nil
}
