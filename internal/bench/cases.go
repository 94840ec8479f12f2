package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/aeturnis/realtime/internal/loadtest"
)

// A benchCase is one row: a load, what counts in it, and the ratio to the peer that is wanted.
type benchCase struct {
	name, title string
	load        load
	unit        string
	rate        func(loadtest.Result) float64 // nil: the memory of idle connections
	want        float64                       // at least; for memory at most
	p99         bool                          // the 99th percentile of the answers may be the peer's at most
	refused     bool                          // nearly all is refused, and that is what counts
	busy        bool                          // the two of a pair want one lock, and the peer refuses a few who waited for it too long
	flags       []string                      // for the gateway, so that it does no more than the peer
	two         bool                          // two servers share the core and Redis; Redis's bytes for each event may be the peer's at most
}

func events(r loadtest.Result) float64 { return r.EventsPerSecond }

// settled leaves out the share of the trades that were refused, because the pair was busy for too long.
func settled(r loadtest.Result) float64 {
	return r.EventsPerSecond * float64(r.Answered-r.Refused) / float64(max(1, r.Answered))
}

// refusals leaves out the few that were admitted.
func refusals(r loadtest.Result) float64 {
	return r.EventsPerSecond * float64(r.Refused) / float64(max(1, r.Answered))
}

func deliveries(r loadtest.Result) float64 { return r.DeliveriesPerSecond }

var cases = []benchCase{
	{name: "ping", title: "round trip, 200 clients × 8", load: load{Scenario: "ping", Clients: 200, Inflight: 8}, unit: "events/s", rate: events, want: 3},
	{name: "fanout", title: "fan-out to 1,000", load: load{Scenario: "fanout", Clients: 1000, Inflight: 8}, unit: "deliveries/s", rate: deliveries, want: 1.5},
	{name: "chat10", title: "guarded chat, rooms of 10", load: load{Scenario: "chat", Clients: 500, RoomSize: 10, Inflight: 2}, unit: "deliveries/s", rate: deliveries, want: 1.8},
	{name: "chat50", title: "guarded chat, rooms of 50", load: load{Scenario: "chat", Clients: 500, RoomSize: 50, Inflight: 2}, unit: "deliveries/s", rate: deliveries, want: 5},
	{name: "refused", title: "refused flood of chat, 200 clients × 8", load: load{Scenario: "chat", Clients: 200, RoomSize: 10, Inflight: 8}, unit: "refusals/s", rate: refusals, want: 2.5, refused: true},
	{name: "cross", title: "fan-out to 2 × 500 on two nodes", load: load{Scenario: "fanout", Clients: 1000, Inflight: 8}, unit: "deliveries/s", rate: deliveries, want: 1.5, two: true, flags: []string{"--chat-history", "0"}}, // the peer keeps none either
	{name: "connects", title: "authenticated connects, 64 at once", load: load{Scenario: "connect", Clients: 64}, unit: "connects/s", rate: events, want: 2.3},
	{name: "trade", title: "trades of 100 pairs, one of each gives", load: load{Scenario: "trade", Clients: 200, OneSided: true}, unit: "trades/s", rate: settled, want: 3},
	{name: "tradeboth", title: "trades of 100 pairs, both give at once", load: load{Scenario: "trade", Clients: 200}, unit: "trades/s", rate: settled, want: 3, p99: true, busy: true},
	{name: "memory", title: "an idle connection", load: load{}, unit: "KB", rate: nil, want: 0.7},
}

// allCases are the names that -only takes.
func allCases() []string {
	names := make([]string, 0, len(cases)+2)
	for _, c := range cases {
		names = append(names, c.name)
	}
	return append(names, limitsCase, locksCase)
}

// A row is what all rounds of a case gave, by server.
type row struct {
	benchCase
	values map[string][]float64 // rates, or KB
	busy   map[string][]float64 // the share of its core that the server used, 0 to 1
	work   map[string][]float64 // per CPU-second of the server
	p99s   map[string][]float64 // of the answers, in ms
	bytes  map[string][]float64 // that Redis moved for each event
	load   map[string][]float64 // the share of its core that load generator and Redis used
	faults []string
}

// measure runs all cases, the servers in turn.
func (l *lab) measure(ctx context.Context, log io.Writer) ([]*row, error) {
	var rows []*row
	for _, c := range cases {
		if !l.plan.wants(c.name) {
			continue
		}
		r := &row{benchCase: c, values: map[string][]float64{}, busy: map[string][]float64{}, work: map[string][]float64{}, load: map[string][]float64{}, p99s: map[string][]float64{}, bytes: map[string][]float64{}}
		rows = append(rows, r)
		for round := range l.plan.rounds {
			for _, server := range []string{peerServer, gatewayServer} {
				if err := l.once(ctx, r, server); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", c.name, server, err)
				}
				fmt.Fprintf(log, "%-8s  %d/%d  %-7s  %s\n", c.name, round+1, l.plan.rounds, server, r.last(server))
			}
		}
	}
	return rows, nil
}

