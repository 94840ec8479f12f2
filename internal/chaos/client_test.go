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
	closed chan struct{} // closed when the connection has ended
	pushed func([]byte)  // called with the arguments of each event from the server; nil ignores them

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
	ws, r, err := (&websocket.Dialer{HandshakeTimeout: 5 * time.Second}).Dial("ws://"+addr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return nil, err
	}
	_ = r.Body.Close()
	p := &player{me: me, ws: ws, closed: make(chan struct{}), pushed: pushed, asked: map[int]chan answer{}}
	if _, _, err := ws.ReadMessage(); err != nil {
		return nil, err
	}
	if err := p.sendFrame(fmt.Sprintf(`40{"sessionId":%q}`, session)); err != nil {
		return nil, err
	}
	_, b, err := ws.ReadMessage()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(b), "40") {
		return nil, fmt.Errorf("not admitted: %s", b)
	}
	go p.readFrames()
	return p, nil
}

func (p *player) sendFrame(text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ws.WriteMessage(websocket.TextMessage, []byte(text))
}

func (p *player) readFrames() {
	defer close(p.closed)
	for {
		_, b, err := p.ws.ReadMessage()
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
