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

// redisClient is a client for the cluster's bus.
func redisClient(addr string) redis.UniversalClient {
	const limit = 500 * time.Millisecond
	return redis.NewClient(&redis.Options{
		Addr: addr, DialTimeout: limit, ReadTimeout: limit, WriteTimeout: limit, PoolTimeout: limit,
		DialerRetries: 1, MaxRetries: 1, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// ops serves GET /op?op=…&room=a,b&except=c&v=…: what the library's server can ask of a
// cluster. The answer is a JSON value.
type ops struct {
	io *socket.Server

	mu   sync.Mutex
	last []any // arguments of the last server-side event; guarded by mu
}

func newOps(s *socketio.Server) *ops {
	o := &ops{io: s.IO}
	_ = s.IO.Of("/", nil).On("sse", func(args ...any) { // a name is all that it checks
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
func (o *ops) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v, ok := o.do(q.Get("op"), names(q.Get("room")), names(q.Get("except")), q.Get("v"))
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
	_, _ = w.Write(b) // whoever asked is gone
}

func names(s string) (list []socket.Room) {
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

func (r result) list() any {
	text := "null"
	if r.err != nil {
		text = r.err.Error()
	}
	return []any{r.values, text}
}

// patience is how long an operation may take at most.
const patience = 10 * time.Second

// await waits for the one call of a callback.
func await(start func(done func(values any, err error))) any {
	got := make(chan result, 1)
	start(func(values any, err error) {
		select {
		case got <- result{values, err}:
		default: // called twice
		}
	})
	select {
	case r := <-got:
		return r.list()
	case <-time.After(patience):
		return result{nil, fmt.Errorf("no callback in %v", patience)}.list()
	}
}

func (o *ops) do(op string, rooms, except []socket.Room, v string) (answer any, ok bool) {
	nsp := o.io.Of("/", nil)
	to := nsp.To(rooms...).Except(except...)
	switch op {
	case "emit":
		return result{err: to.Emit("ev", v, map[string]any{"k": []any{1, true}})}.list(), true
	case "emitbin":
		return result{err: to.Emit("evb", types.NewBytesBuffer([]byte{1, 2, 3}))}.list(), true
	case "emitack":
		answers, err := socketio.Ask(nsp, rooms, except, 1500*time.Millisecond, "question", "q")
		return result{answers, err}.list(), true
	case "fetch":
		return await(func(done func(any, error)) {
			to.FetchSockets()(func(all []*socket.RemoteSocket, err error) { done(described(all), err) })
		}), true
	case "join":
		to.SocketsJoin(socket.Room(v))
	case "leave":
		to.SocketsLeave(socket.Room(v))
	case "disc":
		to.DisconnectSockets(v == "1")
	case "sse":
		return result{err: nsp.ServerSideEmit("sse", v)}.list(), true
	case "sseack":
		return await(func(done func(any, error)) {
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

// described is what fetch tells of each socket; hs, that it has a handshake.
func described(all []*socket.RemoteSocket) []any {
	list := []any{}
	for _, s := range all {
		rooms := s.Rooms().Keys()
		slices.Sort(rooms)
		h := s.Handshake()
		list = append(list, map[string]any{"id": s.Id(), "rooms": rooms, "data": s.Data(), "hs": h != nil && h.Issued > 0})
	}
	return list
}
