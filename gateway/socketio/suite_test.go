package socketio

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// This file has the cases of the official Socket.IO 5 suite, with its constants, over both
// transports: https://github.com/socketio/socket.io/tree/main/docs/socket.io-protocol/v5-test-suite
// The cases about Engine.IO are in package engineio.

// official starts a server as the suite expects it.
func official(t testing.TB) *world {
	receiver := func() *scene {
		return &scene{
			admit: func(_ context.Context, s *Socket, auth []byte) error {
				s.SetData(append(append([]byte(nil), "{}"[:max(0, 2-2*len(auth))]...), auth...))
				return nil
			},
			connected: func(s *Socket) { _ = s.EmitArgs("auth", Args{JSON: s.Data().([]byte)}) },
			event: func(s *Socket, e *Event) {
				if string(e.Name) == "message-with-ack" {
					_ = s.Answer(e.ID, Args{JSON: e.Args, Attachments: e.Attachments})
					return
				}
				_ = s.EmitArgs("message-back", Args{JSON: e.Args, Attachments: e.Attachments})
			},
		}
	}
	return serve(t, receiver(), Config{
		Engine:     engineio.Config{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond, ConnectTimeout: time.Second, MaxPayload: 1e6},
		Namespaces: map[string]Receiver{"/custom": receiver()},
	})
}

func TestConnect(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := official(t)
		for name, c := range map[string]struct{ packet, head, auth string }{
			"the main namespace":                {"40", "40", `42["auth",{}]`},
			"the main namespace, by its name":   {"40/,", "40", `42["auth",{}]`},
			"the main namespace with a payload": {`40{"token":"123"}`, "40", `42["auth",{"token":"123"}]`},
			"another namespace":                 {"40/custom,", "40/custom,", `42/custom,["auth",{}]`},
			"another namespace without a comma": {"40/custom", "40/custom,", `42/custom,["auth",{}]`},
			"another namespace with a payload":  {`40/custom,{"token":"abc"}`, "40/custom,", `42/custom,["auth",{"token":"abc"}]`},
		} {
			t.Run(name, func(t *testing.T) {
				client := w.open(t, transport)
				client.Send(c.packet)
				got := client.Read()
				require.Equal(t, c.head, got[:len(c.head)])
				var keys map[string]any
				require.NoError(t, json.Unmarshal([]byte(got[len(c.head):]), &keys))
				require.Len(t, keys, 1, got)
				require.NotEmpty(t, keys["sid"])
				require.NotEqual(t, client.Sid, keys["sid"], "the sid of the connection is a secret")
				client.Expect(c.auth)
			})
		}
	})
}

func TestUnknownNamespace(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		c := official(t).open(t, transport)
		c.Send("40/random")
		c.Expect(`44/random,{"message":"Invalid namespace"}`)
		c.Send("40/custom")
		c.Read()
		c.Expect(`42/custom,["auth",{}]`)
	})
}

func TestNoConnectInTime(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := official(t)
		begun := time.Now()
		require.Empty(t, w.open(t, transport).Rest())
		took := time.Since(begun)
		require.Greater(t, took, 900*time.Millisecond)
		require.Less(t, took, 5*time.Second, "half of the default")

		c := w.open(t, transport) // refused all the time is not connected
		c.Send("40/random")
		c.Expect(`44/random,{"message":"Invalid namespace"}`)
		require.Empty(t, c.Rest())
	})
}

func TestDisconnect(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := official(t)
		c, _ := w.join(t, transport)
		c.Read() // auth
		c.Send("41")
		require.Eventually(t, func() bool { _, ended := w.main.counts(); return ended == 1 }, wiretest.Patience, tick)
		require.Equal(t, "client namespace disconnect", w.main.lastReason())
		c.Connect("", "") // the connection lives, and has the time to a first CONNECT again
		c.Expect(`42["auth",{}]`)
	})
}

func TestDisconnectFromOneNamespace(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		c, _ := official(t).join(t, transport)
		c.Read() // auth
		c.Connect("/custom", "")
		c.Expect(`42/custom,["auth",{}]`)
		c.Send("41/custom", `42["message","message to main namespace"]`)
		c.Expect(`42["message-back","message to main namespace"]`)
		c.Send(`42/custom,["message","lost"]`, `42["message","message to main namespace"]`)
		c.Expect(`42["message-back","message to main namespace"]`)
	})
}

func TestMessages(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := official(t)
		two := []string{"bAQID", "bBAUG"}
		for name, c := range map[string]struct{ send, want []string }{
			"text":         {[]string{`42["message",1,"2",{"3":[true]}]`}, []string{`42["message-back",1,"2",{"3":[true]}]`}},
			"text, acked":  {[]string{`42456["message-with-ack",1,"2",{"3":[false]}]`}, []string{`43456[1,"2",{"3":[false]}]`}},
			"empty, acked": {[]string{`420["message-with-ack"]`}, []string{`430[]`}},
			"binary": {
				append([]string{`452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`}, two...),
				append([]string{`452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`}, two...),
			},
			"binary, acked": {
				append([]string{`452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`}, two...),
				append([]string{`462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`}, two...),
			},
			"binary in another namespace": {
				append([]string{`452-/custom,["message",[{"_placeholder":true,"num":1}],{"_placeholder":true,"num":0}]`}, two...),
				append([]string{`452-/custom,["message-back",[{"_placeholder":true,"num":1}],{"_placeholder":true,"num":0}]`}, two...),
			},
			"an empty attachment": {
				[]string{`451-["message",{"_placeholder":true,"num":0}]`, "b"},
				[]string{`451-["message-back",{"_placeholder":true,"num":0}]`, "b"},
			},
		} {
			t.Run(name, func(t *testing.T) {
				client, _ := w.join(t, transport)
				client.Read() // auth
				client.Connect("/custom", "")
				client.Read() // auth
				for range 3 {
					client.Send(c.send...)
					client.Expect(c.want...)
				}
			})
		}
	})
}

func TestInvalidFormatsClose(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := official(t)
		for name, packet := range map[string]string{
			"unknown packet type": "4abc", "invalid payload": "42{}", "invalid id": `42abc["message-with-ack",1,"2",{"3":[false]}]`,
		} {
			t.Run(name, func(t *testing.T) {
				c, _ := w.join(t, transport)
				c.Read() // auth
				c.Send(packet)
				rest := c.Rest()
				if transport == "websocket" { // a poll that waits is told too, one that comes later is not
					require.Len(t, rest, 1)
				}
				for _, p := range rest {
					require.Regexp(t, `^42\["error",{"code":"INVALID","message":"malformed packet: `, p)
				}
			})
		}
		c := w.open(t, transport)
		c.Send("4abc")
		require.Empty(t, c.Rest(), "nobody is there to be told")
	})
}
