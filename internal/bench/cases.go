package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/aeturnis/realtime/internal/loadtest"
)

// A benchCase is one row of the table: a load, the value that is compared, and the wanted ratio to
// the peer.
type benchCase struct {
	name, title string
	loadSpec    loadSpec
	unit        string
	rate        func(loadtest.Result) float64 // the compared value; nil for the memory of idle connections
	wantRatio   float64                       // the least ratio gateway/peer; for memory and isCost the largest
	isCost      bool                          // the load is the same for both, so the CPU time of the server for each event is compared
	isTime      bool                          // rate returns a time, of which less is better
	grows       bool                          // the clients connect once and stay; their connects are compared
	flatWith    string                        // a smaller case before it, which each client here may cost at most a tenth more than
	wantRedis   float64                       // the largest ratio of the CPU time of Redis for each event; 0 means any
	comparesP99 bool                          // the gateway's 99th percentile of the answers must not exceed the peer's
	isFlood     bool                          // nearly every event is refused, and the refusals are compared
	sharesLock  bool                          // both clients of a pair want one lock, so the peer refuses a few events that waited for it too long
	flags       []string                      // flags that keep the gateway from doing more than the peer
	onTwoNodes  bool                          // two servers share the core and Redis; the bytes of Redis for each event must not exceed the peer's
}

func eventRate(r loadtest.Result) float64 { return r.EventsPerSecond }

// settledRate returns the trades per second, without those that were refused because the pair was
// busy for too long.
func settledRate(r loadtest.Result) float64 {
	return r.EventsPerSecond * float64(r.Answered-r.Refused) / float64(max(1, r.Answered))
}

// refusalRate returns the refusals per second, without the few events that were admitted.
func refusalRate(r loadtest.Result) float64 {
	return r.EventsPerSecond * float64(r.Refused) / float64(max(1, r.Answered))
}

// returnMillis returns the median of the storms, in ms.
func returnMillis(r loadtest.Result) float64 { return medianOf(r.StormMs) }

func deliveryRate(r loadtest.Result) float64 { return r.DeliveriesPerSecond }