// once runs a case against one fresh server.
func (l *lab) once(ctx context.Context, r *row, server string) error {
	limit := high
	if r.refused {
		limit = low
	}
	s, err := l.start(ctx, server, limit, r.flags...)
	if err != nil {
		return err
	}
	defer s.stop()
	if r.two {
		if err := l.double(ctx, s, server, r.flags...); err != nil {
			return err
		}
	}
	if r.rate == nil {
		kb, err := l.idleKB(ctx, s)
		if err != nil {
			return err
		}
		r.values[server] = append(r.values[server], kb)
		return nil
	}
	in := r.benchCase.load
	in.Warmup, in.For = l.plan.warmup, l.plan.measured
	in.Minted = in.Scenario == "trade" && server == gatewayServer
	got, err := l.play(ctx, s, in)
	if err != nil {
		return err
	}
	res := got.Result
	if res.Faults() > 0 || !r.asRefused(server, res) {
		r.faults = append(r.faults, fmt.Sprintf("%s: lost %d, doubled %d, reordered %d, wrong %d, disconnected %d, refused %d of %d %v",
			server, res.Lost, res.Doubled, res.Reordered, res.Wrong, res.Disconnected, res.Refused, res.Answered, res.Errors))
	}
	rate := r.rate(res)
	r.values[server] = append(r.values[server], rate)
	r.busy[server] = append(r.busy[server], got.ServerCPU/res.Seconds)
	r.work[server] = append(r.work[server], rate*res.Seconds/max(got.ServerCPU, 1./ticks))
	r.bytes[server] = append(r.bytes[server], got.RedisBytes/max(1, res.EventsPerSecond*res.Seconds))
	r.p99s[server] = append(r.p99s[server], res.Latency.P99)
	r.load[server] = append(r.load[server], (got.LoadCPU+got.RedisCPU)/res.Seconds)
	return nil
}

// asRefused tells whether as much was refused as the limits ask for: nothing, or all but one event of each client. A second
// one is admitted by the gateway's own window where Redis was too slow to answer, on a machine that is busy.
func (c *benchCase) asRefused(server string, res loadtest.Result) bool {
	if c.busy && server == peerServer {
		return res.Refused == res.Errors["LOCKED"] && res.Refused <= res.Answered/100
	}
	if !c.refused {
		return res.Refused == 0
	}
	admitted, limit := res.Answered-res.Refused, int64(res.Clients*low.events)
	return res.Refused == res.Errors["RATE_LIMITED"] && admitted >= limit && admitted <= 2*limit
}

func (r *row) last(server string) string {
	at := func(m map[string][]float64) float64 { return m[server][len(m[server])-1] }
	if r.rate == nil {
		return fmt.Sprintf("%.1f KB", at(r.values))
	}
	if r.two {
		return fmt.Sprintf("%.0f %s, %.0f bytes of Redis for each event, its core %.0f %% busy, the load's %.0f %%", at(r.values), r.unit, at(r.bytes), 100*at(r.busy), 100*at(r.load))
	}
	if r.p99 {
		return fmt.Sprintf("%.0f %s, p99 %.1f ms, its core %.0f %% busy, the load's %.0f %%", at(r.values), r.unit, at(r.p99s), 100*at(r.busy), 100*at(r.load))
	}
	return fmt.Sprintf("%.0f %s, its core %.0f %% busy, the load's %.0f %%", at(r.values), r.unit, 100*at(r.busy), 100*at(r.load))
}

// median is 0 without values.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ratio is the gateway's median over the peer's, 0 when there is none to compare with.
func ratio(of map[string][]float64) float64 {
	peer := median(of[peerServer])
	if peer <= 0 {
		return 0
	}
	return median(of[gatewayServer]) / peer
}

// saturated is the share of its core above which somebody was the bottleneck.
const saturated = 0.85

// judged is the ratio that counts, and whether it is that of work per CPU-second: where the load generator, not the gateway,
// was the limit, the rate says little about the gateway.
func (r *row) judged() (value float64, perCPU bool) {
	if r.rate != nil && ratio(r.values) < r.want && median(r.busy[gatewayServer]) < saturated {
		return ratio(r.work), true
	}
	return ratio(r.values), false
}

// disturbed names the servers in whose runs neither core was busy: something else had the processors, or the load was no
// load, and the rates mean nothing.
func (r *row) disturbed() (servers []string) {
	for _, server := range []string{peerServer, gatewayServer} {
		if r.rate != nil && median(r.busy[server]) < saturated && median(r.load[server]) < saturated {
			servers = append(servers, server)
		}
	}
	return servers
}

func (r *row) ok() bool {
	value, _ := r.judged()
	if len(r.faults) > 0 || len(r.disturbed()) > 0 {
		return false
	}
	if r.rate == nil {
		return value <= r.want && value > 0
	}
	return value >= r.want && (!r.two || ratio(r.bytes) <= 1) && (!r.p99 || ratio(r.p99s) <= 1)
}
