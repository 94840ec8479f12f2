package server

import (
	"context"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
)

// lockRights are what our user must be allowed to do on a server of LockRedisURLs.
var lockRights = redisconn.Rights{
	Commands: []string{
		"EVAL return(1) 0", "EVALSHA 0000000000000000000000000000000000000000 0", "TIME", "SCAN 0",
		"PUBLISH CHANNEL m", "SUBSCRIBE CHANNEL", "UNSUBSCRIBE CHANNEL",
		"GET KEY", "SET KEY v", "DEL KEY", "EXISTS KEY", "INCR KEY", "PEXPIRE KEY 1", "PTTL KEY",
	},
	Keys:     []string{"lock:*", "{lock:*"},
	Channels: []string{keys.LockReleases},
}

// lockServers watches the servers of LockRedisURLs. The zero value watches none.
type lockServers struct {
	names    []string // their URLs, without passwords
	monitors []*redisconn.Monitor
}

// watchLockServers makes a monitor for each server. The log tells when a server goes, comes back,
// or does not give our user a right.
func watchLockServers(urls []string, clients []redis.UniversalClient, log *zap.Logger) lockServers {
	var s lockServers
	for i, client := range clients {
		name := redisconn.Redact(urls[i])
		s.names = append(s.names, name)
		s.monitors = append(s.monitors, redisconn.NewMonitor(client, redisconn.MonitorConfig{
			Rights: lockRights,
			OnChange: func(from, to redisconn.State, why string) {
				log.Warn("lock server changed", zap.String("server", name), zap.Stringer("from", from), zap.Stringer("to", to), zap.String("why", why))
			},
		}))
	}
	return s
}

// probe asks every server once, at the same time.
func (s lockServers) probe(ctx context.Context) {
	var all sync.WaitGroup
	for _, m := range s.monitors {
		all.Go(func() { m.Probe(ctx) })
	}
	all.Wait()
}

// countIn returns how many servers are in a state.
func (s lockServers) countIn(state redisconn.State) int {
	n := 0
	for _, m := range s.monitors {
		if m.State() == state {
			n++
		}
	}
	return n
}

// lackMajority reports whether so many servers do not give our user what locks need that no lock
// can be held on a majority.
func (s lockServers) lackMajority() bool {
	return len(s.monitors) > 0 && len(s.monitors)-s.countIn(redisconn.Forbidden) < len(s.monitors)/2+1
}

// missingRights says what which server does not give, for operators.
func (s lockServers) missingRights() string {
	var all []string
	for i, m := range s.monitors {
		if missing := m.MissingRights(); !missing.IsEmpty() {
			all = append(all, s.names[i]+": "+missing.Public())
		}
	}
	return strings.Join(all, "; ")
}

// registerMetrics registers gateway_lock_servers{state}, how many servers are in each state.
func (s lockServers) registerMetrics(registry *prometheus.Registry) error {
	if len(s.monitors) == 0 {
		return nil
	}
	for state := redisconn.Up; state <= redisconn.Down; state++ {
		err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gateway_lock_servers", Help: "Servers of --lock-redis in each state.", ConstLabels: prometheus.Labels{"state": state.String()},
		}, func() float64 { return float64(s.countIn(state)) }))
		if err != nil {
			return err
		}
	}
	return nil
}
