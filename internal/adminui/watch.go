package adminui

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/nodecall"
)

// This file asks the nodes, and tells the operators what has changed.

const (
	every      = 2 * time.Second // between two questions
	maxSockets = 1000            // that are shown
	maxChanges = 500             // that are told one by one; of more, all sockets are told again
)

// A watch is what the operators of this node know. Run owns it.
type watch struct {
	oneIn   int // the nodes list one in so many connections; a power of two
	sockets map[string]socketView
	nodes   map[string]*nodecall.Watched // what each said last
	sampled map[string]int64             // the number of the newest event of each node that was told
	isDeaf  bool                         // the nodes could not be asked
}

func newWatch() *watch {
	return &watch{oneIn: 1, sockets: map[string]socketView{}, nodes: map[string]*nodecall.Watched{}, sampled: map[string]int64{}}
}

// Run asks the nodes every two seconds while operators watch, until ctx ends.
func (u *UI) Run(ctx context.Context) error {
	w := newWatch()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := timer.C
		if u.Count() == 0 {
			w, wait = newWatch(), nil
		}
		select {
		case <-wait:
		case <-u.wake:
		case <-ctx.Done():
			return nil
		}
		timer.Reset(every)
		u.askNodes(ctx, w)
	}
}

// askNodes asks all nodes once, and tells the operators.
func (u *UI) askNodes(ctx context.Context, w *watch) {
	u.dismissFormerUsers()
	oneIn := w.oneIn
	answers, ok := u.ask(ctx, w)
	if !ok {
		return
	}
	for i := 0; i < 4 && w.adjustSample(answers, u.cfg.QueueBytes*3/4); i++ { // too many were listed, or few enough for a larger sample
		if answers, ok = u.ask(ctx, w); !ok {
			return
		}
	}
	sockets := collectSockets(answers, u.cfg.QueueBytes*3/4)
	changes := listChanges(w.sockets, sockets)
	isNew := w.oneIn != oneIn || len(changes) > maxChanges
	w.sockets = sockets
	config := encode(u.describe(w.oneIn))
	var all *socketio.Args
	stats := w.listStats(answers)
	events := w.listEvents(answers)
	for s, o := range u.list() {
		if w.oneIn != oneIn || !o.isServed && w.oneIn > 1 {
			_ = s.EmitArgs("config", config) // errors say that the page is gone
		}
		for _, args := range stats {
			_ = s.EmitArgs("server_stats", args)
		}
		if isNew || !o.isServed {
			o.isServed = true
			if all == nil {
				list := encode(slices.Collect(maps.Values(sockets)))
				all = &list
			}
			_ = s.EmitArgs("all_sockets", *all)
		} else {
			for _, c := range changes {
				_ = s.EmitArgs(c.name, c.args)
			}
		}
		for _, args := range events {
			_ = s.EmitArgs("event_received", args)
		}
	}
}

// ask asks the nodes. It reports false when they could not be asked.
func (u *UI) ask(ctx context.Context, w *watch) (answers map[string]*nodecall.Watched, ok bool) {
	got, err := nodecall.Ask(ctx, u.cfg.Redis, nodecall.Request{
		What: nodecall.AskWatch, By: "admin-ui", Args: nodecall.WatchArgs{OneIn: w.oneIn, Most: maxSockets + 1},
	})
	var ours []string // gateways on another database hear the question, too
	if err == nil {
		ours, err = nodecall.List(ctx, u.cfg.Redis)
	}
	if err != nil {
		if !w.isDeaf && ctx.Err() == nil {
			u.cfg.Log.Warn("the admin UI can not ask the nodes", zap.Error(err))
		}
		w.isDeaf = true
		return nil, false
	}
	w.isDeaf = false
	answers = map[string]*nodecall.Watched{}
	for _, a := range got.All {
		if !slices.Contains(ours, a.Node) {
			continue
		}
		var said nodecall.Watched
		if a.Error == "" && json.Unmarshal(a.Data, &said) == nil {
			answers[a.Node] = &said
		} else if before := w.nodes[a.Node]; before != nil {
			answers[a.Node] = &nodecall.Watched{List: before.List}
		}
	}
	for _, node := range got.Silent { // its connections may live
		if before := w.nodes[node]; before != nil {
			answers[node] = &nodecall.Watched{List: before.List}
		}
	}
	return answers, true
}

