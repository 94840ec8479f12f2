package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// A player is a Socket.IO client over a raw websocket.
type player struct {
	t    testing.TB
	conn *websocket.Conn
	gone chan struct{} // closed when the transport has ended

	writing sync.Mutex
	next    int // acknowledgement id; owned by the test

	mu     sync.Mutex
	frames []frame // what was received and not yet taken, in order; guarded by mu
}

// A frame is one packet of the server.
type frame struct {
	kind string // "0" OPEN, "40" CONNECT, "41" DISCONNECT, "42" EVENT, "43" ACK, "44" CONNECT_ERROR
	id   int    // of an ACK
	name string // of an EVENT
	body json.RawMessage
	last json.RawMessage // argument of an EVENT
}

func socketURL(public string) string {
	return strings.Replace(public, "http://", "ws://", 1) + "/socket.io/?EIO=4&transport=websocket"
}

// dial opens a transport; the answer tells why there is none.
func dial(t testing.TB, g *gate) (*player, *http.Response, error) {
	t.Helper()
	return dialQuery(t, g, "")
}

// dialQuery is dial with more in the query.
func dialQuery(t testing.TB, g *gate, query string) (*player, *http.Response, error) {
	t.Helper()
	conn, res, err := websocket.DefaultDialer.DialContext(t.Context(), socketURL(g.public)+query, nil)
	if res != nil && res.Body != nil {
		t.Cleanup(func() { _ = res.Body.Close() })
	}
	if err != nil {
		return nil, res, err
	}
	p := &player{t: t, conn: conn, gone: make(chan struct{})}
	go p.read()
	t.Cleanup(func() {
		_ = conn.Close()
		<-p.gone
	})
	return p, res, nil
}

// handshake opens a transport and presents the session.
func (g *gate) handshake(session string) *player {
	g.t.Helper()
	p, _, err := dial(g.t, g)
	require.NoError(g.t, err)
	p.send(fmt.Sprintf(`40{"sessionId":%q}`, session))
	return p
}

// connect is a handshake that is admitted.
func (g *gate) connect(session string) *player {
	g.t.Helper()
	p := g.handshake(session)
	p.take("40", func(frame) bool { return true })
	p.event("limits")
	return p
}

func (p *player) read() {
	defer close(p.gone)
	for {
		_, b, err := p.conn.ReadMessage()
		if err != nil {
			return
		}
		if string(b) == "2" {
			p.send("3")
			continue
		}
		p.mu.Lock()
		p.frames = append(p.frames, parseFrame(string(b)))
		p.mu.Unlock()
	}
}

func parseFrame(s string) frame {
	f := frame{kind: s[:min(2, len(s))]}
	if strings.HasPrefix(s, "0") {
		return frame{kind: "0", body: json.RawMessage(s[1:])}
	}
	rest := s[min(2, len(s)):]
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	f.id, _ = strconv.Atoi(rest[:digits])
	f.body = json.RawMessage(rest[digits:])
	if f.kind == "42" || f.kind == "43" {
		var args []json.RawMessage
		if json.Unmarshal(f.body, &args) != nil {
			return f
		}
		if f.kind == "42" && len(args) > 0 {
			_ = json.Unmarshal(args[0], &f.name)
			args = args[1:]
		}
		f.body = nil
		if len(args) > 0 {
			f.body, f.last = args[0], args[len(args)-1]
		}
	}
	return f
}

// send writes a packet; when the transport has ended it does nothing.
func (p *player) send(text string) {
	p.writing.Lock()
	defer p.writing.Unlock()
	_ = p.conn.WriteMessage(websocket.TextMessage, []byte(text))
}

// look takes the first frame that fits, if there is one.
func (p *player) look(kind string, fits func(frame) bool) (frame, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, f := range p.frames {
		if f.kind == kind && fits(f) {
			p.frames = append(p.frames[:i:i], p.frames[i+1:]...)
			return f, true
		}
	}
	return frame{}, false
}

// take waits for a frame.
func (p *player) take(kind string, fits func(frame) bool) frame {
	p.t.Helper()
	var found frame
	require.Eventually(p.t, func() (ok bool) {
		found, ok = p.look(kind, fits)
		return ok
	}, patience, time.Millisecond, "no frame %s came", kind)
	return found
}

// event waits for an event and returns its first argument.
func (p *player) event(name string) map[string]any {
	p.t.Helper()
	f := p.take("42", func(f frame) bool { return f.name == name })
	v := map[string]any{}
	require.NoError(p.t, json.Unmarshal(f.body, &v))
	return v
}

// ask emits an event and waits for its acknowledgement.
func (p *player) ask(name, payload string) map[string]any {
	p.t.Helper()
	p.next++
	id := p.next
	if payload != "" {
		payload = "," + payload
	}
	p.send(fmt.Sprintf(`42%d[%q%s]`, id, name, payload))
	f := p.take("43", func(f frame) bool { return f.id == id })
	v := map[string]any{}
	require.NoError(p.t, json.Unmarshal(f.body, &v))
	return v
}

// ok asks and returns the answer's data.
func (p *player) ok(name, payload string) map[string]any {
	p.t.Helper()
	a := p.ask(name, payload)
	require.Equal(p.t, true, a["ok"], "%s: %v", name, a)
	data, _ := a["data"].(map[string]any)
	return data
}

// refused asks and returns the answer's error.
func (p *player) refused(name, payload string) map[string]any {
	p.t.Helper()
	a := p.ask(name, payload)
	require.Equal(p.t, false, a["ok"], "%s: %v", name, a)
	e, _ := a["error"].(map[string]any)
	return e
}

// ended waits for the transport's end, and tells whether a DISCONNECT came before it.
func (p *player) ended() (disconnected bool) {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(patience):
		p.t.Fatal("the transport did not end")
	}
	_, disconnected = p.look("41", func(frame) bool { return true })
	return disconnected
}

// open tells whether the transport is still there.
func (p *player) open() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}
