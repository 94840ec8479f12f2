package throttle

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed spend.lua
var spendLua string

//go:embed spend_once.lua
var spendOnceLua string

//go:embed giveback.lua
var giveBackLua string

//go:embed adjust.lua
var adjustLua string

var (
	spendScript = newSpendScript(spendLua)
	// spendOnceScript is spend.lua behind a look at the record of an event that is done once.
	spendOnceScript = redisx.NewMergingScript(redisx.ScriptParts{
		Before: "local clock\n" + record.Functions + "local function spend(KEYS, ARGV)\n" + spendLua + "end\n",
		Each:   spendOnceLua, MaxMerged: maxBatch,
	})
	giveBackScript = redisx.NewScript(giveBackLua)
	adjustScript   = redisx.NewScript(adjustLua)
)

// newSpendScript makes spend.lua run for many events at once: they share the clock, and most of
// them their arguments, which are those of the policy.
func newSpendScript(lua string) *redisx.Script {
	return redisx.NewMergingScript(redisx.ScriptParts{
		Before: "local clock\n", Each: lua, MaxMerged: maxBatch, SharesArgs: true,
	})
}

var (
	errBudget          = errors.New("throttle: Redis did not answer in time")
	errBusy            = errors.New("throttle: too many calls wait for Redis")
	errUnexpectedReply = errors.New("throttle: unexpected reply from the script")
)

// maxBatch is how many events go to Redis at once.
const maxBatch = 256

// A store spends events in Redis: many together, in one call or on a Cluster in one pipeline.
type store struct {
	rdb     redis.UniversalClient
	batches *redisx.Batcher[spendRequest]
	// run sends calls. On a Cluster windows lie on several servers, so each is a call of its own.
	run func(ctx context.Context, rdb redis.UniversalClient, calls ...*redisx.Call)
}

// newStore makes a store whose callers wait for budget at most, whatever the client does with
// deadlines.
func newStore(rdb redis.UniversalClient, budget time.Duration, isCluster bool) *store {
	s := &store{rdb: rdb, run: redisx.RunMerged}
	if isCluster {
		s.run = redisx.RunScripts
	}
	s.batches = redisx.NewBatcher(redisx.BatchLimits{
		MaxBatch: maxBatch, MaxWaiting: 16384, MaxWorkers: 2, NextWorkerAt: 1, Timeout: budget, Patience: budget,
	}, s.spendBatch)
	return s
}

// A spendRequest is one event, and what Redis says about it.
type spendRequest struct {
	call        redisx.Call     // spends all windows, or on a Cluster the first
	others      []clusterWindow // on a Cluster: the further windows
	cost        int             // of the first window, where there are others
	isOnce      bool            // call looks at a record too
	isUnclaimed bool            // and does not claim it
	verdict     verdict
	err         error
}

// A clusterWindow is a window that is spent by a call of its own.
type clusterWindow struct {
	call redisx.Call
	cost int
}

// spendEvent asks Redis about an event. It returns within the budget; the caller is charged for an
// event that was sent, also when the answer comes too late.
func (s *store) spendEvent(ctx context.Context, request spendRequest) (verdict, error) {
	served, err := s.batches.Do(ctx, request)
	switch {
	case errors.Is(err, redisx.ErrTooSlow):
		return verdict{}, errBudget
	case errors.Is(err, redisx.ErrBusy):
		return verdict{}, errBusy
	case err != nil:
		return verdict{}, err
	}
	return served.verdict, served.err
}

// spendBatch asks Redis once about all events of a batch.
func (s *store) spendBatch(ctx context.Context, batch []*spendRequest) {
	calls := make([]*redisx.Call, 0, len(batch))
	for _, r := range batch {
		calls = append(calls, &r.call)
		for i := range r.others {
			calls = append(calls, &r.others[i].call)
		}
	}
	s.run(ctx, s.rdb, calls...)
	for _, r := range batch {
		r.err = r.readVerdict()
		if len(r.others) > 0 && (r.err != nil || r.verdict.refused >= 0) {
			s.giveBack(ctx, r)
		}
	}
}

// giveBack undoes, on a Cluster, what an event spent before one of its policies refused. Where that
// fails the charge stays: the limit is too strict for a window, and never too lax.
func (s *store) giveBack(ctx context.Context, r *spendRequest) {
	giveBackOne := func(call *redisx.Call, cost int) {
		if stamp, isCharged := readStamp(call); isCharged {
			_ = giveBackScript.Do(ctx, s.rdb, call.Keys, stamp, cost).Err()
		}
	}
	giveBackOne(&r.call, r.cost)
	for i := range r.others {
		giveBackOne(&r.others[i].call, r.others[i].cost)
	}
}

// readStamp tells whether a window was charged, and when; spend.lua says so where it was asked for
// the long answer.
func readStamp(call *redisx.Call) (stamp int64, isCharged bool) {
	numbers, err := call.Int64Slice()
	if err != nil || len(numbers) != 3 || numbers[0] != 0 {
		return 0, false
	}
	return numbers[2], true
}

