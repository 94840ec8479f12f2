package redisx

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed bind_id.lua
var bindIDLua string

var bindIDScript = NewScript(bindIDLua)

// A Binding is an id that belongs to an operation, whichever node began it first. All that the
// operation makes has this id, so that a second beginning finds it.
type Binding struct {
	ID string
	// IsNew tells that the id was bound by this call.
	IsNew bool
	// BoundAt is when the id was bound, Unix ms by Redis's clock.
	BoundAt int64
	// Age is how long ago that was.
	Age time.Duration
}

// BindID binds an id to the operation whose record is the key, unless another id is bound to it
// already. replaces is "", or an id of which nothing can come any more: a new id takes its place.
// The record is kept for the time keep.
func BindID(ctx context.Context, rdb redis.UniversalClient, key, id, replaces string, keep time.Duration) (Binding, error) {
	reply, err := bindIDScript.Do(ctx, rdb, []string{key}, id, keep.Milliseconds(), replaces).StringSlice()
	if err != nil {
		return Binding{}, err
	}
	if len(reply) != 3 {
		return Binding{}, fmt.Errorf("redisx: bind an id: unexpected reply %q", reply)
	}
	at, err := strconv.ParseInt(reply[1], 10, 64)
	if err != nil {
		return Binding{}, fmt.Errorf("redisx: bind an id: %w", err)
	}
	now, err := strconv.ParseInt(reply[2], 10, 64)
	if err != nil {
		return Binding{}, fmt.Errorf("redisx: bind an id: %w", err)
	}
	return Binding{ID: reply[0], IsNew: reply[0] == id, BoundAt: at, Age: time.Duration(now-at) * time.Millisecond}, nil
}
