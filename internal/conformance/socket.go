package main

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/gateway/socketio"
)

// serveSocketMode serves Socket.IO, as a node of a cluster unless bus is "". log, if not nil, has
// casts logged, so that clients can be recovered.
func serveSocketMode(mux *http.ServeMux, bus string, log *socketio.LogConfig) (stop func()) {
	cfg := socketio.Config{Engine: suiteEngineConfig()}
	cfg.Engine.ConnectTimeout = time.Second
	cfg.Namespaces = map[string]socketio.Receiver{"/": suiteNamespace{}, "/custom": suiteNamespace{}}
	if bus == "" {
		s := socketio.New(cfg)
		mux.Handle("/socket.io/", s)
		return s.Close
	}
	client := newBusClient(bus)
	cfg.Cluster = &socketio.ClusterConfig{Redis: client, Log: log}
	s := socketio.New(cfg)
	mux.Handle("/socket.io/", s)
	mux.Handle("/op", newOperations(s))
	return func() {
		s.Close()
		_ = client.Close() // nothing uses it any more
	}
}

// suiteNamespace is the receiver of the namespaces that the Socket.IO 5 suite uses.
type suiteNamespace struct{}

func (suiteNamespace) Admit(ctx context.Context, s *socketio.Socket, auth []byte) error {
	if len(auth) == 0 {
		auth = []byte("{}")
	}
	var a struct {
		Deny jsontext.Value `json:"deny"`
	}
	_ = json.Unmarshal(auth, &a)
	if len(a.Deny) > 0 {
		return &socketio.Refusal{Message: "denied", Data: denial{4001, a.Deny}}
	}
	s.SetData(bytes.Clone(auth))
	s.Recover(ctx, socketio.Recovery{}) // whoever it is, where casts are logged
	return nil
}

// denial is the data of a refusal.
type denial struct {
	Code int            `json:"code"`
	Why  jsontext.Value `json:"why"`
}

func (suiteNamespace) Connected(s *socketio.Socket) {
	s.Library().SetData(map[string]any{"srv": "go"})
	_ = s.EmitArgs("auth", socketio.Args{JSON: s.Data().([]byte)})
	s.SetData(nil)
}

func (suiteNamespace) Instant([]byte) bool                   { return false }
func (suiteNamespace) Disconnected(*socketio.Socket, string) {}

// stringArgument returns argument i as a string, "" when there is none.
func stringArgument(e *socketio.Event, i int) string {
	var args []jsontext.Value
	if json.Unmarshal([]byte("["+string(e.Args)+"]"), &args) != nil || i >= len(args) {
		return ""
	}
	var v any
	_ = json.Unmarshal(args[i], &v)
	switch v := v.(type) {
	case string:
		return v
	case bool:
		if v {
			return "true"
		}
	case float64:
		b, _ := json.Marshal(v)
		return string(b)
	}
	return ""
}

// otherArguments returns the arguments after the first, as JSON joined by commas.
func otherArguments(e *socketio.Event) []byte {
	var args []jsontext.Value
	if json.Unmarshal([]byte("["+string(e.Args)+"]"), &args) != nil || len(args) < 2 {
		return nil
	}
	var b []byte
	for i, a := range args[1:] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, a...)
	}
	return b
}

func (suiteNamespace) Event(s *socketio.Socket, e *socketio.Event) {
	same := socketio.Args{JSON: e.Args, Attachments: e.Attachments}
	nsp := s.Namespace()
	switch name := string(e.Name); name {
	case "message":
		_ = s.EmitArgs("message-back", same)
	case "message-with-ack":
		if e.HasID {
			_ = s.Answer(e.ID, same)
		}
	case "join":
		s.Join(stringArgument(e, 0))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = nsp.Heard(ctx, stringArgument(e, 0)) // after it, other nodes' casts arrive here, or Redis is away
		cancel()
		if e.HasID {
			_ = s.Answer(e.ID, socketio.Args{JSON: []byte(`"joined"`)})
		}
	case "leave":
		s.Leave(stringArgument(e, 0))
		if e.HasID {
			_ = s.Answer(e.ID, socketio.Args{JSON: []byte(`"left"`)})
		}
	case "hi":
		if nsp.HasLog() {
			_ = nsp.CastLogged(socketio.LoggedCast{Rooms: []string{s.ID()}, Name: name, Build: func(dst []byte) []byte { return append(dst, "null"...) }})
		}
	case "bcast":
		nsp.CastArgs(stringArgument(e, 0), "", name, socketio.Args{JSON: otherArguments(e), Attachments: e.Attachments})
	case "bcast-ex":
		nsp.CastArgs(stringArgument(e, 0), s.ID(), "bcast", socketio.Args{JSON: otherArguments(e), Attachments: e.Attachments})
	case "kick":
		s.Library().Disconnect(stringArgument(e, 0) == "true")
	case "panic":
		panic("asked to")
	case "ask":
		asking := s.StartAsk(question())
		go func() { _ = s.Emit("answer", answerAndError(asking)...) }()
	case "bcast-ack":
		asking := nsp.StartAsk(stringArgument(e, 0), question())
		go func() { _ = s.Emit("answer", answersAndError(asking)...) }()
	case "burst", "burst-room":
		n := 0
		_ = json.Unmarshal([]byte(stringArgument(e, 0)), &n)
		for i := range min(n, 100_000) {
			if name == "burst" {
				_ = s.Emit("b", i)
			} else {
				nsp.CastArgs(s.ID(), "", "b", mustEncodeArgs(i))
			}
		}
	case "bin":
		_ = s.Emit("bin", []byte{1, 2, 3}, map[string]any{"x": []byte("hello")})
	case "seq":
		_ = s.EmitArgs("seq", same)
	case "slow":
		time.Sleep(300 * time.Millisecond)
		_ = s.Emit("slow-done")
	case "volatile":
		for i := range 50 {
			_ = s.EmitVolatile("vol", i)
		}
		_ = s.Emit("vol-end")
	}
}

func mustEncodeArgs(v ...any) socketio.Args {
	a, err := socketio.Encode(v...)
	if err != nil {
		panic(err)
	}
	return a
}

func question() socketio.Question {
	return socketio.Question{Name: "question", Args: socketio.Args{JSON: []byte(`"q"`)}, Timeout: 500 * time.Millisecond}
}

// answersAndError returns what a callback of the library would get of a question to a room: null
// where nobody answered in time.
func answersAndError(asking *socketio.Asking) []any {
	got := asking.Wait(context.Background())
	values := []jsontext.Value{}
	for _, a := range got.All {
		if len(a.Args.JSON) == 0 {
			a.Args.JSON = []byte("null")
		}
		values = append(values, a.Args.JSON)
	}
	switch {
	case !got.Late:
		return []any{values, nil}
	case len(values) == 0:
		return []any{nil, "no acknowledgement in time"}
	}
	return []any{values, "no acknowledgement in time"}
}

// answerAndError is answersAndError of a question to one socket: of no value it has none.
func answerAndError(asking *socketio.Asking) []any {
	got := asking.Wait(context.Background())
	if got.Late {
		return []any{nil, "no acknowledgement in time"}
	}
	values := []jsontext.Value{}
	for _, a := range got.All {
		if len(a.Args.JSON) > 0 {
			values = append(values, a.Args.JSON)
		}
	}
	return []any{values, nil}
}
