package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// A player is one connection to one gateway.
type player struct {
	me     int // p0, p1, …
	ws     *websocket.Conn
	closed chan struct{} // closed when the connection has ended, or was abandoned
	end    func()        // closes closed, once
	pushed func([]byte)  // called with the arguments of each event from the server; nil ignores them
	frozen sync.Mutex    // held while nothing is read, as in a frozen tab

	mu    sync.Mutex
	next  int                 // guarded by mu
	asked map[int]chan answer // guarded by mu
}

type answer struct {
	Data  json.RawMessage
	Error struct{ Code, TradeID, Status string }
}

// errUnanswered says that the request was not answered: its outcome is open.
var errUnanswered = errors.New("no answer")

// dialPlayer connects a player.
func dialPlayer(addr string, me int, session string) (*player, error) {
	return dialListening(addr, me, session, nil)
}

// dialListening connects a player and calls pushed with the arguments of each event from the
// server, on the goroutine that reads.
func dialListening(addr string, me int, session string, pushed func([]byte)) (*player, error) {
	p, _, err := dialWithAuth(addr, fmt.Sprintf(`{"sessionId":%q}`, session), pushed)
	if err != nil {
		return nil, err
	}
	p.me = me
	go p.readFrames()
	return p, nil
}

// An admission is the answer to CONNECT.
type admission struct{ SID, PID string }

// dialWithAuth connects with the payload of CONNECT. The caller starts readFrames.
func dialWithAuth(addr, auth string, pushed func([]byte)) (p *player, admitted admission, err error) {
	ws, r, err := (&websocket.Dialer{HandshakeTimeout: 5 * time.Second}).Dial("ws://"+addr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return nil, admitted, err
	}
	_ = r.Body.Close()
	defer func() {
		if err != nil {
			_ = ws.Close()
		}
	}()
	_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, _, err := ws.ReadMessage(); err != nil {
		return nil, admitted, err
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte("40"+auth)); err != nil {
		return nil, admitted, err
	}
	_, b, err := ws.ReadMessage()
	for err == nil && string(b) == "2" { // a ping, where CONNECT takes longer than the ping interval
		if err = ws.WriteMessage(websocket.TextMessage, []byte("3")); err == nil {
			_, b, err = ws.ReadMessage()
		}
	}
	if err != nil {
		return nil, admitted, err
	}
	if !strings.HasPrefix(string(b), "40") {
		return nil, admitted, fmt.Errorf("%w: %s", errNotAdmitted, b)
	}
	if err := json.Unmarshal(b[2:], &admitted); err != nil {
		return nil, admitted, err
	}
	_ = ws.SetReadDeadline(time.Time{})
	p = &player{ws: ws, closed: make(chan struct{}), pushed: pushed, asked: map[int]chan answer{}}
	p.end = sync.OnceFunc(func() { close(p.closed) })
	return p, admitted, nil
}

// errNotAdmitted says that the answer to CONNECT is a refusal.
var errNotAdmitted = errors.New("not admitted")

func (p *player) sendFrame(text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ws.WriteMessage(websocket.TextMessage, []byte(text))
}

func (p *player) readFrames() {
	defer p.end()
	for {
		_, b, err := p.ws.ReadMessage()
		p.frozen.Lock()
		p.frozen.Unlock() //nolint:staticcheck // it only waits
		if err != nil {
			return
		}
		text := string(b)
		switch {
		case text == "2":
			_ = p.sendFrame("3")
		case strings.HasPrefix(text, "42[") && p.pushed != nil:
			p.pushed(b[2:])
		case strings.HasPrefix(text, "43"):
			at := strings.IndexByte(text, '[')
			id, _ := strconv.Atoi(text[2:at])
			var args []answer
			if json.Unmarshal(b[at:], &args) == nil && len(args) == 1 {
				p.mu.Lock()
				p.asked[id] <- args[0]
				delete(p.asked, id)
				p.mu.Unlock()
			}
		}
	}
}

// askServer waits for an answer and decodes its data. UNAVAILABLE, TIMEOUT and INTERNAL count as no
// answer: the outcome is open.
func (p *player) askServer(event string, payload any, data any) (refused answer, err error) {
	body, err := json.Marshal([]any{event, payload})
	if err != nil {
		return answer{}, err
	}
	got := make(chan answer, 1)
	p.mu.Lock()
	p.next++
	id := p.next
	p.asked[id] = got
	err = p.ws.WriteMessage(websocket.TextMessage, append([]byte("42"+strconv.Itoa(id)), body...))
	p.mu.Unlock()
	if err != nil {
		return answer{}, errUnanswered
	}
	select {
	case a := <-got:
		switch a.Error.Code {
		case "UNAVAILABLE", "TIMEOUT", "INTERNAL":
			return a, errUnanswered
		case "":
			return a, json.Unmarshal(a.Data, data)
		}
		return a, nil
	case <-p.closed:
	case <-time.After(8 * time.Second):
	}
	return answer{}, errUnanswered
}

func (p *player) closeConnection() { _ = p.ws.Close() }

// abandon is what a client does whose network has gone: it forgets the connection, and the gateway
// sees no end of it.
func (p *player) abandon() { p.end() }
