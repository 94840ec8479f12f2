package combat_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// rooms is the gateway of one node. It records the members of the rooms, and what was cast.
type rooms struct {
	mu    sync.Mutex
	in    map[string]map[string]bool // room → connections
	casts []cast
	fail  error // when it is set, every method returns it

	beforeJoin func() // called first in Join; may be nil
}

type cast struct {
	room, except, event string
	payload             any
}

func newRooms() *rooms { return &rooms{in: map[string]map[string]bool{}} }

func (r *rooms) Join(_ context.Context, conn, room string) (int, error) {
	if r.beforeJoin != nil {
		r.beforeJoin()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.in[room] == nil {
		r.in[room] = map[string]bool{}
	}
	r.in[room][conn] = true
	return len(r.in[room]), r.fail
}

func (r *rooms) Leave(_ context.Context, conn, room string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.in[room], conn)
	return len(r.in[room]), r.fail
}

func (r *rooms) CastExcept(_ context.Context, room, except, event string, payload any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.casts = append(r.casts, cast{room, except, event, payload})
	return r.fail
}

func (r *rooms) has(conn, room string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.in[room][conn]
}

// forget forgets what was cast to these rooms.
func (r *rooms) forget(rooms ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.casts = slices.DeleteFunc(r.casts, func(c cast) bool { return slices.Contains(rooms, c.room) })
}

// told returns what was cast, in order.
func (r *rooms) told() []cast {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]cast(nil), r.casts...)
}
