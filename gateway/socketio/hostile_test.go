package socketio

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// told is the last event to a client that broke the protocol.
func told(code, message string) string {
	return fmt.Sprintf(`42["error",{"code":%q,"message":%q}]`, code, message)
}

// broke checks that the connection of a client that broke the protocol ends, that the client is
// told why, and that no other connection is affected.
func broke(t *testing.T, w *world, c *wiretest.Client, why string, neighbour *wiretest.Client) {
	t.Helper()
	_, before := w.main.counts()
	rest := c.Rest()
	if len(rest) > 0 { // over polling only a poll that waited hears it
		require.Equal(t, []string{why}, rest)
	}
	require.Eventually(t, func() bool { _, ended := w.main.counts(); return ended > 0 && ended >= before }, wiretest.Patience, tick)
	alive(t, neighbour)
}

func TestAMalformedPacketEndsItsConnectionOnly(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := serve(t, &scene{event: echo}, Config{})
		neighbour, _ := w.join(t, transport)
		for packet, why := range map[string]string{
			"42":                       "an event is a list with a name",
			"421":                      "an event is a list with a name",
			"42{}":                     "an event is a list with a name",
			"42[]":                     "an event is a list with a name",
			"42probe":                  "an event is a list with a name",
			"42[1]":                    "an event's name is a string",
			`42["disconnect"]`:         "a reserved event",
			"431":                      "an acknowledgement is a list",
			"43[]":                     "an acknowledgement without an id",
			"44":                       "unknown type",
			"4":                        "empty",
			"450-":                     "1 to 10 attachments",
			"45":                       "no number of attachments",
			`4511-["a"]`:               "1 to 10 attachments",
			"460-1":                    "1 to 10 attachments",
			"41x":                      "DISCONNECT takes nothing",
			"40[]":                     "CONNECT takes an object",
			`42["a",` + nest(33) + `]`: "an event is a list with a name",
			`42["a","` + "\x00" + `"]`: "an event is a list with a name",
			"bAQID":                    "an attachment of nothing, or a client with another parser, such as msgpack",
			`451-["a",{"_placeholder":true,"num":3}]`: "a placeholder of no attachment",
		} {
			c, _ := w.join(t, transport)
			alive(t, c)
			c.Send(packet, `42["after"]`)
			rest := c.Rest()
			if transport == "websocket" {
				require.Len(t, rest, 1, packet)
			}
			for _, p := range rest {
				require.Equal(t, told("INVALID", "malformed packet: "+why), p, packet)
			}
			require.Eventually(t, func() bool { here, _ := w.main.counts(); return here == 1 }, wiretest.Patience, tick)
			require.Equal(t, engineio.ReasonParseError, w.main.lastReason(), packet)
			alive(t, neighbour)
		}
	})
}

// Malformed packets of Engine.IO, and packets that only look like acknowledgements.
func TestStrangePacketsDoNoHarm(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := serve(t, &scene{event: echo}, Config{})
		neighbour, _ := w.join(t, transport)
		for _, packet := range []string{"2probe", "5", "0{}", "x", "430", "43"} {
			c, _ := w.join(t, transport)
			c.Send(packet)
			c.Rest()
			alive(t, neighbour)
		}
		c, _ := w.join(t, transport)
		c.Send("431[]", "43999999999999999[1,2,3]", `461-7[{"_placeholder":true,"num":0}]`, "bAQID") // never asked
		alive(t, c)
	})
}

func TestASecondConnectEnds(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := serve(t, &scene{event: echo}, Config{})
		neighbour, _ := w.join(t, transport)
		c, _ := w.join(t, transport)
		c.Send("40")
		broke(t, w, c, told("INVALID", "malformed packet: connected twice"), neighbour)

		c = w.open(t, transport) // all in one go
		c.Send(strings.Split(strings.Repeat("40 ", 49)+"40", " ")...)
		rest := c.Rest()
		connected := 0
		for _, p := range rest {
			if strings.HasPrefix(p, "40{") {
				connected++
			}
		}
		require.LessOrEqual(t, connected, 1, "%q", rest)
		require.Eventually(t, func() bool { here, ended := w.main.counts(); return here == 1 && ended == 2 }, wiretest.Patience, tick)
		alive(t, neighbour)
	})
}

