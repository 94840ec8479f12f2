package chaos

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// How long a live gateway is fed with rubbish: five minutes in `make chaos`.
const (
	fuzzFully  = 5 * time.Minute
	fuzzInTest = 3 * time.Second
)

// TestRubbishOnALiveGateway sends mutated packets to a whole gateway, over websockets, polling,
// plain HTTP and as raw bytes, with sessions and without. In the end the same process still serves.
func TestRubbishOnALiveGateway(t *testing.T) {
	w := newWorld(t, oneServer(t))
	g := w.startGateway("", "--limit", "bearers=off", "--max-http-connections-per-address", "0")
	long := fuzzInTest
	if isFullRun() {
		long = fuzzFully
	}
	stop := time.Now().Add(long)
	w.connectForTest(g, 0)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(worker), 21)) //nolint:gosec // a test
			for time.Now().Before(stop) {
				sendRubbish(dice, g.addr, w.logins[1+worker%(len(w.logins)-1)])
			}
		})
	}
	all.Wait()
	select {
	case <-g.done:
		require.Fail(t, "the gateway ended")
	default:
	}
	require.True(t, g.isAlive())
	w.connectForTest(g, 0) // and lets players in
}

// seeds are packets that are understood; each is mutated.
var seeds = []string{
	`40`, `40{"sessionId":"%s"}`, `41`, `2`, `3`, `42["session:ping"]`, `420["session:ping",null]`, `421["chat:join",{"channel":"global"}]`,
	`422["chat:message",{"channel":"global","text":"hello","idempotencyKey":"a"}]`, `423["chat:history",{"channel":"global","limit":5}]`,
	`424["trade:propose",{"to":"bob"}]`, `425["combat:start",{"npc":"training-dummy"}]`, `426["presence:list",{"limit":3}]`, `427["leaderboard:top",{"name":"global"}]`,
	`451-["chat:message",{"_placeholder":true,"num":0}]`, `42/admin,["x"]`, `429["inventory:list"]`,
}

// mutate changes a few bytes of a packet.
func mutate(dice *rand.Rand, text string) []byte {
	b := []byte(text)
	for range dice.IntN(4) {
		switch at := dice.IntN(len(b) + 1); dice.IntN(5) {
		case 0:
			b = append(b[:at:at], append([]byte{byte(dice.IntN(256))}, b[at:]...)...)
		case 1:
			if at < len(b) {
				b = append(b[:at:at], b[at+1:]...)
			}
		case 2:
			if at < len(b) {
				b[at] ^= 1 << dice.IntN(8)
			}
		case 3:
			b = append(b[:at:at], append(bytes.Repeat([]byte(`[{"a":`), dice.IntN(40)), b[at:]...)...)
		case 4:
			b = append(b, b[:at]...)
		}
	}
	return b
}

// sendRubbish opens one connection of some kind, and sends a few mutated packets over it.
func sendRubbish(dice *rand.Rand, addr, session string) {
	packet := func() []byte {
		seed := seeds[dice.IntN(len(seeds))]
		if strings.Contains(seed, "%s") {
			seed = fmt.Sprintf(seed, session)
		}
		return mutate(dice, seed)
	}
	switch dice.IntN(4) {
	case 0: // a websocket
		c, r, err := websocket.DefaultDialer.Dial("ws://"+addr+"/socket.io/?EIO=4&transport=websocket", nil)
		if r != nil {
			_ = r.Body.Close()
		}
		if err != nil {
			return
		}
		defer c.Close()
		if dice.IntN(3) > 0 {
			_ = c.WriteMessage(websocket.TextMessage, []byte(`40{"sessionId":"`+session+`"}`))
		}
		for range 1 + dice.IntN(20) {
			if c.WriteMessage(websocket.TextMessage+dice.IntN(2), packet()) != nil {
				return
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		for range 5 {
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	case 1: // polling
		base := "http://" + addr + "/socket.io/?EIO=4&transport=polling"
		body := request(http.MethodGet, base, nil)
		_, sid, _ := strings.Cut(string(body), `"sid":"`)
		sid, _, _ = strings.Cut(sid, `"`)
		var payload []byte
		for range 1 + dice.IntN(5) {
			payload = append(append(payload, packet()...), '\x1e')
		}
		request(http.MethodPost, base+"&sid="+sid, payload)
	case 2: // the other routes
		routes := []string{"/auth/login", "/auth/logout?", "/auth/renew?", "/chat/message", "/combat/action", "/api/users/a", "/api/characters/a"}
		route := routes[dice.IntN(len(routes))]
		if strings.HasSuffix(route, "?") { // these would end the session
			session = string(mutate(dice, "nobody"))
		}
		request(http.MethodPost, "http://"+addr+route, packet(), "Authorization", "Bearer "+strings.Map(printable, session))
	default: // bytes
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer c.Close()
		head := "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		_, _ = c.Write(mutate(dice, head))
		rubbish := make([]byte, dice.IntN(300))
		for i := range rubbish {
			rubbish[i] = byte(dice.IntN(256))
		}
		_, _ = c.Write(rubbish)
	}
}

// printable drops what no header may have.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// rubbishClient gives up soon, because a poll may wait.
var rubbishClient = &http.Client{Timeout: time.Second}

// request makes a request, and returns the body of the answer.
func request(method, url string, body []byte, headers ...string) []byte {
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := rubbishClient.Do(r)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	got, _ := io.ReadAll(answer.Body)
	return got
}