// cases are the rows of the table. The largest have 18,000 connections: on many machines a process
// may open 20,000 files.
var cases = []benchCase{
	{name: "ping", title: "round trip, 200 clients × 8", loadSpec: loadSpec{Scenario: "ping", Clients: 200, Inflight: 8}, unit: "events/s", rate: eventRate, wantRatio: 3},
	{name: "ping1", title: "round trip, 200 clients × 1", loadSpec: loadSpec{Scenario: "ping", Clients: 200, Inflight: 1, Apart: true}, unit: "events/s", rate: eventRate, wantRatio: 2.6},
	{name: "ping8", title: "round trip, 200 clients × 8, a packet each", loadSpec: loadSpec{Scenario: "ping", Clients: 200, Inflight: 8, Apart: true}, unit: "events/s", rate: eventRate, wantRatio: 3},
	{name: "fanout", title: "fan-out to 1,000", loadSpec: loadSpec{Scenario: "fanout", Clients: 1000, Inflight: 8}, unit: "deliveries/s", rate: deliveryRate, wantRatio: 1.5},
	{name: "chat10", title: "guarded chat, rooms of 10", loadSpec: loadSpec{Scenario: "chat", Clients: 500, RoomSize: 10, Inflight: 2}, unit: "deliveries/s", rate: deliveryRate, wantRatio: 1.8},
	{name: "chat50", title: "guarded chat, rooms of 50", loadSpec: loadSpec{Scenario: "chat", Clients: 500, RoomSize: 50, Inflight: 2}, unit: "deliveries/s", rate: deliveryRate, wantRatio: 5},
	{name: "refused", title: "refused flood of chat, 200 clients × 8", loadSpec: loadSpec{Scenario: "chat", Clients: 200, RoomSize: 10, Inflight: 8}, unit: "refusals/s", rate: refusalRate, wantRatio: 2.5, isFlood: true},
	{name: "cross", title: "fan-out to 2 × 500 on two nodes", loadSpec: loadSpec{Scenario: "fanout", Clients: 1000, Inflight: 8}, unit: "deliveries/s", rate: deliveryRate, wantRatio: 1.5, onTwoNodes: true, flags: []string{"--chat-history", "0"}}, // the peer keeps no history either
	{name: "connects", title: "authenticated connects, 64 at once", loadSpec: loadSpec{Scenario: "connect", Clients: 64}, unit: "connects/s", rate: eventRate, wantRatio: 2.3},
	{name: "connects5k", title: "all of 5,000 connect and stay", loadSpec: loadSpec{Clients: 5000}, unit: "connects/s", rate: eventRate, grows: true, wantRatio: 2.6},
	{name: "connects10k", title: "all of 10,000 connect and stay", loadSpec: loadSpec{Clients: 10_000}, unit: "connects/s", rate: eventRate, grows: true, wantRatio: 2.3, flatWith: "connects5k"},
	{name: "connects18k", title: "all of 18,000 connect and stay", loadSpec: loadSpec{Clients: 18_000}, unit: "connects/s", rate: eventRate, grows: true, wantRatio: 2.3, flatWith: "connects5k"},
	{name: "plain5k", title: "all of 5,000 connect and stay, without recovery", loadSpec: loadSpec{Clients: 5000}, unit: "connects/s", rate: eventRate, grows: true, wantRatio: 3, flags: withoutRecovery},
	{name: "plain18k", title: "all of 18,000 connect and stay, without recovery", loadSpec: loadSpec{Clients: 18_000}, unit: "connects/s", rate: eventRate, grows: true, wantRatio: 2.5, flatWith: "plain5k", flags: withoutRecovery},
	{name: "back1k", title: "1,000 drop at once and return", loadSpec: loadSpec{Scenario: "storm", Clients: 1000}, unit: "ms until 99 % are back", rate: returnMillis, isTime: true, wantRatio: 0.5},
	{name: "back9k", title: "9,000 drop at once and return", loadSpec: loadSpec{Scenario: "storm", Clients: 9000}, unit: "ms until 99 % are back", rate: returnMillis, isTime: true, wantRatio: 0.5, flatWith: "back1k"},
	{name: "trade", title: "trades of 100 pairs, one of each gives", loadSpec: loadSpec{Scenario: "trade", Clients: 200, OneSided: true}, unit: "trades/s", rate: settledRate, wantRatio: 3.5, wantRedis: 1},
	{name: "tradeboth", title: "trades of 100 pairs, both give at once", loadSpec: loadSpec{Scenario: "trade", Clients: 200}, unit: "trades/s", rate: settledRate, wantRatio: 4, comparesP99: true, sharesLock: true},
	{name: "chatcost", title: "guarded chat at 1,000 events/s, rooms of 10", loadSpec: loadSpec{Scenario: "chat", Clients: 500, RoomSize: 10, Rate: 1000}, unit: "µs of the server for each event", rate: eventRate, isCost: true, wantRatio: 0.65},
	{name: "fanoutcost", title: "fan-out to 1,000 at 20 broadcasts/s", loadSpec: loadSpec{Scenario: "fanout", Clients: 1000, Rate: 20}, unit: "µs of the server for each event", rate: eventRate, isCost: true, wantRatio: 0.7},
	{name: "memory1k", title: "an idle connection", loadSpec: loadSpec{Clients: 1000}, unit: "KB", rate: nil, wantRatio: 0.6},
	{name: "memory", title: "an idle connection", loadSpec: loadSpec{}, unit: "KB", rate: nil, wantRatio: 0.5},
	{name: "memory18k", title: "an idle connection", loadSpec: loadSpec{Clients: 18_000}, unit: "KB", rate: nil, wantRatio: 0.6},
}

var withoutRecovery = []string{"--recovery", "0"}

// caseNames returns the names that -only accepts.
func caseNames() []string {
	names := make([]string, 0, len(cases)+3)
	for _, c := range cases {
		names = append(names, c.name)
	}
	return append(names, limitsCase, locksCase, priceCase)
}

// A row holds the values of all rounds of a case, by server.
type row struct {
	benchCase
	values       map[string][]float64 // rates, or KB of memory
	serverShare  map[string][]float64 // the share of its core that the server used, from 0 to 1
	perCPUSecond map[string][]float64 // the rate per CPU-second of the server
	p99s         map[string][]float64 // the 99th percentile of the answers, in ms
	bytes        map[string][]float64 // the bytes that Redis received and sent for each event
	redisMicros  map[string][]float64 // the CPU time of Redis for each event, in µs
	loadShare    map[string][]float64 // the share of their core that the load generator and Redis used
	faults       []string
	smaller      *row // the row of flatWith; nil if it was not run
}

