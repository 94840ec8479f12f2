package throttle

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// A bundle is one call to Redis: of spend.lua for one request, of many.lua for several.
type bundle struct {
	requests []*request
	plan     []byte // of each request, which of the lists is its own, from 1
	lists    []list
	windows  int // of all requests
	cmd      *redis.Cmd
}

// A list is the arguments that some of the requests have in common.
type list struct {
	windows int
	args    []any
}

// maxLists is how many lists a plan can tell apart.
const maxLists = 255

func newBundle(r *request) *bundle {
	b := &bundle{}
	b.add(r)
	return b
}

// add takes one more request, unless its arguments are one list too many.
func (b *bundle) add(r *request) bool {
	i := slices.IndexFunc(b.lists, func(l list) bool {
		return l.windows == len(r.keys) && len(l.args) == len(r.args) && (&l.args[0] == &r.args[0] || slices.Equal(l.args, r.args))
	})
	if i < 0 {
		if i = len(b.lists); i == maxLists {
			return false
		}
		b.lists = append(b.lists, list{len(r.keys), r.args})
	}
	b.requests, b.plan = append(b.requests, r), append(b.plan, byte(i+1))
	b.windows += len(r.keys)
	return true
}

// command is the call; with load for a server that does not know the script yet.
func (b *bundle) command(ctx context.Context, load bool) *redis.Cmd {
	if len(b.requests) == 1 {
		return spendScript.command(ctx, load, b.requests[0].keys, b.requests[0].args...)
	}
	ks := make([]string, 0, b.windows)
	for _, r := range b.requests {
		ks = append(ks, r.keys...)
	}
	args := make([]any, 0, 1+4*len(b.lists))
	args = append(args, b.plan)
	for _, l := range b.lists {
		args = append(append(args, l.windows, len(l.args)), l.args...)
	}
	return manyScript.command(ctx, load, ks, args...)
}

// distribute gives each request its reply, or why there is none.
func (b *bundle) distribute() {
	reply, err := b.cmd.Result()
	if len(b.requests) == 1 {
		b.requests[0].reply, b.requests[0].err = reply, err
		return
	}
	replies, ok := reply.([]any)
	if err == nil && (!ok || len(replies) != len(b.requests)) {
		err = errReply
	}
	for i, r := range b.requests {
		if r.err = err; err != nil {
			continue
		}
		if why, failed := replies[i].(string); failed {
			r.err = redisx.CallError(why)
		} else {
			r.reply = replies[i]
		}
	}
}
