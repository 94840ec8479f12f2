package socketio

import (
	"bytes"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file serves the requests of other nodes.

// onRequest serves a request of another node, on the bus's goroutine that reads. It reports false
// for a malformed one.
func (n *clusterNamespace) onRequest(b []byte) bool {
	r := request{Type: -1}
	var ok bool
	if r.attachments, ok = readControl(bytes.Clone(b), n.cluster.cfg.MaxMessage, &r); !ok {
		return false
	}
	if r.UID == n.cluster.uid {
		return true
	}
	if r.Opts == nil {
		r.Opts = &requestOpts{}
		switch r.Type {
		case requestJoin, requestLeave, requestDisconnect, requestFetch, requestBroadcast:
			return false // without a target it would concern every socket
		}
	}
	for _, room := range r.Rooms {
		if !isWireRoomName(room) {
			return false
		}
	}
	opts := target{rooms: r.Opts.Rooms, except: r.Opts.Except}.broadcastOptions()
	if r.Type == requestJoin || !n.isPeer(r.UID) {
		n.noteJoiner()
	}
	switch r.Type {
	case requestJoin:
		n.rooms.AddSockets(opts, r.Rooms)
	case requestLeave:
		n.rooms.DelSockets(opts, r.Rooms)
	case requestDisconnect:
		n.rooms.DisconnectSockets(opts, r.Close)
	case requestFetch:
		n.respondSockets(&r, n.describeSockets(opts))
	case requestSockets:
		ids := []socket.SocketId{}
		opts.Rooms = types.NewSet(r.Rooms...)
		for _, lib := range n.selectSockets(opts) {
			ids = append(ids, lib.Id())
		}
		n.respondSockets(&r, ids)
	case requestAllRooms:
		n.respondRooms(&r)
	case requestServerSide:
		return n.onServerSide(&r)
	case requestBroadcast:
		return n.onAskRequest(&r, opts)
	default:
		return false
	}
	return true
}

// answerTo returns the channel for the answers to a request. Each of our nodes has its own channel;
// Node's servers share one.
func (n *clusterNamespace) answerTo(r *request) string {
	if r.UID == "" || len(r.UID) > 64 || strings.ContainsRune(r.UID, '#') {
		return n.answerChannel
	}
	return n.answerChannel + r.UID + "#"
}

// An answerHead is what all our answers have in common. Node's have no uid.
type answerHead struct {
	Type      int    `json:"type,omitzero"`
	RequestID string `json:"requestId"`
	UID       string `json:"uid"`
}

func (n *clusterNamespace) sendResponse(r *request, v any) {
	if b, err := json.Marshal(v); err == nil { // what JSON cannot hold is not answered
		n.cluster.bus.Publish(redisbus.Message{Channel: n.answerTo(r), Payload: b})
	}
}

func (n *clusterNamespace) respondSockets(r *request, sockets any) {
	n.sendResponse(r, struct {
		answerHead
		Sockets any `json:"sockets"`
	}{answerHead{0, r.RequestID, n.cluster.uid}, sockets})
}

func (n *clusterNamespace) respondRooms(r *request) {
	names := []socket.Room{}
	n.Rooms().Range(func(name socket.Room, _ *types.Set[socket.SocketId]) bool {
		names = append(names, name)
		return true
	})
	n.sendResponse(r, struct {
		answerHead
		Rooms []socket.Room `json:"rooms"`
	}{answerHead{0, r.RequestID, n.cluster.uid}, names})
}

// describeSockets describes the sockets of this node that opts selects. A socket's Data is included
// if JSON can hold it. The handshake's auth, which may hold secrets, was never kept.
func (n *clusterNamespace) describeSockets(opts *socket.BroadcastOptions) []jsontext.Value {
	all := []jsontext.Value{}
	for _, lib := range n.selectSockets(opts) {
		h := lib.Handshake()
		w := wireSocket{
			ID: string(lib.Id()), Rooms: lib.Rooms().Keys(), Data: lib.Data(),
			Handshake: wireHandshake{
				Headers: joinHeaders(h.Headers, true), Query: joinHeaders(h.Query, false), Time: h.Time, Address: h.Address,
				Xdomain: h.Xdomain, Secure: h.Secure, Issued: float64(h.Issued), URL: h.Url, Auth: h.Auth,
			},
		}
		if w.Data == nil {
			w.Data = struct{}{}
		}
		if w.Handshake.Auth == nil {
			w.Handshake.Auth = struct{}{}
		}
		b, err := json.Marshal(w)
		if err != nil {
			w.Data = struct{}{}
			if b, err = json.Marshal(w); err != nil {
				continue
			}
		}
		all = append(all, b)
	}
	return all
}

// onServerSide has this node's listeners of a server-side event called, one after the other. It
// reports false when too many wait.
func (n *clusterNamespace) onServerSide(r *request) bool {
	var args []any
	if json.Unmarshal(r.Data, &args, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil || len(args) == 0 {
		return false
	}
	if _, ok := args[0].(string); !ok {
		return false
	}
	if r.RequestID != "" {
		var once sync.Once
		args = append(args, func(answer []any, _ error) {
			once.Do(func() {
				var v any
				if len(answer) > 0 {
					v = answer[0]
				}
				n.sendResponse(r, struct {
					answerHead
					Data any `json:"data"`
				}{answerHead{requestServerSide, r.RequestID, n.cluster.uid}, v})
			})
		})
	}
	select {
	case n.cluster.tasks <- func() { n.Nsp().OnServerSideEmit(args) }:
		return true
	default:
		return false
	}
}

// maxAskTimeout bounds how long another node can make this one wait for clients.
const maxAskTimeout = time.Minute

// onAskRequest asks clients of this node on behalf of another node.
func (n *clusterNamespace) onAskRequest(r *request, opts *socket.BroadcastOptions) bool {
	if nsp := r.Packet.Nsp; nsp != "" && nsp != n.name {
		return true
	}
	p := packet{data: r.Packet.Data}
	if !p.parseList(busDepth) || p.count == 0 || p.cutName() != nil || len(r.attachments) > 0 && !arePlaceholdersValid(r.Packet.Data, len(r.attachments)) {
		return false
	}
	timeout := time.Duration(r.Opts.Flags.Timeout) * time.Millisecond
	if timeout <= 0 || timeout > maxAskTimeout {
		timeout = maxAskTimeout
	}
	e := Args{JSON: r.Packet.Data[1 : len(r.Packet.Data)-1], Attachments: r.attachments}
	n.askFor(r, e, opts, timeout)
	return true
}