// runCases runs all wanted cases. In each round it runs the peer, then the gateway.
func (l *lab) runCases(ctx context.Context, log io.Writer) ([]*row, error) {
	var rows []*row
	for _, c := range cases {
		if !l.plan.includesCase(c.name) {
			continue
		}
		r := &row{benchCase: c, values: map[string][]float64{}, serverShare: map[string][]float64{}, perCPUSecond: map[string][]float64{}, loadShare: map[string][]float64{}, p99s: map[string][]float64{}, bytes: map[string][]float64{}, redisMicros: map[string][]float64{}}
		if i := slices.IndexFunc(rows, func(o *row) bool { return o.name == c.flatWith }); i >= 0 {
			r.smaller = rows[i]
		}
		rows = append(rows, r)
		for round := range l.plan.rounds {
			for _, server := range []string{peerServer, gatewayServer} {
				if err := l.runAgainstServer(ctx, r, server); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", c.name, server, err)
				}
				fmt.Fprintf(log, "%-8s  %d/%d  %-7s  %s\n", c.name, round+1, l.plan.rounds, server, r.describeLast(server))
			}
		}
	}
	return rows, nil
}

// runAgainstServer runs a case once against a fresh server.
func (l *lab) runAgainstServer(ctx context.Context, r *row, server string) error {
	limit := highLimit
	if r.isFlood {
		limit = lowLimit
	}
	s, err := l.startTestbed(ctx, server, limit, r.flags...)
	if err != nil {
		return err
	}
	defer s.stopProcesses()
	if r.onTwoNodes {
		if err := l.startSecond(ctx, s, server, r.flags...); err != nil {
			return err
		}
	}
	if r.rate == nil {
		kb, err := l.idleConnectionKB(ctx, s, r.idleConnections(l.plan))
		if err != nil {
			return err
		}
		r.values[server] = append(r.values[server], kb)
		return nil
	}
	var got measurement
	if r.grows {
		if err := l.warmConnects(ctx, s); err != nil {
			return err
		}
		got, err = l.holdConnections(ctx, s, r.loadSpec.Clients, func() error { return nil })
	} else {
		in := r.benchCase.loadSpec
		in.Warmup, in.For = l.plan.warmup, l.plan.measured
		in.Minted = in.Scenario == "trade" && server == gatewayServer
		got, err = l.runLoadChild(ctx, s, in)
	}
	if err != nil {
		return err
	}
	res := got.Result
	if res.Faults() > 0 || !r.refusedAsWanted(server, res) {
		r.faults = append(r.faults, fmt.Sprintf("%s: lost %d, doubled %d, reordered %d, wrong %d, disconnected %d, refused %d of %d %v",
			server, res.Lost, res.Doubled, res.Reordered, res.Wrong, res.Disconnected, res.Refused, res.Answered, res.Errors))
	}
	value := r.rate(res)
	rate := value
	if r.isTime {
		rate = res.EventsPerSecond
	}
	events := max(1, rate*res.Seconds)
	if r.isCost {
		r.values[server] = append(r.values[server], 1e6*got.ServerCPU/events)
	} else {
		r.values[server] = append(r.values[server], value)
	}
	r.redisMicros[server] = append(r.redisMicros[server], 1e6*got.RedisCPU/events)
	r.serverShare[server] = append(r.serverShare[server], got.ServerCPU/res.Seconds)
	r.perCPUSecond[server] = append(r.perCPUSecond[server], rate*res.Seconds/max(got.ServerCPU, 1./clockTicks))
	r.bytes[server] = append(r.bytes[server], got.RedisBytes/max(1, res.EventsPerSecond*res.Seconds))
	r.p99s[server] = append(r.p99s[server], res.Latency.P99)
	r.loadShare[server] = append(r.loadShare[server], (got.LoadCPU+got.RedisCPU)/res.Seconds)
	return nil
}

// isBetterSmall reports whether less is better, so that the wanted ratio is the largest.
func (c *benchCase) isBetterSmall() bool { return c.rate == nil || c.isCost || c.isTime }

// idleConnections is the number of connections of a case about memory.
func (c *benchCase) idleConnections(p plan) int {
	if c.loadSpec.Clients > 0 {
		return c.loadSpec.Clients
	}
	return p.connections
}

