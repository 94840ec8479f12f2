// Package deploy_test tests the files of this folder, which operators copy.
package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// A rule is an alerting rule.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	b, err := os.ReadFile("alerts.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &file))
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	require.Greater(t, len(rules), 20)
	return rules
}

// Each alert has a line in the runbook, with the same words.
func TestEachAlertHasALineInTheRunbook(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	for _, r := range readRules(t) {
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["runbook"], r.Alert)
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		line := fmt.Sprintf("| `%s` | %s | %s |\n", r.Alert, r.Annotations["summary"], r.Annotations["runbook"])
		require.Contains(t, string(b), line)
	}
}

// A firing is when a rule must fire: one minute each from the values of series, in the notation of
// promtool.
type firing struct {
	alert  string
	series map[string]string
	at     string
	labels string // of the alert, beside the severity
}

const gatewayTarget = `job="gateway", instance="a:8081"`

// firings has one for each rule, and for some a second.
var firings = []firing{
	{"GatewayDown", map[string]string{`up{` + gatewayTarget + `}`: "1 0x10"}, "3m", gatewayTarget},
	{"GatewayRedisNotUp", map[string]string{`gateway_redis_state{state="up", ` + gatewayTarget + `}`: "1 0x10", `gateway_redis_state{state="slow", ` + gatewayTarget + `}`: "0 1x10"}, "3m", `state="up", ` + gatewayTarget},
	{"GatewayRedisMoved", map[string]string{`gateway_redis_moving{` + gatewayTarget + `}`: "0 1x10"}, "2m", gatewayTarget},
	{"GatewayRedisMoved", map[string]string{`gateway_redis_server_changes_total{kind="move", ` + gatewayTarget + `}`: "0x3 1x5"}, "6m", `kind="move", ` + gatewayTarget},
	{"GatewayLockServersMissing", map[string]string{`gateway_lock_servers{state="up", ` + gatewayTarget + `}`: "3 2x10", `gateway_lock_servers{state="down", ` + gatewayTarget + `}`: "0 1x10"}, "4m", `instance="a:8081"`},
	{"GatewayLimitsLocal", map[string]string{`gateway_ratelimit_degraded{` + gatewayTarget + `}`: "0 1x10"}, "3m", gatewayTarget},
	{"GatewayClockDiffers", map[string]string{`gateway_redis_clock_offset_seconds{` + gatewayTarget + `}`: "0 -2x20"}, "8m", gatewayTarget},
	{"GatewayRedisPoolExhausted", map[string]string{`gateway_redis_pool_timeouts_total{pool="main", ` + gatewayTarget + `}`: "0x3 2x10"}, "5m", `pool="main", ` + gatewayTarget},
	{"GatewayBreakerOpen", map[string]string{`gateway_redis_breaker_open{feature="cache", ` + gatewayTarget + `}`: "0 1x10"}, "5m", `feature="cache", ` + gatewayTarget},
	{"GatewayHandlerFails", map[string]string{`gateway_events_total{code="INTERNAL", event="trade:offer", ` + gatewayTarget + `}`: "4x3 5x10"}, "5m", `code="INTERNAL", event="trade:offer", ` + gatewayTarget},
	{"GatewayHandlerFails", map[string]string{`gateway_events_total{code="INTERNAL", event="trade:offer", ` + gatewayTarget + `}`: "_x3 1x10"}, "5m", `code="INTERNAL", event="trade:offer", ` + gatewayTarget},
	{"GatewayEventsUnavailable", map[string]string{`gateway_events_total{code="UNAVAILABLE", event="trade:offer", ` + gatewayTarget + `}`: "0+20x10", `gateway_events_total{code="TIMEOUT", event="chat:message", ` + gatewayTarget + `}`: "0x10"}, "8m", `instance="a:8081"`},
	{"GatewayEventsSlow", map[string]string{`gateway_event_seconds_bucket{le="0.5", event="trade:offer", ` + gatewayTarget + `}`: "0+10x20", `gateway_event_seconds_bucket{le="1", event="trade:offer", ` + gatewayTarget + `}`: "0+20x20", `gateway_event_seconds_bucket{le="+Inf", event="trade:offer", ` + gatewayTarget + `}`: "0+20x20"}, "12m", `instance="a:8081"`},
	{"GatewayDangerousSetting", map[string]string{`gateway_warnings{kind="dev_public", ` + gatewayTarget + `}`: "0 1x20"}, "8m", `kind="dev_public", instance="a:8081"`},
	{"GatewaySettingsDiffer", map[string]string{`gateway_settings_differences{` + gatewayTarget + `}`: "0 2x30"}, "20m", gatewayTarget},
	{"GatewayFull", map[string]string{`gateway_connections{` + gatewayTarget + `}`: "50 95x20", `gateway_connections_bound{` + gatewayTarget + `}`: "100x20"}, "8m", gatewayTarget},
	{"GatewayConnectionsDropped", map[string]string{`gateway_tcp_dropped_total{` + gatewayTarget + `}`: "0x3 7x10"}, "5m", gatewayTarget},
	{"GatewayClientsTooSlow", map[string]string{`gateway_connections_closed_total{reason="slow consumer", ` + gatewayTarget + `}`: "0+10x30"}, "12m", `reason="slow consumer", ` + gatewayTarget},
	{"GatewayAddressesUnknown", map[string]string{`gateway_client_addresses_unknown_total{reason="missing", ` + gatewayTarget + `}`: "_x3 1x10"}, "5m", `reason="missing", ` + gatewayTarget},
	{"GatewayOriginsRefused", map[string]string{`gateway_origins_not_allowed_total{` + gatewayTarget + `}`: "0x3 20x10"}, "6m", gatewayTarget},
	{"GatewayTouchesPending", map[string]string{`gateway_session_touches_pending{` + gatewayTarget + `}`: "0+50x20"}, "15m", gatewayTarget},
	{"GatewayRevocationsUnfounded", map[string]string{`gateway_session_revocations_unfounded_total{` + gatewayTarget + `}`: "0x3 2x10"}, "6m", gatewayTarget},
	{"GatewayCastsMissed", map[string]string{`gateway_log_missed_total{` + gatewayTarget + `}`: "0x3 1x10"}, "6m", gatewayTarget},
	{"GatewayCastsWait", map[string]string{`gateway_log_unconfirmed_bytes{` + gatewayTarget + `}`: "1000 2000000x10"}, "3m", gatewayTarget},
	{"GatewayCastsWait", map[string]string{`gateway_chat_unwritten_bytes{` + gatewayTarget + `}`: "0 2000000x10"}, "3m", gatewayTarget},
	{"GatewayHistoryLacks", map[string]string{`gateway_chat_unwritten_total{` + gatewayTarget + `}`: "0x3 1x10"}, "6m", gatewayTarget},
	{"GatewayNodesDisagree", map[string]string{`gateway_cluster_nodes{` + gatewayTarget + `}`: "2 1x10", `gateway_cluster_nodes{job="gateway", instance="b:8081"}`: "2x10"}, "5m", `job="gateway"`},
	{"GatewayTradesUnswept", map[string]string{`gateway_trade_backlog{` + gatewayTarget + `}`: "0 3x20"}, "8m", `job="gateway"`},
	{"GatewayWebhooksUndelivered", map[string]string{`gateway_webhook_active{` + gatewayTarget + `}`: "1 0x10", `gateway_webhook_active{job="gateway", instance="b:8081"}`: "0x10"}, "3m", `job="gateway"`},
	{"GatewayWebhooksWait", map[string]string{`gateway_webhook_oldest_seconds{` + gatewayTarget + `}`: "0+60x30"}, "18m", `job="gateway"`},
	{"GatewayWebhooksParked", map[string]string{`gateway_webhook_parked_total{` + gatewayTarget + `}`: "0x3 1x10"}, "5m", `job="gateway"`},
	{"GatewayWebhooksDropped", map[string]string{`gateway_webhook_dropped{` + gatewayTarget + `}`: "0x8 5x10"}, "10m", `job="gateway"`},
	{"GatewayWebhooksUnwritten", map[string]string{`gateway_webhook_unwritten{` + gatewayTarget + `}`: "0x8 1x10"}, "10m", `job="gateway"`},
	{"GatewayLogLinesLost", map[string]string{`gateway_log_lines_dropped_total{reason="failed", ` + gatewayTarget + `}`: "0x3 9x10"}, "5m", `instance="a:8081"`},
	{"GatewayEntriesUnreadable", map[string]string{`gateway_unreadable_entries_total{feature="chat", ` + gatewayTarget + `}`: "_x3 1x10"}, "5m", `feature="chat", ` + gatewayTarget},
	{"GatewayJobFails", map[string]string{`gateway_jobs_last_failed{name="temp", ` + gatewayTarget + `}`: "0 1x30"}, "20m", `name="temp", ` + gatewayTarget},
}

