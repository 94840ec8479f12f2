package chat_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// rooms is the gateway of one node. It records the members of the rooms, and what was cast.
type rooms struct {
	mu    sync.Mutex
	in    map[string]map[string]bool // room → connections
	casts []cast
	told  []cast                  // to users; here room is the user id
	users map[string]event.Player // by connection
	fail  error                   // when it is set, every method returns it
}

type cast struct {
	room, event string
	payload     any
}

func newRooms() *rooms {
	return &rooms{in: map[string]map[string]bool{}, users: map[string]event.Player{ann.Conn: ann, bob.Conn: bob}}
}

func (r *rooms) CastUser(_ context.Context, userID, event string, payload any) (int, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, cast{userID, event, payload})
	return len(r.here(userID)), true, r.fail
}

func (r *rooms) Here(userID string) []event.Player {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.here(userID)
}

func (r *rooms) here(userID string) (all []event.Player) {
	for _, p := range r.users {
		if p.UserID == userID {
			all = append(all, p)
		}
	}
	return all
}

func (r *rooms) RoomsOf(conn, prefix string) (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for room, conns := range r.in {
		if conns[conn] && strings.HasPrefix(room, prefix) {
			names = append(names, room)
		}
	}
	return names
}

func (r *rooms) RoomsHere(prefix string) (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for room, conns := range r.in {
		if len(conns) > 0 && strings.HasPrefix(room, prefix) {
			names = append(names, room)
		}
	}
	return names
}

func (r *rooms) MembersHere(room string) (players []event.Player) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.in[room] {
		players = append(players, r.users[conn])
	}
	return players
}

func (r *rooms) Fresh(conn string) (event.Player, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.users[conn]
	return p, ok
}

// Emit records the event as one to the connection.
func (r *rooms) Emit(conn, event string, payload any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, cast{conn, event, payload})
}

// heard returns what was cast so far.
func (r *rooms) heard() []cast {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]cast(nil), r.casts...)
}

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
