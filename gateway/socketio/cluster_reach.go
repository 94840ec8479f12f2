package socketio

import (
	"context"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"
)

// Members counts a room's members on all nodes. missing is how many nodes were not heard
// before ctx ended, or are gone: then there may be more.
func (n *Namespace) Members(ctx context.Context, room string) (members, missing int) {
	opts := &socket.BroadcastOptions{Rooms: types.NewSet(socket.Room(room))}
	here := len(n.rooms.selected(opts))
	if n.cluster == nil {
		return here, 0
	}
	type count struct{ members, missing int }
	got := make(chan count, 1)
	n.cluster.fetch(opts, func(all []socket.SocketDetails, missing int) { got <- count{len(all), missing} })
	select {
	case c := <-got:
		return c.members, c.missing
	case <-ctx.Done():
		return here, int(n.cluster.nodes.Load()) - 1
	}
}

// survey is an Ask on all nodes.
type survey struct {
	done func(answers []jsontext.Value, err error)

	mu      sync.Mutex
	answers []jsontext.Value // guarded by mu
	due     map[string]int   // answers to come from other nodes; guarded by mu
	counted bool             // the other nodes told how many; guarded by mu
	here    bool             // this node's clients have answered; guarded by mu
	err     error            // of those; guarded by mu
	over    bool             // guarded by mu
}

// step changes the survey, and ends it when nothing is to come.
func (s *survey) step(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if !s.here || !s.counted || s.over {
		return
	}
	for _, n := range s.due {
		if n > 0 {
			return
		}
	}
	s.finish(s.err)
}

// finish calls back. mu is held.
func (s *survey) finish(err error) {
	if !s.over {
		s.over = true
		go s.done(s.answers, err)
	}
}

// survey asks a room's members on all nodes. The clients of a node that is gone are not
// waited for.
func (n *clusterNamespace) survey(timeout time.Duration, room string, e Args, here func(done func([]jsontext.Value, error)), done func([]jsontext.Value, error)) {
	s := &survey{due: map[string]int{}}
	late := time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(ErrNoAnswer)
	})
	s.done = func(answers []jsontext.Value, err error) {
		late.Stop()
		n.hub.guarded(func() { done(answers, err) })
	}
	n.poll(timeout, e, target{rooms: []socket.Room{socket.Room(room)}}, pollHooks{
		counted: func(int, int) { s.step(func() { s.counted = true }) },
		nodes:   func(node string, clients uint64) { s.step(func() { s.due[node] += int(clients) }) },
		fell:    func(node string) { s.step(func() { delete(s.due, node) }) },
		answer: func(node string, v any) {
			s.step(func() {
				value, ok := v.(jsontext.Value)
				if !ok {
					value = jsontext.Value("null")
				}
				s.answers = append(s.answers, value)
				s.due[node]--
			})
		},
	})
	here(func(answers []jsontext.Value, err error) {
		s.step(func() {
			s.answers = append(s.answers, answers...)
			s.here, s.err = true, err
		})
	})
}