// refusedAsWanted reports whether the server refused as many events as its limits demand: none, or
// in a flood all but one of each client. In a flood it allows a second admitted event of each
// client: on a busy machine Redis may answer too late, and then the gateway's own window admits
// one.
func (c *benchCase) refusedAsWanted(server string, res loadtest.Result) bool {
	if c.sharesLock && server == peerServer {
		return res.Refused == res.Errors["LOCKED"] && res.Refused <= res.Answered/100
	}
	if !c.isFlood {
		return res.Refused == 0
	}
	admitted, limit := res.Answered-res.Refused, int64(res.Clients*lowLimit.events)
	return res.Refused == res.Errors["RATE_LIMITED"] && admitted >= limit && admitted <= 2*limit
}

func (r *row) describeLast(server string) string {
	at := func(m map[string][]float64) float64 { return m[server][len(m[server])-1] }
	if r.rate == nil {
		return fmt.Sprintf("%.1f KB", at(r.values))
	}
	if r.onTwoNodes {
		return fmt.Sprintf("%.0f %s, %.0f bytes of Redis for each event, its core %.0f %% busy, the load's %.0f %%", at(r.values), r.unit, at(r.bytes), 100*at(r.serverShare), 100*at(r.loadShare))
	}
	if r.comparesP99 {
		return fmt.Sprintf("%.0f %s, p99 %.1f ms, its core %.0f %% busy, the load's %.0f %%", at(r.values), r.unit, at(r.p99s), 100*at(r.serverShare), 100*at(r.loadShare))
	}
	return fmt.Sprintf("%.0f %s, its core %.0f %% busy, the load's %.0f %%", at(r.values), r.unit, 100*at(r.serverShare), 100*at(r.loadShare))
}

// medianOf returns the median, or 0 without values.
func medianOf(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// medianRatio returns the gateway's median divided by the peer's, or 0 when the peer has no value.
func medianRatio(of map[string][]float64) float64 {
	peer := medianOf(of[peerServer])
	if peer <= 0 {
		return 0
	}
	return medianOf(of[gatewayServer]) / peer
}

// saturated is the share of a core above which its process was the bottleneck.
const saturated = 0.85

// judgedRatio returns the ratio that is compared with the wanted one, and whether it is the ratio
// of work per CPU-second. Where the load generator was the limit, and not the gateway, the rate
// says little about the gateway.
func (r *row) judgedRatio() (value float64, perCPU bool) {
	if !r.isBetterSmall() && medianRatio(r.values) < r.wantRatio && medianOf(r.serverShare[gatewayServer]) < saturated {
		return medianRatio(r.perCPUSecond), true
	}
	return medianRatio(r.values), false
}

// disturbedServers returns the servers in whose runs neither core was busy. Then another program
// used the processors, or the load was too small, and the rates mean nothing.
func (r *row) disturbedServers() (servers []string) {
	for _, server := range []string{peerServer, gatewayServer} {
		if !r.isBetterSmall() && medianOf(r.serverShare[server]) < saturated && medianOf(r.loadShare[server]) < saturated {
			servers = append(servers, server)
		}
	}
	return servers
}

// maxGrowth is the most that a client may cost the gateway in a large case, as a multiple of what
// it costs in the small one.
const maxGrowth = 1.1

// growth returns what a client costs the gateway here as a multiple of what it costs in the smaller
// case: CPU time of a connect, or the time of a return.
func (r *row) growth() (value float64, known bool) {
	if r.smaller == nil {
		return 0, false
	}
	if r.isTime {
		small := medianOf(r.smaller.values[gatewayServer]) / float64(r.smaller.loadSpec.Clients)
		return medianOf(r.values[gatewayServer]) / float64(r.loadSpec.Clients) / small, small > 0
	}
	large := medianOf(r.perCPUSecond[gatewayServer])
	return medianOf(r.smaller.perCPUSecond[gatewayServer]) / large, large > 0
}

func (r *row) meetsTarget() bool {
	value, _ := r.judgedRatio()
	if len(r.faults) > 0 || len(r.disturbedServers()) > 0 {
		return false
	}
	if growth, known := r.growth(); known && growth > maxGrowth {
		return false
	}
	if r.isBetterSmall() {
		return value <= r.wantRatio && value > 0
	}
	if r.wantRedis > 0 && medianRatio(r.redisMicros) > r.wantRedis {
		return false
	}
	return value >= r.wantRatio && (!r.onTwoNodes || medianRatio(r.bytes) <= 1) && (!r.comparesP99 || medianRatio(r.p99s) <= 1)
}
