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
	here := len(n.rooms.selectSockets(opts))
	if n.cluster == nil {
		return here, 0
	}
	type count struct{ members, missing int }
	got := make(chan count, 1)
	n.cluster.fetchSockets(opts, func(all []socket.SocketDetails, missing int) { got <- count{len(all), missing} })
	select {
	case c := <-got:
		return c.members, c.missing
	case <-ctx.Done():
		return here, int(n.cluster.nodeCount.Load()) - 1
	}
}

// distributedAsk is an Ask on all nodes.
type distributedAsk struct {
	onDone func(answers []jsontext.Value, err error)

	mu      sync.Mutex
	answers []jsontext.Value // guarded by mu
	awaitedAnswers     map[string]int   // answers to come from other nodes; guarded by mu
	isCounted bool             // the other nodes told how many; guarded by mu
	hasLocalAnswers    bool             // this node's clients have answered; guarded by mu
	err     error            // of those; guarded by mu
	isDone    bool             // guarded by mu
}

// updateAsk changes the survey, and ends it when nothing is to come.
func (s *distributedAsk) updateAsk(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if !s.hasLocalAnswers || !s.isCounted || s.isDone {
		return
	}
	for _, n := range s.awaitedAnswers {
		if n > 0 {
			return
		}
	}
	s.finishAsk(s.err)
}

// finishAsk calls back. mu is held.
func (s *distributedAsk) finishAsk(err error) {
	if !s.isDone {
		s.isDone = true
		go s.onDone(s.answers, err)
	}
}

// askAllNodes asks a room's members on all nodes. The clients of a node that is gone are not
// waited for.
func (n *clusterNamespace) askAllNodes(timeout time.Duration, room string, e Args, here func(done func([]jsontext.Value, error)), done func([]jsontext.Value, error)) {
	s := &distributedAsk{awaitedAnswers: map[string]int{}}
	late := time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finishAsk(ErrNoAnswer)
	})
	s.onDone = func(answers []jsontext.Value, err error) {
		late.Stop()
		n.cluster.callGuarded(func() { done(answers, err) })
	}
	n.askOtherNodes(timeout, e, target{rooms: []socket.Room{socket.Room(room)}}, askHooks{
		onCounted: func(int, int) { s.updateAsk(func() { s.isCounted = true }) },
		onNodeCount:   func(node string, clients uint64) { s.updateAsk(func() { s.awaitedAnswers[node] += int(clients) }) },
		onNodeGone:    func(node string) { s.updateAsk(func() { delete(s.awaitedAnswers, node) }) },
		onAnswer: func(node string, v any) {
			s.updateAsk(func() {
				value, ok := v.(jsontext.Value)
				if !ok {
					value = jsontext.Value("null")
				}
				s.answers = append(s.answers, value)
				s.awaitedAnswers[node]--
			})
		},
	})
	here(func(answers []jsontext.Value, err error) {
		s.updateAsk(func() {
			s.answers = append(s.answers, answers...)
			s.hasLocalAnswers, s.err = true, err
		})
	})
}
