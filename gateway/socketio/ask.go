package socketio

import (
	"errors"
	"sync"
	"time"

	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io-go-parser/v2/parser"
	"github.com/zishang520/socket.io/v2/socket"
)

// errAnswersMissing has the words of the library's error.
var errAnswersMissing = errors.New("operation has timed out")

// Ask sends an event to the members of rooms, or of the namespace where rooms is empty, who are in
// none of except, on every node. It returns the first argument of each answer, nil for an empty
// one. After timeout it returns those that came, with an error. It does what the library's
// EmitWithAck does, without the data race on its count of servers.
func Ask(nsp socket.Namespace, rooms, except []socket.Room, timeout time.Duration, name string, args ...any) ([]any, error) {
	p := &parser.Packet{Type: parser.EVENT, Data: append([]any{name}, args...)}
	opts := &socket.BroadcastOptions{
		Rooms: types.NewSet(rooms...), Except: types.NewSet(except...), Flags: &socket.BroadcastFlags{Timeout: &timeout},
	}
	if _, err := encodeEvent(p); err != nil {
		return nil, err
	}
	late := time.NewTimer(timeout)
	defer late.Stop()
	var (
		mu        sync.Mutex
		want      uint64
		answers   = []any{}
		isCounted bool
		all       = make(chan struct{}, 1)
	)
	complete := func() { // mu is held
		if isCounted && uint64(len(answers)) >= want {
			select {
			case all <- struct{}{}:
			default:
			}
		}
	}
	nsp.Adapter().BroadcastWithAck(p, opts, func(n uint64) {
		mu.Lock()
		defer mu.Unlock()
		want += n
	}, func(answer []any, _ error) {
		mu.Lock()
		defer mu.Unlock()
		answers = append(answers, answer...)
		complete()
	})
	mu.Lock()
	isCounted = true // our adapter has stated all counts before it returned
	complete()
	mu.Unlock()
	var err error
	select {
	case <-all:
	case <-late.C:
		err = errAnswersMissing
	}
	mu.Lock()
	defer mu.Unlock()
	return answers[:len(answers):len(answers)], err
}