// spendInRedis asks Redis about an event. One script takes all windows, except on a Cluster.
func (l *Limiter) spendInRedis(ctx context.Context, targets []target) (verdict, error) {
	newCall := func(targets []target, args []any) redisx.Call {
		return redisx.Call{Script: spendScript, Keys: windowKeys(targets), Args: args}
	}
	var request spendRequest
	switch {
	case len(targets) == 1 && l.stamp == nil:
		request.call = newCall(targets, targets[0].rule.args)
	case l.cfg.Cluster:
		isLong := len(targets) > 1
		request.call, request.cost = newCall(targets[:1], l.spendArgs(targets[:1], isLong)), targets[0].rule.cost
		for i := range targets[1:] {
			one := targets[i+1 : i+2]
			request.others = append(request.others, clusterWindow{newCall(one, l.spendArgs(one, isLong)), one[0].rule.cost})
		}
	default:
		request.call = newCall(targets, l.spendArgs(targets, false))
	}
	return l.store.spendEvent(ctx, request)
}

// spendOnceInRedis is spendInRedis for an event that is done once: one script looks at its record,
// spends, and claims the record. It is not for a Cluster, where these lie in several slots.
func (l *Limiter) spendOnceInRedis(ctx context.Context, targets []target, look record.Look) (verdict, error) {
	args := l.spendArgs(targets, false)
	if len(targets) == 1 && l.stamp == nil {
		args = targets[0].rule.args
	}
	return l.store.spendEvent(ctx, spendRequest{isOnce: true, isUnclaimed: look.Unclaimed, call: redisx.Call{
		Script: spendOnceScript, Keys: append(windowKeys(targets), look.Key), Args: append(look.ArgsAndClaim(!look.Unclaimed), args...),
	}})
}

// windowKeys are the keys of the targets' windows.
func windowKeys(targets []target) []string {
	ks := make([]string, len(targets), len(targets)+1)
	for i, t := range targets {
		ks[i] = keys.RateLimit(t.subject, t.policy.name)
	}
	return ks
}

// spendArgs are those of spend.lua for several windows, or for one whose stamp is wanted.
func (l *Limiter) spendArgs(targets []target, wantsStamp bool) []any {
	isSpecial := false
	args := make([]any, 0, 2+4*len(targets))
	for _, t := range targets {
		args = append(args, t.rule.limit, t.rule.window.Milliseconds())
		isSpecial = isSpecial || t.rule.isSpecial()
	}
	if !isSpecial && !wantsStamp && l.stamp == nil {
		return args
	}
	var now any = ""
	if l.stamp != nil {
		now = l.stamp()
	}
	long := ""
	if wantsStamp {
		long = "stamp"
	}
	args = append(args, now, long)
	if isSpecial {
		for _, t := range targets {
			args = append(args, t.rule.cost, t.rule.keep.Milliseconds())
		}
	}
	return args
}

// A verdict is what Redis says about an event.
type verdict struct {
	refused   int            // index of the target that refused, or -1
	remaining [maxSpends]int // of each target that was judged
	untilOne  int64          // of a refusal: ms until the event is admitted
	untilAll  int64          // of a refusal: ms until the whole limit is there again
	found     record.Found   // of an event that is done once
}

// readVerdict takes the replies to an event's calls apart.
func (r *spendRequest) readVerdict() error {
	r.verdict.refused = -1
	windows := len(r.call.Keys)
	if r.isOnce {
		windows-- // the last key is the record
		if found, ok := record.Parse(r.call.Val()); ok {
			r.verdict.found = found
			return r.call.Err()
		}
	}
	if err := r.verdict.addReply(&r.call, 0, windows); err != nil {
		return err
	}
	for i := range r.others {
		if err := r.verdict.addReply(&r.others[i].call, i+1, 1); err != nil {
			return err
		}
	}
	if r.isOnce {
		r.verdict.found.State = record.Claimed
		if r.verdict.refused >= 0 || r.isUnclaimed {
			r.verdict.found.State = record.Missing
		}
	}
	return nil
}

// addReply reads the reply to one call, whose windows are so many targets from first on.
func (v *verdict) addReply(call *redisx.Call, first, windows int) error {
	reply, err := call.Result()
	if err != nil {
		return fmt.Errorf("spend: %w", err)
	}
	if n, ok := reply.(int64); ok && n >= 0 && windows == 1 {
		v.remaining[first] = int(n)
		return nil
	}
	numbers, err := call.Int64Slice()
	switch {
	case err != nil || len(numbers) < 3 || numbers[0] < 0 || numbers[0] > int64(windows):
		return errUnexpectedReply
	case numbers[0] > 0 && v.refused < 0:
		v.refused, v.untilOne, v.untilAll = first+int(numbers[0])-1, numbers[1], numbers[2]
		if len(numbers) > 3 {
			v.remaining[v.refused] = int(numbers[3])
		}
	case numbers[0] == 0 && len(numbers) == windows+2:
		for k := range windows {
			v.remaining[first+k] = int(numbers[1+k])
		}
	}
	return nil
}

// isOnlyThisKey tells whether the server works and only this window is unusable, because its key
// has a value of another type. Every other error means that the store cannot be used now.
func isOnlyThisKey(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.Contains(reply.Error(), "WRONGTYPE")
}