// healthy are the series of a node with which no rule fires, in the ten minutes before 30m.
var healthy = map[string]string{
	`up{` + gatewayTarget + `}`:                                                                     "1x40",
	`gateway_redis_state{state="up", ` + gatewayTarget + `}`:                                        "1x40",
	`gateway_redis_moving{` + gatewayTarget + `}`:                                                   "0x40",
	`gateway_redis_server_changes_total{kind="move", ` + gatewayTarget + `}`:                        "0x2 1x40",
	`gateway_redis_server_changes_total{kind="failover", ` + gatewayTarget + `}`:                    "0+1x40",
	`gateway_lock_servers{state="up", ` + gatewayTarget + `}`:                                       "3x40",
	`gateway_lock_servers{state="down", ` + gatewayTarget + `}`:                                     "0x40",
	`gateway_ratelimit_degraded{` + gatewayTarget + `}`:                                             "0x40",
	`gateway_redis_clock_offset_seconds{` + gatewayTarget + `}`:                                     "0.2x40",
	`gateway_redis_pool_timeouts_total{pool="main", ` + gatewayTarget + `}`:                         "7x40",
	`gateway_redis_breaker_open{feature="cache", ` + gatewayTarget + `}`:                            "0x40",
	`gateway_events_total{code="INTERNAL", event="trade:offer", ` + gatewayTarget + `}`:             "3x40",
	`gateway_events_total{code="ok", event="trade:offer", ` + gatewayTarget + `}`:                   "0+500x40",
	`gateway_events_total{code="UNAVAILABLE", event="trade:offer", ` + gatewayTarget + `}`:          "0+1x40",
	`gateway_event_seconds_bucket{le="0.5", event="trade:offer", ` + gatewayTarget + `}`:            "0+100x40",
	`gateway_event_seconds_bucket{le="+Inf", event="trade:offer", ` + gatewayTarget + `}`:           "0+100x40",
	`gateway_warnings{kind="dev_public", ` + gatewayTarget + `}`:                                    "0x40",
	`gateway_settings_differences{` + gatewayTarget + `}`:                                           "0x25 1x5 0x10",
	`gateway_connections{` + gatewayTarget + `}`:                                                    "80x40",
	`gateway_connections_bound{` + gatewayTarget + `}`:                                              "100x40",
	`gateway_tcp_dropped_total{` + gatewayTarget + `}`:                                              "0x40",
	`gateway_connections_closed_total{reason="slow consumer", ` + gatewayTarget + `}`:               "0+1x40",
	`gateway_connections_closed_total{reason="client namespace disconnect", ` + gatewayTarget + `}`: "0+90x40",
	`gateway_client_addresses_unknown_total{` + gatewayTarget + `}`:                                 "4x40",
	`gateway_origins_not_allowed_total{` + gatewayTarget + `}`:                                      "0+0.5x40",
	`gateway_session_touches_pending{` + gatewayTarget + `}`:                                        "150x40",
	`gateway_session_revocations_unfounded_total{` + gatewayTarget + `}`:                            "0x40",
	`gateway_log_missed_total{` + gatewayTarget + `}`:                                               "1x40",
	`gateway_log_unconfirmed_bytes{` + gatewayTarget + `}`:                                          "200000x40",
	`gateway_cluster_nodes{` + gatewayTarget + `}`:                                                  "2x40",
	`gateway_cluster_nodes{job="gateway", instance="b:8081"}`:                                       "2x40",
	`gateway_trade_backlog{` + gatewayTarget + `}`:                                                  "0x40",
	`gateway_webhook_active{` + gatewayTarget + `}`:                                                 "0x28 1x12",
	`gateway_webhook_active{job="gateway", instance="b:8081"}`:                                      "1x28 0x12",
	`gateway_webhook_oldest_seconds{` + gatewayTarget + `}`:                                         "500x40",
	`gateway_webhook_parked_total{` + gatewayTarget + `}`:                                           "4x40",
	`gateway_webhook_dropped{` + gatewayTarget + `}`:                                                "0x28 7x12", // it delivers now, and counts what was dropped before
	`gateway_webhook_dropped{job="gateway", instance="b:8081"}`:                                     "7x28 0x12",
	`gateway_webhook_unwritten{` + gatewayTarget + `}`:                                              "3x40",
	`gateway_log_lines_dropped_total{reason="failed", ` + gatewayTarget + `}`:                       "5x40",
	`gateway_log_lines_dropped_total{reason="flood", ` + gatewayTarget + `}`:                        "0+100x40",
	`gateway_unreadable_entries_total{feature="chat", ` + gatewayTarget + `}`:                       "2x40",
	`gateway_jobs_last_failed{name="temp", ` + gatewayTarget + `}`:                                  "0x25 1x2 0x13",
}

