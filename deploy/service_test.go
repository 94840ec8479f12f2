package deploy_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// The unit survives a Redis that is away, tells systemd how it is, reloads, and leaves time for the
// drain.
func TestUnit(t *testing.T) {
	t.Parallel()
	unit := map[string]string{}
	for line := range strings.Lines(readFile(t, "gateway.service")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			unit[name] = value
		}
	}
	require.Equal(t, "0", unit["StartLimitIntervalSec"], "systemd never gives up")
	require.Equal(t, "always", unit["Restart"])
	require.Equal(t, "notify", unit["Type"])
	require.Equal(t, "/bin/kill -HUP $MAINPID", unit["ExecReload"])
	require.NotContains(t, unit["ExecStart"], "--redis-wait", "by default it waits for ever")
	watchdog, err := strconv.Atoi(unit["WatchdogSec"])
	require.NoError(t, err)
	require.GreaterOrEqual(t, watchdog, 10)
	stop, err := strconv.Atoi(unit["TimeoutStopSec"])
	require.NoError(t, err)
	require.GreaterOrEqual(t, stop, 10+15, "--drain-for, and time to end")
	require.Equal(t, "mixed", unit["KillMode"])
}

// maxExposure is what `systemd-analyze security` may say of the unit; 0 is a service that may do
// nothing.
const maxExposure = 1.1

func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "./gateway.service").CombinedOutput()
	if err != nil && strings.Contains(string(out), "unrecognized option") {
		t.Skip("systemd-analyze is older than 250")
	}
	found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(string(out))
	require.Len(t, found, 2, "%v %s", err, out)
	exposure, err := strconv.ParseFloat(found[1], 64)
	require.NoError(t, err)
	t.Log("exposure", exposure)
	require.LessOrEqual(t, exposure, maxExposure)

	out, _ = exec.Command(analyze, "verify", "./gateway.service").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "gateway.service:") {
			require.Contains(t, line, "is not executable", "which is not installed here")
		}
	}
}

// A composeService is a service of compose.yaml.
type composeService struct {
	Restart     string `yaml:"restart"`
	Healthcheck struct {
		Test    []string `yaml:"test"`
		Timeout string   `yaml:"timeout"`
	} `yaml:"healthcheck"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Grace       string            `yaml:"stop_grace_period"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Build       struct {
		Dockerfile string            `yaml:"dockerfile"`
		Args       map[string]string `yaml:"args"`
	} `yaml:"build"`
}

// Each service of the compose file is started again, says how it is, and waits for what it needs.
// A gateway is not unhealthy because Redis is away.
func TestCompose(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]composeService `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(readFile(t, "compose.yaml")), &file))
	require.Len(t, file.Services, 5)
	for name, s := range file.Services {
		require.Equal(t, "unless-stopped", s.Restart, name)
		for other, on := range s.DependsOn {
			require.Contains(t, file.Services, other, name)
			require.Equal(t, "service_healthy", on.Condition, name)
			require.NotEmpty(t, file.Services[other].Healthcheck.Test, other)
		}
		if !strings.HasPrefix(name, "gateway-") {
			continue
		}
		require.Equal(t, []string{"CMD", "/gateway", "health"}, s.Healthcheck.Test, "and not --ready")
		require.Contains(t, s.DependsOn, "redis")
		require.Contains(t, file.Services["balancer"].DependsOn, name)
		grace, err := time.ParseDuration(s.Grace)
		require.NoError(t, err)
		require.GreaterOrEqual(t, grace, 25*time.Second, "--drain-for, and time to end")
		require.Empty(t, s.Ports, "players come through the balancer, and operators through docker exec")
		require.NotContains(t, s.Environment, "GATEWAY_ADMIN_ADDR")
		require.Equal(t, "deploy/Containerfile", s.Build.Dockerfile)
	}
}
