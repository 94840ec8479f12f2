package socketio

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io-go-parser/v2/parser"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file has what the library asks of its adapter, done on every node.

func newID() string {
	b := make([]byte, 9)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func isLocalOnly(opts *socket.BroadcastOptions) bool {
	return opts != nil && opts.Flags != nil && opts.Flags.Local
}

// withName puts an event's name before its arguments.
func withName(name string, a Args) Args {
	b := appendJSONString(nil, name)
	if len(a.JSON) > 0 {
		b = append(append(b, ','), a.JSON...)
	}
	return Args{JSON: b, Attachments: a.Attachments}
}

// asList returns the arguments as a JSON list, which is how a broadcast has them.
func (a Args) asList() []byte {
	return append(append([]byte{'['}, a.JSON...), ']')
}

// broadcastOptions returns the target as the library has it.
func (t target) broadcastOptions() *socket.BroadcastOptions {
	return &socket.BroadcastOptions{Rooms: types.NewSet(t.rooms...), Except: types.NewSet(t.except...), Flags: &socket.BroadcastFlags{}}
}

// Broadcast broadcasts on all nodes. The members on this node get the event at once.
func (n *clusterNamespace) Broadcast(p *parser.Packet, opts *socket.BroadcastOptions) {
	e, err := encodeEvent(p)
	if err != nil {
		return // as in rooms.Broadcast
	}
	if !isLocalOnly(opts) {
		n.publishEvent(e.asList(), e.Attachments, targetOf(opts))
	}
	n.broadcastEvent(e, opts)
}

// ackCountTimeout is how long a broadcast that asks for answers waits for the other nodes to say
// how many clients they asked.
const ackCountTimeout = time.Second

// BroadcastWithAck asks the members on all nodes. The library must know how many answers will come
// before its Emit goes on, so BroadcastWithAck waits for the other nodes to say it: one round trip
// over Redis, at most ackCountTimeout, and not at all when no other node is known. The answers come
// later, from any goroutine.
func (n *clusterNamespace) BroadcastWithAck(p *parser.Packet, opts *socket.BroadcastOptions, count func(uint64), ack socket.Ack) {
	e, err := encodeEvent(p)
	if err != nil {
		return // as in rooms.BroadcastWithAck
	}
	nodes := n.nodeCount.Load()
	// Answers are held back until the library's Emit has gone on: it would not see them.
	var emitReturned sync.Mutex
	emitReturned.Lock()
	defer time.AfterFunc(2*time.Millisecond, emitReturned.Unlock)
	answer := func(args []any, err error) {
		emitReturned.Lock()
		defer emitReturned.Unlock()
		ack(args, err)
	}
	timeout := time.Duration(0)
	if opts != nil && opts.Flags != nil && opts.Flags.Timeout != nil {
		timeout = *opts.Flags.Timeout
	}
	askedElsewhere := make(chan uint64, 1)
	askedElsewhere <- 0
	if !isLocalOnly(opts) && nodes > 1 {
		<-askedElsewhere
		n.askOtherNodes(timeout, e, targetOf(opts), askHooks{
			onCounted: func(total, _ int) { askedElsewhere <- uint64(total) },
			onAnswer: func(r *response) {
				if answerFate(r.Fate) != isAnswered {
					return // the library waits until the time is up
				}
				var v any
				if len(r.Packet) > 0 {
					v = splitValues(r.Packet, r.attachments)[0]
				}
				if expectsSingleAnswer(opts) {
					v = []any{v}
				}
				go answer([]any{v}, nil)
			},
		})
	}
	var askedHere uint64
	n.askMembers(e, opts, func(n uint64) { askedHere = n }, func(args []any, err error) { go answer(args, err) })
	late := time.NewTimer(min(max(timeout, 10*time.Millisecond), ackCountTimeout))
	defer late.Stop()
	total := askedHere
	select {
	case n := <-askedElsewhere:
		total += n
	case <-late.C:
	}
	count(countExpectedAnswers(opts, total))
	for range nodes - 1 { // the library expects one count of each node
		count(0)
	}
}

// askHooks are called with what comes of askOtherNodes, one at a time.
type askHooks struct {
	onCounted   func(total, missing int)          // called once: how many clients were asked, and how many nodes did not say so
	onAnswer    func(r *response)                 // for each client's answer
	onNodeGone  func(node string)                 // for a node that is gone; may be nil
	onNodeCount func(node string, clients uint64) // for each node, with how many clients it asked; may be nil
}

// askOtherNodes broadcasts an event with acknowledgements to the members on other nodes. Its
// request takes answers until it expires.
func (n *clusterNamespace) askOtherNodes(timeout time.Duration, e Args, t target, hooks askHooks) *pendingRequest {
	total := 0
	q := &pendingRequest{
		onAnswer: func(r *response) {
			asked := clampClientCount(r.ClientCount)
			total += asked
			if hooks.onNodeCount != nil {
				hooks.onNodeCount(r.UID, uint64(asked))
			}
		},
		onAck:      hooks.onAnswer,
		onNodeGone: hooks.onNodeGone,
	}
	q.onDone = func(missing int) {
		q.mu.Lock()
		defer q.mu.Unlock()
		hooks.onCounted(total, missing)
	}
	n.sendToAllNodes(max(timeout, 10*time.Millisecond), q, func(id string) ([]byte, bool) {
		b := jsonpack.AppendText(jsonpack.AppendText([]byte{0x85}, "uid"), n.cluster.uid)
		b = jsonpack.AppendText(jsonpack.AppendText(b, "requestId"), id)
		b = append(jsonpack.AppendText(b, "type"), requestBroadcast)
		b, ok := appendPacket(jsonpack.AppendText(b, "packet"), e.asList(), e.Attachments, n.name, busDepth)
		b = append(jsonpack.AppendText(b, "opts"), 0x83)
		b = appendRooms(jsonpack.AppendText(b, "rooms"), t.rooms)
		b = appendRooms(jsonpack.AppendText(b, "except"), t.except)
		b = append(jsonpack.AppendText(b, "flags"), 0x81)
		return jsonpack.AppendUint(jsonpack.AppendText(b, "timeout"), uint64(timeout.Milliseconds())), ok
	})
	return q
}

// sendRequest sends a request that needs no answers.
func (n *clusterNamespace) sendRequest(r request) error {
	r.UID = n.cluster.uid
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	n.cluster.bus.Publish(redisbus.Message{Channel: n.requestChannel, Payload: b})
	return nil
}

func (t target) requestOptions() *requestOpts {
	return &requestOpts{Rooms: t.rooms, Except: t.except}
}

// AddSockets makes sockets on all nodes join rooms.
func (n *clusterNamespace) AddSockets(opts *socket.BroadcastOptions, rooms []socket.Room) {
	n.rooms.AddSockets(opts, rooms)
	if !isLocalOnly(opts) {
		_ = n.sendRequest(request{Type: requestJoin, Opts: targetOf(opts).requestOptions(), Rooms: rooms}) // room names are always valid JSON
	}
}

// DelSockets makes sockets on all nodes leave rooms.
func (n *clusterNamespace) DelSockets(opts *socket.BroadcastOptions, rooms []socket.Room) {
	n.rooms.DelSockets(opts, rooms)
	if !isLocalOnly(opts) {
		_ = n.sendRequest(request{Type: requestLeave, Opts: targetOf(opts).requestOptions(), Rooms: rooms}) // room names are always valid JSON
	}
}

// DisconnectSockets disconnects sockets on all nodes.
func (n *clusterNamespace) DisconnectSockets(opts *socket.BroadcastOptions, closing bool) {
	n.rooms.DisconnectSockets(opts, closing)
	if !isLocalOnly(opts) {
		_ = n.sendRequest(request{Type: requestDisconnect, Opts: targetOf(opts).requestOptions(), Close: closing}) // room names are always valid JSON
	}
}

// ServerCount returns how many nodes serve the namespace, as far as this one knows.
func (n *clusterNamespace) ServerCount() int64 { return n.nodeCount.Load() }

// FetchSockets lists sockets on all nodes. It calls back when all nodes have answered, or those
// that have not are gone or out of time. In each case the list is what there is, and the error nil.
func (n *clusterNamespace) FetchSockets(opts *socket.BroadcastOptions) func(func([]socket.SocketDetails, error)) {
	return func(done func([]socket.SocketDetails, error)) {
		n.fetchSockets(opts, func(all []socket.SocketDetails, _ int) { done(all, nil) })
	}
}

// fetchSockets is FetchSockets that says how many nodes did not answer.
func (n *clusterNamespace) fetchSockets(opts *socket.BroadcastOptions, done func(all []socket.SocketDetails, missing int)) {
	all := []socket.SocketDetails{}
	for _, lib := range n.selectSockets(opts) {
		all = append(all, lib)
	}
	if isLocalOnly(opts) {
		done(all, 0)
		return
	}
	q := &pendingRequest{onAnswer: func(r *response) { all = append(all, remoteSockets(r.Sockets)...) }}
	q.onDone = func(missing int) { n.cluster.callGuarded(func() { done(all, missing) }) }
	n.sendToAllNodes(n.cluster.cfg.Timeout, q, func(id string) ([]byte, bool) {
		b, err := json.Marshal(request{UID: n.cluster.uid, Type: requestFetch, RequestID: id, Opts: targetOf(opts).requestOptions()})
		return b, err == nil
	})
}

// ServerSideEmit calls the listeners of an event on the other nodes. A callback as the last
// argument is called with one answer of each node that answers within the timeout, and a nil error.
func (n *clusterNamespace) ServerSideEmit(args []any) error {
	if len(args) == 0 {
		return errors.New("socketio: an event must have a name")
	}
	var done func([]any, error)
	switch f := args[len(args)-1].(type) {
	case socket.Ack:
		done = f
	}
	if done != nil {
		args = args[:len(args)-1]
	}
	data, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if done == nil {
		return n.sendRequest(request{Type: requestServerSide, Data: data})
	}
	answers := []any{}
	q := &pendingRequest{onAnswer: func(r *response) {
		var v any
		if len(r.Data) > 0 {
			_ = json.Unmarshal(r.Data, &v) // it is valid JSON: readControl has checked it
		}
		answers = append(answers, v)
	}}
	q.onDone = func(int) { n.cluster.callGuarded(func() { done(answers, nil) }) }
	n.sendToAllNodes(n.cluster.cfg.Timeout, q, func(id string) ([]byte, bool) {
		b, err := json.Marshal(request{UID: n.cluster.uid, Type: requestServerSide, RequestID: id, Data: data})
		return b, err == nil
	})
	return nil
}

// A remoteSocket is a socket of another node.
type remoteSocket struct {
	id        socket.SocketId
	handshake *socket.Handshake
	rooms     []socket.Room
	data      any
}

func (r *remoteSocket) Id() socket.SocketId            { return r.id }
func (r *remoteSocket) Handshake() *socket.Handshake   { return r.handshake }
func (r *remoteSocket) Rooms() *types.Set[socket.Room] { return types.NewSet(r.rooms...) }
func (r *remoteSocket) Data() any                      { return r.data }

// A wireSocket is how Node's adapter describes a socket.
type wireSocket struct {
	ID        string        `json:"id"`
	Handshake wireHandshake `json:"handshake"`
	Rooms     roomNames     `json:"rooms"`
	Data      any           `json:"data"`
}

type wireHandshake struct {
	Headers map[string]any `json:"headers"`
	Query   map[string]any `json:"query"`
	Time    string         `json:"time"`
	Address string         `json:"address"`
	Xdomain bool           `json:"xdomain"`
	Secure  bool           `json:"secure"`
	Issued  float64        `json:"issued"`
	URL     string         `json:"url"`
	Auth    any            `json:"auth"`
}

// remoteSockets reads the sockets that a node describes. Malformed ones are left out.
func remoteSockets(b jsontext.Value) (all []socket.SocketDetails) {
	var list []jsontext.Value
	_ = json.Unmarshal(b, &list) // then it is empty
	for _, v := range list {
		var w wireSocket
		if json.Unmarshal(v, &w, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil || w.ID == "" {
			continue
		}
		h := w.Handshake
		all = append(all, &remoteSocket{
			id: socket.SocketId(w.ID), rooms: w.Rooms, data: w.Data,
			handshake: &socket.Handshake{
				Headers: headerLists(h.Headers), Query: headerLists(h.Query), Time: h.Time, Address: h.Address,
				Xdomain: h.Xdomain, Secure: h.Secure, Issued: int64(h.Issued), Url: h.URL, Auth: h.Auth,
			},
		})
	}
	return all
}

// headerLists converts header and query values, which Node has as strings or lists of strings.
func headerLists(m map[string]any) map[string][]string {
	out := make(map[string][]string, len(m))
	for k, v := range m {
		switch v := v.(type) {
		case string:
			out[k] = []string{v}
		case []any:
			for _, e := range v {
				if s, ok := e.(string); ok {
					out[k] = append(out[k], s)
				}
			}
		}
	}
	return out
}

// joinHeaders converts header and query values for Node, header names in lower case.
func joinHeaders(m map[string][]string, lower bool) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if lower {
			k = strings.ToLower(k)
		}
		out[k] = strings.Join(v, ", ")
	}
	return out
}
