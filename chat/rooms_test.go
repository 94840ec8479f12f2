package chat_test

import (
	"context"
	"strings"
	"sync"
)

// rooms is a gateway of one node: it keeps who is where and what was cast.
type rooms struct {
	mu    sync.Mutex
	in    map[string]map[string]bool // room → connections
	casts []cast
	fail  error // what every call returns, when set
}

type cast struct {
	room, event string
	payload     any
}

func newRooms() *rooms { return &rooms{in: map[string]map[string]bool{}} }

func (r *rooms) Join(_ context.Context, conn, room string) (int, error) {
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

func (r *rooms) In(conn, room string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.in[room][conn]
}

func (r *rooms) Count(conn, prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for room, conns := range r.in {
		if conns[conn] && strings.HasPrefix(room, prefix) {
			n++
		}
	}
	return n
}

func (r *rooms) Cast(_ context.Context, room, event string, payload any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.casts = append(r.casts, cast{room, event, payload})
	return r.fail
}
