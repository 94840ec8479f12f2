package server

import (
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/jobs"
)

// makeJobs is this node's part in the work.
func (n *node) makeJobs() {
	n.chores = jobs.New(n.rdb, housekeeping.Leases{Manager: n.locks}, jobs.Config{Node: n.name, Failed: n.jobFailed}, housekeeping.Jobs(n.rdb, n.locks, n.store, n.cache, n.boards)...)
}

func (n *node) jobFailed(job string, err error) {
	n.log.Warn("job failed", zap.String("job", job), zap.Error(err))
}
