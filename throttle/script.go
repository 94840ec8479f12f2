package throttle

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts so
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

//go:embed spend.lua
var spendSource string

//go:embed many.lua
var manyFrame string

// manySource is many.lua with spend.lua in its place.
var manySource = strings.Replace(manyFrame, "-- here stands spend.lua\n", spendSource, 1)

//go:embed giveback.lua
var giveBackSource string

//go:embed adjust.lua
var adjustSource string

type script struct{ source, sha string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec
	return script{source, hex.EncodeToString(sum[:])}
}

var (
	spendScript    = newScript(spendSource)
	manyScript     = newScript(manySource)
	giveBackScript = newScript(giveBackSource)
	adjustScript   = newScript(adjustSource)
)

// command is EVALSHA, or EVAL for a server that does not know the script yet.
func (s script) command(ctx context.Context, load bool, keys []string, args ...any) *redis.Cmd {
	a := make([]any, 0, 3+len(keys)+len(args))
	if load {
		a = append(a, "eval", s.source)
	} else {
		a = append(a, "evalsha", s.sha)
	}
	a = append(a, len(keys))
	for _, k := range keys {
		a = append(a, k)
	}
	return redis.NewCmd(ctx, append(a, args...)...)
}

// run calls the script, and brings it along where the server does not know it.
func (s script) run(ctx context.Context, rdb redis.UniversalClient, key string, args ...any) *redis.Cmd {
	cmd := s.command(ctx, false, []string{key}, args...)
	if err := rdb.Process(ctx, cmd); unknownScript(err) {
		cmd = s.command(ctx, true, []string{key}, args...)
		_ = rdb.Process(ctx, cmd) // the command holds the error
	}
	return cmd
}

// A request is what spend.lua is asked of an event: several windows on one server, or one
// window on a Cluster.
type request struct {
	keys []string
	args []any
	cost int // of a window on a Cluster

	reply any // of spend.lua: a number or a list of them; nil while it was not asked
	err   error
}

// spendRedis asks Redis. One script takes all windows, except on a Cluster.
func (l *Limiter) spendRedis(ctx context.Context, ts []target) (verdict, error) {
	c := newCall()
	switch {
	case len(ts) == 1 && l.stamp == nil:
		c.requests = append(c.requests, request{keys: windows(ts), args: ts[0].rule.args})
	case l.cfg.Cluster:
		for i := range ts {
			c.requests = append(c.requests, request{keys: windows(ts[i : i+1]), args: l.arguments(ts[i:i+1], len(ts) > 1), cost: ts[i].rule.cost})
		}
	default:
		c.requests = append(c.requests, request{keys: windows(ts), args: l.arguments(ts, false)})
	}
	l.redis.submit(c)
	return c.wait(ctx, l.cfg.Budget)
}

func windows(ts []target) []string {
	ks := make([]string, len(ts))
	for i, t := range ts {
		ks[i] = keys.RateLimit(t.subject, t.policy.name)
	}
	return ks
}

// arguments are those of spend.lua for several windows, or for one whose stamp is wanted.
func (l *Limiter) arguments(ts []target, stamp bool) []any {
	special := false
	args := make([]any, 0, 2+4*len(ts))
	for _, t := range ts {
		args = append(args, t.rule.limit, t.rule.window.Milliseconds())
		special = special || t.rule.special()
	}
	if !special && !stamp && l.stamp == nil {
		return args
	}
	var now any = ""
	if l.stamp != nil {
		now = l.stamp()
	}
	long := ""
	if stamp {
		long = "stamp"
	}
	args = append(args, now, long)
	if special {
		for _, t := range ts {
			args = append(args, t.rule.cost, t.rule.keep.Milliseconds())
		}
	}
	return args
}

// verdict is what Redis says about an event.
type verdict struct {
	refused  int            // index of the target that refused, or -1
	left     [maxSpends]int // of each target that was judged
	one, all int64          // of the refusal: ms until the event, until all are admitted
}

var errReply = errors.New("throttle: unexpected reply from the script")

// read takes the replies of an event's requests apart.
func (v *verdict) read(rs []request) error {
	v.refused = -1
	for i := range rs {
		r := &rs[i]
		if r.err != nil {
			return fmt.Errorf("spend: %w", r.err)
		}
		if n, ok := r.reply.(int64); ok && n >= 0 && len(r.keys) == 1 {
			v.left[i] = int(n)
			continue
		}
		a, ok := r.numbers()
		switch {
		case !ok || len(a) < 3 || a[0] < 0 || a[0] > int64(len(r.keys)):
			return errReply
		case a[0] > 0 && v.refused < 0:
			v.refused, v.one, v.all = i+int(a[0])-1, a[1], a[2]
			if len(a) > 3 {
				v.left[v.refused] = int(a[3])
			}
		case a[0] == 0 && len(a) == len(r.keys)+2:
			for k := range r.keys {
				v.left[i+k] = int(a[1+k])
			}
		}
	}
	return nil
}

// numbers are those of a reply that is a list.
func (r *request) numbers() ([]int64, bool) {
	list, _ := r.reply.([]any)
	out := make([]int64, len(list))
	for i, v := range list {
		n, ok := v.(int64)
		if !ok {
			return nil, false
		}
		out[i] = n
	}
	return out, len(out) > 0
}

// spent are the requests that were charged, with their stamps.
func spent(rs []request, each func(key string, stamp int64, cost int)) {
	for i := range rs {
		if a, ok := rs[i].numbers(); ok && len(a) == 3 && a[0] == 0 {
			each(rs[i].keys[0], a[2], rs[i].cost)
		}
	}
}

func unknownScript(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT")
}

// onlyThisKey tells that the server is well and only this window is not: something else
// lives under its key. Every other error means that the store can not be used now.
func onlyThisKey(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.Contains(reply.Error(), "WRONGTYPE")
}