// A ruleTest is one element of `tests` in the file that `promtool test rules` takes.
type ruleTest struct {
	Interval    string       `yaml:"interval"`
	InputSeries []testSeries `yaml:"input_series"`
	AlertTests  []alertTest  `yaml:"alert_rule_test"`
}

type testSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type alertTest struct {
	EvalTime  string          `yaml:"eval_time"`
	AlertName string          `yaml:"alertname"`
	Expected  []expectedAlert `yaml:"exp_alerts"`
}

type expectedAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

func listSeries(series map[string]string) (list []testSeries) {
	for name, values := range series {
		list = append(list, testSeries{name, values})
	}
	return list
}

func readLabels(t *testing.T, text string) map[string]string {
	t.Helper()
	labels := map[string]string{}
	for _, pair := range strings.Split(text, ", ") {
		name, value, ok := strings.Cut(pair, "=")
		require.True(t, ok, pair)
		labels[name] = strings.Trim(value, `"`)
	}
	return labels
}

// findPromtool returns the path of promtool, which scripts/install puts into bin where the system
// has none.
func findPromtool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	path, err := filepath.Abs("../bin/promtool")
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no promtool, on PATH or in bin: `make deps` gets it where it can be had")
	}
	return path
}

// promtool takes the rules, each of them fires when it should, and none fires on a healthy node.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	promtool := findPromtool(t)
	out, err := exec.Command(promtool, "check", "rules", "alerts.yaml").CombinedOutput()
	require.NoError(t, err, string(out))

	rules, quiet := readRules(t), ruleTest{Interval: "1m", InputSeries: listSeries(healthy)}
	byName, tested := map[string]rule{}, map[string]bool{}
	for _, r := range rules {
		byName[r.Alert] = r
		quiet.AlertTests = append(quiet.AlertTests, alertTest{"30m", r.Alert, nil})
	}
	tests := []ruleTest{quiet}
	for _, f := range firings {
		r, ok := byName[f.alert]
		require.True(t, ok, f.alert)
		tested[f.alert] = true
		labels := readLabels(t, f.labels)
		labels["severity"] = r.Labels["severity"]
		tests = append(tests, ruleTest{"1m", listSeries(f.series), []alertTest{{f.at, f.alert, []expectedAlert{{labels, r.Annotations}}}}})
	}
	for name := range byName {
		require.True(t, tested[name], "%s has no test", name)
	}
	alerts, err := filepath.Abs("alerts.yaml")
	require.NoError(t, err)
	b, err := yaml.Marshal(map[string]any{"rule_files": []string{alerts}, "evaluation_interval": "1m", "tests": tests})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "tests.yaml")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	out, err = exec.Command(promtool, "test", "rules", path).CombinedOutput()
	require.NoError(t, err, string(out))
}
