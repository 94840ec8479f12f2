package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/internal/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the command in a mode on a free port, and returns its URL.
func start(t *testing.T, mode string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serveMode(ctx, mode, addr, "") }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, wiretest.Patience, time.Millisecond)
	return "http://" + addr
}

func TestModes(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, serveMode(t.Context(), "other", "127.0.0.1:0", ""), `unknown mode "other"`)
	require.Error(t, serveMode(t.Context(), "engine", "127.0.0.1:-1", ""))
}

func TestEngineMode(t *testing.T) {
	t.Parallel()
	url := start(t, "engine") + "/engine.io/"
	for _, transport := range []string{"websocket", "polling"} {
		c := wiretest.Open(t, url, transport)
		c.Send("4hello", "bAQIDBA==", "4€")
		c.Expect("4hello", "bAQIDBA==", "4€")
		time.Sleep(700 * time.Millisecond) // longer than interval and timeout: pings are answered
		c.Send("4still here")
		c.Expect("4still here")
		c.Send("1")
		require.Empty(t, c.Rest())
	}
}

// player is a client of socket mode, in the main namespace.
type player struct {
	*wiretest.Client
	id string
}

var ids atomic.Int64

// ask sends an event with an acknowledgement, and returns the answer's list.
func (p player) ask(t *testing.T, event string) string {
	t.Helper()
	id := ids.Add(1)
	p.Send(fmt.Sprintf("42%d%s", id, event))
	head := fmt.Sprintf("43%d", id)
	got := p.Read()
	require.True(t, strings.HasPrefix(got, head+"["), got)
	return got[len(head):]
}

// silent proves that the client was sent nothing up to now.
func (p player) silent(t *testing.T) {
	t.Helper()
	require.Equal(t, `["mark"]`, p.ask(t, `["message-with-ack","mark"]`))
}

