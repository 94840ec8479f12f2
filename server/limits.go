package server

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/sdnotify"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/throttle"
)

// limiterConfig returns how this node limits.
func (n *node) limiterConfig() throttle.Config {
	return throttle.Config{
		Budget: n.cfg.LimitTimeout, NoLocal: n.cfg.NoLocalLimits, Node: n.name, Settings: n.cfg.sharedSettings(), OnDifference: n.settingDiffers,
		Nodes: func() int {
			if n.gateway == nil {
				return 1
			}
			return n.gateway.Nodes()
		},
		OnChange: n.limiterChanged,
		OnError: func(r *http.Request, err error) {
			p, _ := gateway.PlayerOf(r)
			n.log.Error("request could not be limited", zap.String("path", cutPath(r.URL.Path)), zap.String("user", p.UserID),
				zap.String("session", identity.SessionTag(p.SessionID)), zap.Error(err))
		},
		OnRefresh: func(err error) { n.log.Warn("limits set at run time may be out of date", zap.Error(err)) },
		OnPolicies: func(changes []throttle.PolicyChange) {
			for _, c := range changes {
				n.log.Info("limits changed", zap.String("policy", c.Policy), zap.String("from", c.From), zap.String("to", c.To),
					zap.String("by", c.By))
			}
			n.gateway.ResendLimits()
		},
	}
}

// sharedSettings are those, besides the limits, that must be the same on all nodes: what one node
// promises a player or holds, the next one must honour.
func (c *Config) sharedSettings() map[string]string {
	locks := make([]string, len(c.LockRedisURLs))
	for i, url := range c.LockRedisURLs {
		locks[i] = redisconn.Redact(url)
	}
	slices.Sort(locks)
	return map[string]string{
		"--lock-redis":           strings.Join(locks, " "),
		"--trade-durability":     string(c.TradeDurability),
		"--session-ttl":          c.SessionTTL.String(),
		"--session-absolute-ttl": c.SessionAbsoluteTTL.String(),
		"--devices":              c.Devices,
		"--recovery":             max(0, c.Recovery).String(),
		"--recovery-memory":      strconv.Itoa(c.RecoveryMemory),
		"--webhook-url":          c.WebhookURL,
		"--webhook-events":       strings.Join(c.WebhookEvents, " "),
	}
}

// settingDiffers is called once for each setting that another node has differently.
func (n *node) settingDiffers(d throttle.Difference) {
	n.log.Warn("a setting that must be the same on all nodes is not", zap.String("setting", d.Setting),
		zap.String("here", d.Here), zap.String("there", d.There), zap.String("node", d.Node))
}

// limiterChanged is called when limits begin or cease to be local. That also happens while Redis is
// only slow, when redisChanged is not called.
func (n *node) limiterChanged(local bool, cause error) {
	if local {
		n.log.Warn("limits are kept in this process: redis does not answer in time", zap.Bool("local", true), zap.Error(cause))
	} else {
		n.log.Warn("limits are kept in Redis again", zap.Bool("local", false))
	}
	n.status.sendChanges(n.redis.monitor.State(), n.redis.limiter.Degraded)
}

// publishLimits reads the limits that operators have set, and stores the configured ones for the
// operators' commands. Without Redis the node uses the configured ones, and the limiter reads the
// others later.
func (n *node) publishLimits(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := errors.Join(n.redis.limiter.Refresh(ctx), n.redis.limiter.Publish(ctx)); err != nil {
		n.log.Warn("limits set at run time could not be read", zap.Error(err))
	}
}

// reloadSettings reads again at every SIGHUP what can change while the node runs: the configured
// limits, the level of the log, how long a drain takes, and the files of secrets. What is wrong
// changes nothing. What has changed and can not follow is named.
func (n *node) reloadSettings(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.hangups:
		}
		n.notifyManager(sdnotify.Reloading())
		n.reloadOnce(ctx)
		n.notifyManager(sdnotify.Ready)
	}
}

// catchHangups keeps SIGHUP from ending the process, where settings can be read again. One that
// comes before the node serves is handled when it does.
func (n *node) catchHangups() (stop func()) {
	if n.cfg.ReloadPolicies == nil && n.cfg.Reload == nil {
		return func() {}
	}
	n.hangups = make(chan os.Signal, 1)
	signal.Notify(n.hangups, syscall.SIGHUP)
	return func() { signal.Stop(n.hangups) }
}

// reloadOnce reads the secrets and the settings again.
func (n *node) reloadOnce(ctx context.Context) {
	if err := n.logins.reloadSecrets(ctx, &n.cfg); err != nil {
		n.log.Error("secrets could not be read again: the old ones stay", zap.Error(err))
	} else if n.logins.tokens != nil || n.logins.express != nil {
		n.log.Info("settings read again: secrets")
	}
	n.reloadAPIKeys()
	n.reloadBackendSecrets(true)
	n.reloadWebhookSecrets()
	n.reloadTLS()
	policies, err := n.reloadConfig()
	if err == nil {
		err = n.redis.limiter.SetPolicies(policies)
	}
	if err != nil {
		n.log.Error("settings could not be read again", zap.Error(err))
		return
	}
	n.log.Info("settings read again: limits")
	n.publishLimits(ctx)
}

// followers are the settings that follow a SIGHUP, by flag.
var followers = map[string]bool{"limit": true, "log-level": true, "drain-for": true, "trace-sample": true}

// reloadConfig reads the settings again, lets those that can follow, names the others that have
// changed, and returns the limits.
func (n *node) reloadConfig() ([]throttle.Policy, error) {
	if n.cfg.Reload == nil {
		return n.cfg.ReloadPolicies()
	}
	fresh, err := n.cfg.Reload()
	if err != nil {
		return nil, err
	}
	fresh = fresh.WithDefaults()
	if err := fresh.check(); err != nil {
		return nil, err
	}
	was, now := n.configured.settings(), fresh.settings()
	var followed, left []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		switch {
		case was[name] == now[name] || name == "limit":
		case followers[name]:
			followed = append(followed, name)
		default:
			left = append(left, name)
		}
	}
	if err := n.logLevel.UnmarshalText([]byte(fresh.LogLevel)); err != nil {
		return nil, usage.Errorf("--log-level: %w", err)
	}
	n.drainFor.Store(int64(fresh.DrainFor))
	n.tracer.SetShare(fresh.TraceSample)
	n.settingsMu.Lock()
	n.configured.LogLevel, n.configured.DrainFor, n.configured.Policies, n.configured.TraceSample = fresh.LogLevel, fresh.DrainFor, fresh.Policies, fresh.TraceSample
	n.settingsMu.Unlock()
	if len(followed) > 0 {
		n.log.Info("settings read again", zap.Strings("settings", followed))
	}
	if len(left) > 0 {
		n.log.Warn("settings have changed that need a restart: the old ones stay", zap.Strings("settings", left))
	}
	return fresh.Policies, nil
}

// currentConfig returns the settings that are in force.
func (n *node) currentConfig() Config {
	n.settingsMu.Lock()
	defer n.settingsMu.Unlock()
	return n.configured
}
