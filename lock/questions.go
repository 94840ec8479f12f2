package lock

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// A question is one call that acquires or releases a lock on the only server of a manager. The
// questions of many callers share a call of a script.
type question struct {
	attempt   *attempt
	call      redisx.Call
	isRelease bool

	mu         sync.Mutex
	n          int64 // guarded by mu
	err        error // guarded by mu
	isAnswered bool  // guarded by mu
}

func (q *question) setAnswer(n int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.n, q.err, q.isAnswered = n, err, true
}

func (q *question) answer() (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isAnswered {
		return 0, context.DeadlineExceeded
	}
	return q.n, q.err
}

// newQuestionBatcher returns nil unless one server has all locks: of several servers each must get
// its command, also when the others have decided, and on a Cluster a node that hangs must hold up
// only its own locks.
func (m *Manager) newQuestionBatcher() *redisx.Batcher[*question] {
	if len(m.clients) > 1 {
		return nil
	}
	client := redisx.SingleServer(m.clients[0])
	if client == nil {
		return nil
	}
	// A second pipeline only where many wait, because a caller may ask for a lock before Redis has
	// answered its release: see Lease.Release.
	limits := redisx.BatchLimits{MaxBatch: 64, MaxWaiting: 16384, MaxWorkers: 2, NextWorkerAt: 64, Timeout: m.cfg.Timeout}
	respectsContexts := client.Options().ContextTimeoutEnabled
	if respectsContexts {
		limits.Timeout /= 2 // the other half is for asking again: see askTogether
	}
	return redisx.NewBatcher(limits, func(ctx context.Context, batch []**question) {
		questions := make([]*question, 0, len(batch))
		for _, isRelease := range []bool{true, false} { // a release may be of the lock that another one asks for
			for _, q := range batch {
				if (*q).isRelease == isRelease {
					questions = append(questions, *q)
				}
			}
		}
		if respectsContexts {
			m.askTogether(ctx, client, questions)
			return
		}
		answered := make(chan struct{})
		m.tasks.startTask(func() {
			defer close(answered)
			m.askTogether(ctx, client, questions)
		})
		select {
		case <-answered:
		case <-ctx.Done():
		}
	})
}

// askTogether asks the questions in one pipeline, in their order, until ctx ends. Those that have
// no answer then are asked again for half of Config.Timeout, over another connection: one
// connection that is stuck must not fail all the callers who share it.
func (m *Manager) askTogether(ctx context.Context, client *redis.Client, questions []*question) {
	calls := make([]*redisx.Call, len(questions))
	for i, q := range questions {
		calls[i] = &q.call
	}
	redisx.RunMerged(ctx, client, calls...)
	var again []*redisx.Call
	for i, q := range questions {
		if _, err := calls[i].Int64(); isLostAnswer(err) {
			// The client does not repeat a pipeline with a release by itself: see releaseOnce.
			script := q.call.Script
			if q.isRelease {
				script = releaseScript
			}
			calls[i] = &redisx.Call{Script: script, Keys: q.call.Keys, Args: q.call.Args}
			again = append(again, calls[i])
		}
	}
	if len(again) > 0 {
		retrying, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Timeout/2)
		redisx.RunMerged(retrying, client, again...)
		cancel()
	}
	for i, q := range questions {
		n, err := calls[i].Int64()
		if q.isRelease && calls[i] != &q.call {
			n = judgeRetriedRelease(n, err)
		}
		q.setAnswer(n, err)
		if !q.isRelease && (n > 0 || err != nil) && q.attempt.ended.Load() { // its caller may have given up before this answer
			m.tasks.startTask(func() { q.attempt.servers[0].freeOnServer(ctx) })
		}
	}
}

// isLostAnswer tells whether a call may have run without an answer.
func isLostAnswer(err error) bool {
	if err == nil {
		return false
	}
	var reply redis.Error
	return !errors.As(err, &reply)
}

// askBatch asks a question together with those of other callers. queued, if not nil, is called when
// the question has its place before all later ones.
func (c *serverConn) askBatch(isRelease bool, queued func(), script *redisx.Script, lockKeys []string, args ...any) (int64, error) {
	q := &question{attempt: c.attempt, isRelease: isRelease, call: redisx.Call{Script: script, Keys: lockKeys, Args: args}}
	_, err := c.manager.questions.DoQueued(c.ctx, q, queued)
	switch {
	case isRelease && errors.Is(err, redisx.ErrBusy): // also after Close: what is held is freed all the same
		return c.askServer(c.ctx, c.releaseOnce)
	case err != nil:
		return 0, err
	}
	return q.answer()
}
