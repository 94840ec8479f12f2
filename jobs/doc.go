// Package jobs runs periodic work on one node of a cluster.
//
//	runner := jobs.New(rdb, leases, jobs.Config{Node: "a"}, jobs.Job{
//		Name: "sweep", Every: 5 * time.Minute, Run: func(ctx context.Context) error { … },
//	})
//	err := runner.Run(ctx)
//
// # States of a node, for each job
//
//	follower   tries to take the lease of the job at every check (Config.CheckEvery, with jitter)
//	leader     holds the lease, which is extended while the node lives. At every check it runs the
//	           job if that is due, counted from the last run on any node, as Redis has it
//
// A leader that stops releases its leases, and the next check of another node takes over. A leader
// that dies keeps its leases until they expire, and nobody runs its jobs until then. The context of
// a run ends when the leader loses its lease. So a node that was paused does not work beside the
// next leader for longer than it takes to notice.
//
// # What is promised
//
//   - Two runs of a job do not overlap, as far as leases hold (see package lock). So a job should
//     do no harm when it runs twice.
//   - A job runs once every Every, or up to Jitter of that later. A takeover is no reason to run.
//   - A job that failed runs again when it is due again. Its error goes to Config.Failed, to Redis
//     and to the metrics.
//
// # What fails
//
// While Redis does not answer, no lease is taken and no job runs; each check reports the error to
// Config.Failed. A job that panics fails with an error. RunNow returns ErrUnknown and ErrRunning.
package jobs
