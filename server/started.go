package server

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/version"
)

// announceStart logs with which version and settings the node runs, and records that for operators
// who ask what has changed.
func (n *node) announceStart(ctx context.Context) {
	settings, hash := n.configured.differingSettings(), n.configured.settingsHash()
	n.log.Info("started", zap.String("version", version.String()), zap.String("commit", version.Commit()), zap.String("hash", hash), zap.Any("settings", settings))
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := auditlog.Record(ctx, n.redis.client, auditlog.Act{
		By: "node " + n.name, What: auditlog.Started, Target: n.name, From: hash, To: settingsLines(settings), Why: version.Details(),
	}); err != nil {
		n.log.Warn("the start could not be recorded for operators", zap.Error(err))
	}
}

// settingsLines returns settings as lines of name=value, sorted.
func settingsLines(settings map[string]string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		lines = append(lines, name+"="+settings[name])
	}
	return strings.Join(lines, "\n")
}
