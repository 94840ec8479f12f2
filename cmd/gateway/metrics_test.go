package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// metrics returns what a gateway's /metrics says.
func (g *gate) metrics() string {
	g.t.Helper()
	return string(do(g.t, "GET", g.admin+"/metrics", "").body)
}

// metricNow returns the value of a series, with its labels as /metrics writes them.
func (g *gate) metricNow(series string) float64 {
	g.t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(g.metrics())
	require.NotNil(g.t, m, series)
	v, err := strconv.ParseFloat(m[1], 64)
	require.NoError(g.t, err)
	return v
}

// Every metric of ours begins with gateway_, and none is a summary. What a node does not use has no
// series: at idle it had 630 of Redis's commands.
func TestMetricsOfANodeAtRest(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--node", "one")
	g.connect(g.guest("ann")).ok("session:ping", "")
	text := g.metrics()
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		require.Regexp(t, `^(gateway_|go_|process_)`, m[1])
		if strings.HasPrefix(m[1], "gateway_") {
			require.NotEqual(t, "summary", m[2], m[1])
		}
	}
	series := len(regexp.MustCompile(`(?m)^gateway_redis_command_duration_seconds_bucket`).FindAllString(text, -1))
	t.Logf("%d series of Redis's histogram, %d in all", series, len(regexp.MustCompile(`(?m)^[a-z]`).FindAllString(text, -1)))
	require.LessOrEqual(t, series, 120, "twelve families, of which a node at rest uses some")
	require.Regexp(t, `(?m)^gateway_build_info\{commit=".*",go="`+regexp.QuoteMeta(runtime.Version())+`",version=".+"\} 1$`, text)
	for _, name := range []string{
		"gateway_outbound_queued_bytes", "gateway_trade_backlog", "gateway_chat_unwritten_bytes", "gateway_log_unconfirmed_bytes",
		"gateway_redis_clock_offset_seconds", "gateway_recoveries_total", "gateway_lock_wait_seconds_bucket", "gateway_session_touches_pending",
	} {
		require.Regexp(t, `(?m)^`+name+`[ {]`, text, "it is there before it is needed")
	}
	require.Less(t, g.metricNow("gateway_redis_clock_offset_seconds"), 1.0)
	require.Greater(t, g.metricNow("gateway_redis_clock_offset_seconds"), -1.0)
}

// What waits is measured where it waits: for clients, for the log, and for the history.
func TestMetricsOfWhatWaits(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g, plain := serve(t, "--redis", redis.URL(), "--dev"), serve(t, "--redis", redis.URL(), "--dev", "--recovery", "0", "--cluster-prefix", "plain")
	ann, bob := g.connect(g.guest("ann")), plain.connect(plain.guest("bob"))
	for _, p := range []*player{ann, bob} {
		p.ok("chat:join", `{"channel":"global"}`)
	}

	// A client that does not poll: what it is sent waits.
	lazy := g.guest("lazy")
	var hello struct{ SID string }
	require.NoError(t, json.Unmarshal(do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "").body[1:], &hello))
	do(t, "POST", g.public+"/socket.io/?EIO=4&transport=polling&sid="+hello.SID, fmt.Sprintf(`40{"sessionId":%q}`, lazy), "Content-Type", "text/plain")
	g.logged(1, "connection opened", map[string]any{"user": "lazy"})
	require.Greater(t, g.metricNow("gateway_outbound_queued_bytes"), 100.0)
	require.Zero(t, plain.metricNow("gateway_outbound_queued_bytes"))

	// A client that presents a connection that nobody knows.
	p, _, err := dial(t, g)
	require.NoError(t, err)
	p.send(fmt.Sprintf(`40{"sessionId":%q,"pid":%q,"offset":"abcdefgh-1"}`, g.guest("cat"), strings.Repeat("x", 20)))
	p.take("40", func(frame) bool { return true })
	require.Equal(t, 1.0, g.metricNow(`gateway_recoveries_total{outcome="unknown"}`))

	require.Zero(t, g.metricNow("gateway_log_unconfirmed_bytes"))
	redis.Pause()
	ann.ok("chat:message", `{"channel":"global","text":"x"}`)
	require.Positive(t, g.metricNow("gateway_log_unconfirmed_bytes"))
	bob.ok("chat:message", `{"channel":"global","text":"x"}`)
	require.Positive(t, plain.metricNow("gateway_chat_unwritten_bytes"))
	redis.Resume()
	require.Eventually(t, func() bool {
		return g.metricNow("gateway_log_unconfirmed_bytes") == 0 && plain.metricNow("gateway_chat_unwritten_bytes") == 0
	}, patience, tick)
}
