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

// Bounds of a run: whatever is asked for, it ends, and fits into one process.
const (
	MaxClients   = 50_000
	MaxFor       = 24 * time.Hour
	maxInflight  = 4096
	maxRate      = 5_000_000
	minTextBytes = 56
	maxTextBytes = 500 // what chat:message takes
)

// ErrConfig is why Run did not even try: the scenario or a setting makes no sense.
var ErrConfig = errors.New("bad load test")

// Config says against whom, how many, how fast and how long. Only Target is required; the zero
// value of everything else has a meaning.
type Config struct {
	// Target is the server, "http://host:port" or "https://host:port".
	Target string
	// Nodes are further servers of the same cluster: the clients are spread evenly over Target and these, neighbours on
	// different ones.
	Nodes []string
	// Redis is where the sessions are made (redis://, rediss:// or unix://), and where the trade scenario
	// reads the inventories at the end. Empty: sessions come from POST /auth/login as guests, which a
	// server allows with --dev only, and slowly.
	Redis string
	// Clients is the number of connections. Default 100.
	Clients int
	// Rate is how many events a second all clients together send, at even distances: an open loop, and
	// latency counts from when an event was due. 0: a closed loop, each client asks again when it was answered.
	Rate float64
	// Inflight is how many events of one client may be unfinished at once. Default 1 in a closed loop, 64 in an open one.
	// An event is finished when it is answered and, for a chat message, every member has it.
	Inflight int
	// Reconnect makes clients come back when the server ends their connection, as a browser does, and go on: for a
	// rolling restart. An end that was announced by gateway:closing is then no fault; an event that was answered
	// must still have happened. Only for ping, chat, fanout, combat and mixed. An event is then finished when it is answered.
	Reconnect bool
	// Ramp is the time over which the connections, and then the traffic, rise from nothing. It is not measured.
	Ramp time.Duration
	// Warmup is full traffic that is not measured yet; its truth is checked like the rest.
	Warmup time.Duration
	// For is the measured time. Default 10 s.
	For time.Duration
	// RoomSize is the number of members of a chat room. Default 10. Fanout has one room for all.
	RoomSize int
	// Speakers is how many speak in fanout. Default 1.
	Speakers int
	// TextBytes is the length of a chat message, 56 to 500. Default 96.
	TextBytes int
	// Timeout is how long an answer, a delivery or a connect may take before it is lost. Default 10 s.
	Timeout time.Duration
	// Header is sent with each handshake, on top of what a websocket needs.
	Header http.Header
	// Mint gives a character items to trade with, in the way the server keeps its books; needed by trade against the gateway. Nil:
	// the inventory in Redis is written directly.
	Mint func(ctx context.Context, character, item string, qty int64) error
	// OneSided leaves the giving, in trade, to one of each pair.
	OneSided bool
	// Fresh makes each event of trade a trade of its own. Else every eighth repeats the key before, and must move
	// nothing, where the server knows keys.
	Fresh bool
	// Watch is called when measuring starts (true) and when it ends (false). It must be quick.
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

// maxDuration is the longest that a run may take, whatever the server does.
func (c Config) maxDuration() time.Duration {
	setup := 30*time.Second + time.Duration(c.Clients)*10*time.Millisecond
	return setup + 2*c.Ramp + c.Warmup + c.For + 4*c.Timeout + maxReturnTime
}

// endpoint is a target, taken apart.
type endpoint struct {
	address  string // host:port
	host     string // for the Host header and TLS
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
