// Package jobs does periodic work once in a cluster of nodes.
//
//	runner := jobs.New(rdb, leases, jobs.Config{Node: "a"}, jobs.Job{
//		Name: "sweep", Every: 5 * time.Minute, Run: func(ctx context.Context) error { … },
//	})
//	err := runner.Run(ctx)
//
// # States of a node, for each job
//
//	follower   asks for the job's lease at every look (Config.Look, with jitter)
//	leader     holds the lease, which is extended while the node lives; at every look it runs
//	           the job when that is due by what Redis says of the last run, anywhere
//
// A leader that stops gives its leases back: the next look of another node takes over. One that dies
// keeps them until they run out, and nobody runs the job meanwhile. A run of its own lease ends with it: a
// node that was paused does not go on beside the next leader for longer than it takes to notice.
//
// # What is promised
//
//   - Two runs of a job do not overlap, as far as leases hold (see package lock): work should be
//     harmless when done twice.
//   - A job runs every Every and up to Jitter of that later; not at once after a takeover, but when it is due.
//   - What failed is run again when it is due again, and its error is told to Config.Failed, kept
//     in Redis and in the metrics.
package jobs