// adjustSample makes the sample smaller while it has too many sockets or bytes, and larger when
// twice as many would be few. It reports whether the nodes must be asked again.
func (w *watch) adjustSample(answers map[string]*nodecall.Watched, mostBytes int) bool {
	before := w.oneIn
	players, listed, size := 0, 0, 0
	for node, a := range answers {
		players += a.Players
		listed += len(a.List)
		for _, c := range a.List {
			v := viewOf(node, c)
			size += v.size()
		}
	}
	for (listed > maxSockets || size > mostBytes) && w.oneIn < 1<<20 {
		w.oneIn *= 2
		listed, size = max(listed/2, players/w.oneIn), size/2
	}
	if w.oneIn == before {
		for w.oneIn > 1 && players/(w.oneIn/2) < maxSockets*3/4 && 2*size < mostBytes*3/4 {
			w.oneIn /= 2
			size *= 2
		}
	}
	return w.oneIn != before
}

// collectSockets joins the nodes' lists of sockets into one by id, of at most maxSockets sockets
// and mostBytes bytes.
func collectSockets(answers map[string]*nodecall.Watched, mostBytes int) map[string]socketView {
	sockets, size := map[string]socketView{}, 0
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		for _, c := range answers[node].List {
			v := viewOf(node, c)
			if size += v.size(); size > mostBytes || len(sockets) >= maxSockets {
				return sockets
			}
			sockets[v.ID] = v
		}
	}
	return sockets
}

// listStats returns the statistics of the nodes that answered, and keeps them for the next ones.
func (w *watch) listStats(answers map[string]*nodecall.Watched) (all []socketio.Args) {
	now := time.Now()
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		if a := answers[node]; a.PID != 0 { // else it was silent
			all = append(all, encode(statsOf(node, a, w.nodes[node], now)))
			w.nodes[node] = a
		}
	}
	maps.DeleteFunc(w.nodes, func(node string, _ *nodecall.Watched) bool { return answers[node] == nil })
	maps.DeleteFunc(w.sampled, func(node string, _ int64) bool { return answers[node] == nil })
	return all
}

// listEvents returns the events of clients that were not told yet.
func (w *watch) listEvents(answers map[string]*nodecall.Watched) (all []socketio.Args) {
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		samples := answers[node].Samples
		if len(samples) > 0 && samples[len(samples)-1].Number < w.sampled[node] {
			delete(w.sampled, node) // it has started anew
		}
		for _, e := range samples {
			if e.Number > w.sampled[node] {
				w.sampled[node] = e.Number
				all = append(all, encode("/", e.Conn, []any{e.Event, map[string]int{"bytes": e.Bytes}}, timestamp(time.UnixMilli(e.At))))
			}
		}
	}
	return all
}

// A change is an event of the page.
type change struct {
	name string
	args socketio.Args
}

// listChanges returns what has changed, in the order in which the page must hear it.
func listChanges(before, now map[string]socketView) (all []change) {
	at := timestamp(time.Now())
	add := func(name string, args ...any) { all = append(all, change{name, encode(args...)}) }
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if _, ok := now[id]; ok {
			continue
		}
		add("socket_disconnected", "/", id, "closed", at)
		for _, room := range before[id].Rooms {
			add("room_left", "/", room, id, at)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(now)) {
		v, old := now[id], before[id]
		if old.ID == "" {
			add("socket_connected", v, at)
			continue
		}
		if v.Transport != old.Transport || v.Data != old.Data {
			add("socket_updated", socketUpdate{v.ID, "/", v.Transport, v.Data})
		}
		for _, room := range difference(v.Rooms, old.Rooms) {
			add("room_joined", "/", room, id, at)
		}
		for _, room := range difference(old.Rooms, v.Rooms) {
			add("room_left", "/", room, id, at)
		}
	}
	return all
}

// dismissFormerUsers disconnects operators who are not in the users file any more, or have another
// password.
func (u *UI) dismissFormerUsers() {
	for s, o := range u.list() {
		if !u.users.holds(o.name, o.passwordPrint) {
			u.cfg.Log.Warn("operator dismissed", zap.String("operator", o.name), zap.String("addr", o.addr))
			s.Disconnect(true)
		}
	}
}

// list returns the operators of this node.
func (u *UI) list() map[*socketio.Socket]*operator {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.operators)
}

// encode encodes what is always valid JSON.
func encode(values ...any) socketio.Args {
	args, _ := socketio.Encode(values...)
	return args
}
