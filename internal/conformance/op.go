package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/socketio"
)

// newBusClient returns a client for the cluster's Redis.
func newBusClient(addr string) redis.UniversalClient {
	const limit = 500 * time.Millisecond
	return redis.NewClient(&redis.Options{
		Addr: addr, DialTimeout: limit, ReadTimeout: limit, WriteTimeout: limit, PoolTimeout: limit,
		DialerRetries: 1, MaxRetries: 1, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// operations serves GET /op?op=…&room=a,b&except=c&v=…: the operations that a server of the library
// has on a cluster. The answer is a JSON value.
type operations struct {
	io *socket.Server

	mu   sync.Mutex
	last []any // arguments of the last server-side event; guarded by mu
}

func newOperations(s *socketio.Server) *operations {
	o := &operations{io: s.IO}
	_ = s.IO.Of("/", nil).On("sse", func(args ...any) { // On fails only without a name
		if n := len(args); n > 0 {
			if answer, ok := args[n-1].(socket.Ack); ok {
				answer([]any{"go-pong"}, nil)
				args = args[:n-1]
			}
		}
		o.mu.Lock()
		o.last = args
		o.mu.Unlock()
	})
	return o
}

// ServeHTTP answers 400 to an operation that is unknown.
func (o *operations) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v, ok := o.runOperation(q.Get("op"), parseRoomNames(q.Get("room")), parseRoomNames(q.Get("except")), q.Get("v"))
	if !ok {
		http.Error(w, "unknown op", http.StatusBadRequest)
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // an error says that the client is gone
}

func parseRoomNames(s string) (list []socket.Room) {
	for name := range strings.SplitSeq(s, ",") {
		if name != "" {
			list = append(list, socket.Room(name))
		}
	}
	return list
}

// result is what a callback was given.
type result struct {
	values any
	err    error
}

func (r result) asAnswerList() any {
	text := "null"
	if r.err != nil {
		text = r.err.Error()
	}
	return []any{r.values, text}
}

// operationTimeout is how long an operation may take at most.
const operationTimeout = 10 * time.Second

// awaitCallback starts an operation and waits until it calls its callback.
func awaitCallback(start func(done func(values any, err error))) any {
	got := make(chan result, 1)
	start(func(values any, err error) {
		select {
		case got <- result{values, err}:
		default: // called twice
		}
	})
	select {
	case r := <-got:
		return r.asAnswerList()
	case <-time.After(operationTimeout):
		return result{nil, fmt.Errorf("no callback in %v", operationTimeout)}.asAnswerList()
	}
}

func (o *operations) runOperation(op string, rooms, except []socket.Room, v string) (answer any, ok bool) {
	nsp := o.io.Of("/", nil)
	to := nsp.To(rooms...).Except(except...)
	switch op {
	case "emit":
		return result{err: to.Emit("ev", v, map[string]any{"k": []any{1, true}})}.asAnswerList(), true
	case "emitbin":
		return result{err: to.Emit("evb", types.NewBytesBuffer([]byte{1, 2, 3}))}.asAnswerList(), true
	case "emitack":
		answers, err := socketio.Ask(nsp, rooms, except, 1500*time.Millisecond, "question", "q")
		return result{answers, err}.asAnswerList(), true
	case "fetch":
		return awaitCallback(func(done func(any, error)) {
			to.FetchSockets()(func(all []*socket.RemoteSocket, err error) { done(describeSockets(all), err) })
		}), true
	case "join":
		to.SocketsJoin(socket.Room(v))
	case "joinemit":
		to.SocketsJoin(socket.Room(v))
		return result{err: nsp.To(socket.Room(v)).Emit("ev", v, map[string]any{"k": []any{1, true}})}.asAnswerList(), true
	case "leave":
		to.SocketsLeave(socket.Room(v))
	case "disc":
		to.DisconnectSockets(v == "1")
	case "sse":
		return result{err: nsp.ServerSideEmit("sse", v)}.asAnswerList(), true
	case "sseack":
		return awaitCallback(func(done func(any, error)) {
			if err := nsp.ServerSideEmit("sse", v, func(a []any, err error) { done(a, err) }); err != nil {
				done(nil, err)
			}
		}), true
	case "count":
		return nsp.Adapter().ServerCount(), true
	case "lastsse":
		o.mu.Lock()
		defer o.mu.Unlock()
		b, err := json.Marshal(o.last)
		return string(b), err == nil
	case "rooms":
		all := []string{}
		nsp.Adapter().Rooms().Range(func(name socket.Room, _ *types.Set[socket.SocketId]) bool {
			all = append(all, string(name))
			return true
		})
		slices.Sort(all)
		return all, true
	default:
		return nil, false
	}
	return true, true
}

// describeSockets returns what fetch answers about each socket; hs says that it has a handshake.
func describeSockets(all []*socket.RemoteSocket) []any {
	list := []any{}
	for _, s := range all {
		rooms := s.Rooms().Keys()
		slices.Sort(rooms)
		h := s.Handshake()
		list = append(list, map[string]any{"id": s.Id(), "rooms": rooms, "data": s.Data(), "hs": h != nil && h.Issued > 0})
	}
	return list
}
