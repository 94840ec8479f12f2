package socketio

import (
	"context"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"
)

// Members counts a room's members on all nodes. missing is how many nodes did not answer before ctx
// ended, or are gone: when it is not 0, there may be more members.
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

// A distributedAsk is one call of Ask on all nodes.
type distributedAsk struct {
	onDone func(answers []jsontext.Value, err error)

	mu              sync.Mutex
	answers         []jsontext.Value // guarded by mu
	awaitedAnswers  map[string]int   // how many are still to come, by node; guarded by mu
	isCounted       bool             // the other nodes said how many clients they asked; guarded by mu
	hasLocalAnswers bool             // this node's clients have answered, or err says why not; guarded by mu
	err             error            // of this node's clients; guarded by mu
	isDone          bool             // guarded by mu
}

// updateAsk makes a change, and finishes when no answer is to come any more.
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

// finishAsk calls onDone, once. mu is held.
func (s *distributedAsk) finishAsk(err error) {
	if !s.isDone {
		s.isDone = true
		go s.onDone(s.answers, err)
	}
}

// askAllNodes asks a room's members on all nodes; askHere asks those on this one. It does not wait
// for the clients of a node that is gone.
func (n *clusterNamespace) askAllNodes(
	timeout time.Duration, room string, e Args,
	askHere func(done func([]jsontext.Value, error)), done func([]jsontext.Value, error),
) {
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
		onCounted:   func(int, int) { s.updateAsk(func() { s.isCounted = true }) },
		onNodeCount: func(node string, clients uint64) { s.updateAsk(func() { s.awaitedAnswers[node] += int(clients) }) },
		onNodeGone:  func(node string) { s.updateAsk(func() { delete(s.awaitedAnswers, node) }) },
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
	askHere(func(answers []jsontext.Value, err error) {
		s.updateAsk(func() {
			s.answers = append(s.answers, answers...)
			s.hasLocalAnswers, s.err = true, err
		})
	})
}