func TestConnectsAreCounted(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		asked := 0
		r := &scene{event: echo}
		r.admit = func(_ context.Context, _ *Socket, auth []byte) error {
			if len(auth) > 0 {
				asked++
				return &Refusal{Message: "no"}
			}
			return nil
		}
		w := serve(t, r, Config{})
		neighbour, _ := w.join(t, transport)
		guesser := w.open(t, transport)
		for i := range maxConnects {
			guesser.Send(fmt.Sprintf(`40{"sessionId":"guess-%d"}`, i))
			guesser.Expect(`44{"message":"no"}`)
		}
		guesser.Send(`40{"sessionId":"one more"}`)
		require.Empty(t, guesser.Rest())
		require.Equal(t, maxConnects, asked)

		c := w.open(t, transport) // in and out
		for range maxConnects {
			c.Connect("", "")
			c.Send("41")
		}
		c.Send("40")
		require.Empty(t, c.Rest())

		lost := w.open(t, transport) // for what is not there
		for i := range maxConnects {
			lost.Send(fmt.Sprintf("40/no%d,", i))
			lost.Expect(fmt.Sprintf(`44/no%d,{"message":"Invalid namespace"}`, i))
		}
		lost.Send("40/one-more,")
		require.Empty(t, lost.Rest())
		lost = w.open(t, transport)
		lost.Send("40/" + strings.Repeat("n", maxNamespaceName) + ",")
		require.Empty(t, lost.Rest())

		stray := w.open(t, transport) // packets for a namespace that it is not in
		stray.Connect("", "")
		for range maxStrays {
			stray.Send(`42/custom,["a"]`)
		}
		alive(t, stray)
		stray.Send(`42/custom,["a"]`)
		require.Equal(t, []string{`42["error",{"code":"INVALID","message":"malformed packet: not connected"}]`}, stray.Rest())
		alive(t, neighbour)
	})
}

// A client that enters and leaves for hours is not closed: what counts is a minute.
func TestMinutesAreCountedApart(t *testing.T) {
	t.Parallel()
	c := minuteCounts{}
	for i := range 2 * maxConnects {
		require.Equal(t, i >= maxConnects, c.countConnect(), i)
	}
	require.False(t, c.countStray())
	c.began -= 59
	require.True(t, c.countConnect())
	c.began -= 2
	require.False(t, c.countConnect())
	for i := range 2 * maxStrays {
		require.Equal(t, i >= maxStrays, c.countStray(), i)
	}
}

func TestNothingBeforeConnect(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		served := false
		w := serve(t, &scene{event: func(*Socket, *Event) { served = true }}, Config{})
		for _, packet := range []string{`42["a"]`, `421["a"]`, "431[]", "41", `42/custom,["a"]`} {
			c := w.open(t, transport)
			c.Send(packet, "40")
			require.Empty(t, c.Rest(), packet)
		}
		w.quiet(t)
		require.False(t, served)
	})
}

// Events to a namespace that the client does not know to be left yet are ignored, and close
// nothing.
func TestANamespaceThatWasNotJoined(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		custom := &scene{}
		w := serve(t, &scene{event: echo}, Config{Namespaces: map[string]Receiver{"/custom": custom}})
		c, _ := w.join(t, transport)
		c.Send(`42/custom,1["a"]`, `42/nowhere,["a"]`, "41/custom", "43/custom,1[]", `451-/custom,["a",{"_placeholder":true,"num":0}]`, "bAQID")
		alive(t, c)
		require.Zero(t, custom.fault)
	})
}

func TestAttachments(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := serve(t, &scene{event: echo}, Config{InboundBytes: 1000})
		neighbour, _ := w.join(t, transport)
		head := `452-["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`
		long := "b" + strings.Repeat("AAAA", 200) // 600 bytes
		for name, c := range map[string]struct {
			packets []string
			why     string
		}{
			"a text where one was due":    {[]string{head, "bAQID", `42["a"]`}, told("INVALID", "malformed packet: text where an attachment was due")},
			"a text instead of the first": {[]string{head, head}, told("INVALID", "malformed packet: text where an attachment was due")},
			"DISCONNECT instead":          {[]string{head, "41"}, told("INVALID", "malformed packet: text where an attachment was due")},
			"one too many":                {[]string{strings.Replace(head, "452", "452", 1), "bAQID", "bAQID", "bAQID"}, told("INVALID", "malformed packet: an attachment of nothing, or a client with another parser, such as msgpack")},
			"too much in all":             {[]string{head, long, long}, told("PAYLOAD_TOO_LARGE", "That message is too large.")},
		} {
			t.Run(name, func(t *testing.T) {
				client, _ := w.join(t, transport)
				client.Send(c.packets...)
				var rest []string
				for _, p := range client.Rest() {
					if p != strings.Replace(head, `"m"`, `"m-back"`, 1) && p != "bAQID" { // what was complete is served
						rest = append(rest, p)
					}
				}
				if transport == "websocket" || len(rest) > 0 {
					require.Equal(t, []string{c.why}, rest)
				}
				alive(t, neighbour)
			})
		}
		missing, _ := w.join(t, transport) // for ever: it may not hold anything but itself
		missing.Send(head, "bAQID")
		alive(t, neighbour)
		missing.Send("1")
		neighbour.Send("1")
		w.quiet(t)
	})
}