func TestSocketMode(t *testing.T) {
	t.Parallel()
	url := start(t, "socket") + "/socket.io/"
	for _, transport := range []string{"websocket", "polling"} {
		enter := func(t *testing.T) player {
			t.Helper()
			c := wiretest.Open(t, url, transport)
			id := c.Connect("", "")
			c.Expect(`42["auth",{}]`)
			return player{c, id}
		}
		// leave ends a connection, so that nobody is pinged for nothing.
		leave := func(all ...player) {
			for _, p := range all {
				p.Send("1")
			}
		}
		for name, walk := range map[string]func(t *testing.T, p player){
			"auth": func(t *testing.T, p player) {
				p.Connect("/custom", `{"token":"abc"}`)
				p.Expect(`42/custom,["auth",{"token":"abc"}]`)
			},
			"deny": func(t *testing.T, _ player) {
				for nsp, auth := range map[string]string{"": `"no"`, "/custom,": `{"x":[1]}`} {
					c := wiretest.Open(t, url, transport)
					c.Send(`40` + nsp + `{"deny":` + auth + `}`)
					c.Expect(`44` + nsp + `{"message":"denied","data":{"code":4001,"why":` + auth + `}}`)
					c.Send("40" + nsp + `{"deny":false}`)
					c.Expect(`44` + nsp + `{"message":"denied","data":{"code":4001,"why":false}}`)
					c.Send("1")
				}
			},
			"unknown namespace": func(t *testing.T, p player) {
				p.Send("40/random")
				p.Expect(`44/random,{"message":"Invalid namespace"}`)
			},
			"message": func(t *testing.T, p player) {
				p.Send(`42["message",1,"2",{"3":[true]}]`)
				p.Expect(`42["message-back",1,"2",{"3":[true]}]`)
				p.Send(`42["message"]`)
				p.Expect(`42["message-back"]`)
				p.Send(`451-["message",{"_placeholder":true,"num":0}]`, "bAQID")
				p.Expect(`451-["message-back",{"_placeholder":true,"num":0}]`, "bAQID")
			},
			"message-with-ack": func(t *testing.T, p player) {
				require.Equal(t, `[1,"2",{"3":[false]}]`, p.ask(t, `["message-with-ack",1,"2",{"3":[false]}]`))
				require.Equal(t, `[]`, p.ask(t, `["message-with-ack"]`))
				p.Send(`42["message-with-ack","nobody asks"]`)
				p.silent(t)
			},
			"join, leave, bcast, bcast-ex": func(t *testing.T, p player) {
				q, other := enter(t), enter(t)
				room := "room of " + p.id
				require.Equal(t, `["joined"]`, p.ask(t, `["join","`+room+`"]`))
				require.Equal(t, `["joined"]`, q.ask(t, `["join","`+room+`"]`))
				p.Send(`42["bcast","` + room + `",1,{"a":2}]`)
				for _, x := range []player{p, q} {
					x.Expect(`42["bcast",1,{"a":2}]`)
				}
				p.Send(`42["bcast","` + room + `"]`)
				for _, x := range []player{p, q} {
					x.Expect(`42["bcast"]`)
				}
				p.Send(`42["bcast-ex","` + room + `","x"]`)
				q.Expect(`42["bcast","x"]`)
				p.silent(t)
				p.Send(`451-["bcast-ex","`+room+`",{"_placeholder":true,"num":0}]`, "bAQID")
				q.Expect(`451-["bcast",{"_placeholder":true,"num":0}]`, "bAQID")
				q.Send(`42["leave","` + room + `"]`)
				q.silent(t)
				p.Send(`42["bcast","` + room + `","y"]`)
				p.Expect(`42["bcast","y"]`)
				for _, x := range []player{q, other} {
					x.silent(t)
				}
				leave(q, other)
			},
			"kick": func(t *testing.T, p player) {
				p.Send(`42["kick",false]`)
				p.Expect("41")
				p.Connect("", "") // the connection is there
				p.Expect(`42["auth",{}]`)
				p.Connect("/custom", "")
				p.Expect(`42/custom,["auth",{}]`)
				p.Send(`42/custom,["kick",true]`)
				require.ElementsMatch(t, []string{"41", "41/custom,"}, p.Rest())
			},
			"panic": func(t *testing.T, p player) {
				q := enter(t)
				p.Send(`42["panic"]`)
				require.Empty(t, p.Rest())
				q.silent(t)
				leave(q)
			},
			"ask": func(t *testing.T, p player) {
				for answer, want := range map[string]string{`[{"a":[1,"b"]}]`: `[{"a":[1,"b"]}]`, "[]": "[]"} {
					p.Send(`42["ask"]`)
					q := p.Read()
					require.Regexp(t, `^42\d+\["question","q"\]$`, q)
					p.Send("43" + q[2:strings.Index(q, "[")] + answer)
					p.Expect(`42["answer",` + want + `,null]`)
				}
				p.Send(`42["ask"]`)
				p.Read()
				require.Regexp(t, `^42\["answer",null,"[a-z ]+"\]$`, p.Read())
			},
			"bcast-ack": func(t *testing.T, p player) {
				q := enter(t)
				room := "asked by " + p.id
				p.Send(`42["bcast-ack","` + room + `"]`)
				p.Expect(`42["answer",[],null]`)
				p.ask(t, `["join","`+room+`"]`)
				q.ask(t, `["join","`+room+`"]`)
				p.Send(`42["bcast-ack","` + room + `"]`)
				for _, x := range []player{p, q} {
					question := x.Read()
					require.Regexp(t, `^42\d+\["question","q"\]$`, question)
					x.Send("43" + question[2:strings.Index(question, "[")] + `["yes"]`)
				}
				p.Expect(`42["answer",["yes","yes"],null]`)
				p.Send(`42["bcast-ack","` + room + `"]`)
				question := q.Read()
				q.Send("43" + question[2:strings.Index(question, "[")] + `["only me"]`)
				p.Read()
				require.Regexp(t, `^42\["answer",\["only me"\],"[a-z ]+"\]$`, p.Read())
				leave(q)
			},
			"burst": func(t *testing.T, p player) {
				q := enter(t)
				for _, name := range []string{"burst", "burst-room"} {
					p.Send(`42["` + name + `",1000]`)
					for i := range 1000 {
						p.Expect(fmt.Sprintf(`42["b",%d]`, i))
					}
				}
				q.silent(t)
				leave(q)
			},
			"bin": func(t *testing.T, p player) {
				p.Send(`42["bin"]`)
				p.Expect(`452-["bin",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]`, "bAQID", "baGVsbG8=")
			},
			"seq": func(t *testing.T, p player) {
				var all []string
				for i := range 300 {
					all = append(all, fmt.Sprintf(`42["seq",%d]`, i))
				}
				p.Send(all...)
				p.Expect(all...)
			},
			"slow": func(t *testing.T, p player) {
				begun := time.Now()
				p.Send(`42["slow"]`, `42["seq",1]`)
				p.Expect(`42["slow-done"]`, `42["seq",1]`)
				require.GreaterOrEqual(t, time.Since(begun), 300*time.Millisecond)
			},
			"volatile": func(t *testing.T, p player) {
				p.Send(`42["volatile"]`)
				last := -1
				for got := p.Read(); got != `42["vol-end"]`; got = p.Read() {
					var i int
					_, err := fmt.Sscanf(got, `42["vol",%d]`, &i)
					require.NoError(t, err, got)
					require.Greater(t, i, last, "in order")
					last = i
				}
			},
			"an unknown event": func(t *testing.T, p player) {
				p.Send(`42["nothing"]`, `427["nothing"]`)
				p.silent(t)
			},
			"arguments of the wrong type": func(t *testing.T, p player) {
				p.Send(`42["join"]`, `42["join",7]`, `42["leave",{}]`, `42["bcast"]`, `42["kick"]`)
				p.Expect("41")
			},
		} {
			t.Run(transport+" "+name, func(t *testing.T) {
				t.Parallel()
				p := enter(t)
				walk(t, p)
				leave(p)
			})
		}
	}
}
