package redisconn

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// The values of Health.Status.
const (
	StatusUp       = "up"       // reads and writes, in time
	StatusDegraded = "degraded" // answers, but slowly, read-only or while loading
	StatusDown     = "down"     // does not answer us
)

// Health is what Check found. Fields that the server does not report are left out of the JSON.
type Health struct {
	Status         string   `json:"status"`
	LatencyMs      float64  `json:"latencyMs"`                // of one PING
	Role           string   `json:"role,omitempty"`           // "master", "replica" or "cluster"
	Version        string   `json:"version,omitempty"`        // "7.0.15", "valkey 8.1.1"
	Memory         *Memory  `json:"memory,omitempty"`         // of a Cluster the sum of its masters
	EvictionPolicy string   `json:"evictionPolicy,omitempty"` // "noeviction"
	Persistence    string   `json:"persistence,omitempty"`    // "none", "rdb", "aof" or "rdb+aof"
	Pool           Pool     `json:"pool"`
	Warnings       []string `json:"warnings"`        // what an operator should fix, in words
	Error          string   `json:"error,omitempty"` // why the status is not up; it holds no secret
}

// Memory is how much memory the server uses, in bytes. MaxBytes 0 means that nothing limits it.
type Memory struct {
	UsedBytes int64 `json:"usedBytes"`
	MaxBytes  int64 `json:"maxBytes"`
}

// MayEvict tells whether the server may throw away keys that have not expired, when its memory is
// full.
func (h Health) MayEvict() bool {
	return h.Memory != nil && h.Memory.MaxBytes > 0 && h.EvictionPolicy != "" && h.EvictionPolicy != "noeviction"
}

// Pool describes our connections: Total and Idle count those of now, the rest events since the
// start.
type Pool struct {
	Total    uint32 `json:"total"`
	Idle     uint32 `json:"idle"`
	Stale    uint32 `json:"stale"`
	Hits     uint32 `json:"hits"`
	Misses   uint32 `json:"misses"`
	Timeouts uint32 `json:"timeouts"`
}

const (
	// slowAfter is the latency above which Redis is called slow.
	slowAfter = 250 * time.Millisecond
	// checkTime is how long a check may take, when its context does not end earlier.
	checkTime = 2 * time.Second
)

// Check asks Redis about its health, in at most five round trips. It returns before ctx ends, and
// within two seconds, whatever Redis does.
func Check(ctx context.Context, client redis.UniversalClient) Health {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	found := make(chan Health, 1)
	go func() { // where something ignores ctx, it ends by the client's own timeouts
		defer cancel()
		found <- checkHealth(ctx, client)
	}()
	select {
	case h := <-found:
		return h
	case <-ctx.Done():
		select {
		case h := <-found:
			return h
		default:
			return Health{Status: StatusDown, Warnings: []string{}, Error: redisx.ReasonNoAnswer}
		}
	}
}

func checkHealth(ctx context.Context, client redis.UniversalClient) Health {
	h := Health{Status: StatusUp, Warnings: []string{}}
	start := time.Now()
	err := client.Ping(ctx).Err()
	latency := time.Since(start)
	h.LatencyMs = float64(latency.Microseconds()) / 1000
	if err == nil {
		err = probeWrites(ctx, client)
	}
	if err != nil {
		h.Status, h.Error = classifyFailure(err)
	}
	if h.Status == StatusDown {
		h.Pool = readPoolStats(client)
		return h
	}
	if latency > slowAfter {
		h.Status = StatusDegraded
		h.addWarning("Redis answers slowly")
	}
	h.readDetails(ctx, client)
	h.Pool = readPoolStats(client)
	return h
}

// classifyFailure turns an error of PING or of probeWrites into a status and a cause.
func classifyFailure(err error) (status, why string) {
	switch redisx.RefusalWord(err) {
	case "":
	case "NOAUTH", "WRONGPASS":
		return StatusDown, redisx.UnavailableReason(err)
	default:
		return StatusDegraded, redisx.UnavailableReason(err)
	}
	if why = redisx.UnavailableReason(err); why == "" {
		why = "unexpected answer"
	}
	return StatusDown, why
}

func (h *Health) addWarning(text string) { h.Warnings = append(h.Warnings, text) }

func readPoolStats(client redis.UniversalClient) Pool {
	s := client.PoolStats()
	p := Pool{s.TotalConns, s.IdleConns, s.StaleConns, s.Hits, s.Misses, s.Timeouts}
	if s := s.PipelineStats; s != nil {
		p = Pool{
			p.Total + s.TotalConns, p.Idle + s.IdleConns, p.Stale + s.StaleConns,
			p.Hits + s.Hits, p.Misses + s.Misses, p.Timeouts + s.Timeouts,
		}
	}
	return p
}