func TestTheLargestPacketOfAttachments(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := serve(t, &scene{event: echo}, Config{})
		c, _ := w.join(t, transport)
		packets := []string{`4510-["m"`}
		for i := range 10 {
			packets[0] += fmt.Sprintf(`,{"_placeholder":true,"num":%d}`, i)
			packets = append(packets, fmt.Sprintf("bAQI%c", 'A'+i))
		}
		packets[0] += "]"
		c.Send(packets...)
		packets[0] = strings.Replace(packets[0], `"m"`, `"m-back"`, 1)
		c.Expect(packets...)
	})
}

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		for _, where := range []string{"admit", "connected", "event", "instant event", "disconnected"} {
			t.Run(where, func(t *testing.T) {
				core, logs := observer.New(zap.DebugLevel)
				armed := func(s *Socket) bool { return s.Conn().Header().Get("X-Panic") != "" || s.Data() == "armed" }
				arm := func(at string, s *Socket) {
					if at == where && armed(s) {
						panic("boom")
					}
				}
				r := &scene{instant: "now"}
				r.admit = func(_ context.Context, s *Socket, _ []byte) error {
					if armed(s) {
						s.SetData("armed")
					}
					arm("admit", s)
					return nil
				}
				r.connected = func(s *Socket) { arm("connected", s) }
				r.event = func(s *Socket, e *Event) {
					switch string(e.Name) {
					case "now":
						arm("instant event", s)
					case "later":
						arm("event", s)
					}
					echo(s, e)
				}
				r.disconnected = func(s *Socket, _ string) { arm("disconnected", s) }
				w := serve(t, r, Config{Log: zap.New(core)})
				neighbour, _ := w.join(t, transport)
				c := wiretest.Open(t, w.url, transport, wiretest.Header{"X-Panic": {"1"}})
				c.Send("40", `42["now"]`, `42["later"]`)
				if where == "disconnected" {
					c.Send("41")
					require.Eventually(t, func() bool { return logs.Len() > 0 }, wiretest.Patience, tick)
				}
				c.Rest()
				require.Eventually(t, func() bool { here, _ := r.counts(); return here == 1 }, wiretest.Patience, tick)
				alive(t, neighbour)
				neighbour.Send("1")
				w.quiet(t)
				require.Equal(t, 1, logs.Len())
				entry := logs.All()[0]
				require.Equal(t, "receiver panicked", entry.Message)
				require.Equal(t, "boom", entry.ContextMap()["panic"])
				require.Contains(t, entry.ContextMap()["stack"], "hostile_test.go", "where it happened")
				_, ended := r.counts()
				if where != "admit" {
					require.Equal(t, 2, ended)
				}
			})
		}
	})
}

func TestASlowReaderIsToldAndClosed(t *testing.T) {
	t.Parallel()
	w := serve(t, &scene{event: echo}, Config{Engine: engineio.Config{OutboundQueue: 64 << 10, Linger: 100 * time.Millisecond}})
	neighbour, _ := w.join(t, "websocket")
	c, err := wiretest.Silent(t, w.url, "websocket")
	require.NoError(t, err)
	c.Send("40")
	require.Eventually(t, func() bool { here, _ := w.main.counts(); return here == 2 }, wiretest.Patience, tick)
	text := strings.Repeat("x", 32<<10)
	require.Eventually(t, func() bool {
		w.Of("/").CastArgs("nobody", "", "x", Args{})
		for _, conn := range w.Engine().Conns() {
			if s := SocketOf(conn, w.Of("/")); s != nil && s.Conn().ID() == c.Sid {
				_ = s.Emit("flood", text)
			}
		}
		_, ended := w.main.counts()
		return ended == 1
	}, wiretest.Patience, time.Microsecond)
	require.Equal(t, engineio.ReasonSlowConsumer, w.main.lastReason())
	alive(t, neighbour)
}

// Clients know an answer by the namespace that they named, with its query.
func TestAnUnknownNamespaceIsRefusedUnderItsName(t *testing.T) {
	t.Parallel()
	w := serve(t, &scene{event: echo}, Config{})
	c := wiretest.Open(t, w.url, "websocket")
	c.Send("40/x?token=a,{}", "40/?token=a,")
	c.Expect(`44/x?token=a,{"message":"Invalid namespace"}`, `44/?token=a,{"message":"Invalid namespace"}`)
}
