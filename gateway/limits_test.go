package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// A client that goes on after ten times the limit is told so, and its connection is closed. It gets
// no DISCONNECT, so that it may come back as far as the policy `connect` allows.
func TestWhoGoesOnAndOnIsClosed(t *testing.T) {
	t.Parallel()
	for name, ack := range map[string]bool{"with acknowledgements": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			c, _ := h.enter(t, "ann")
			other, _ := h.enter(t, "ann")
			send := func(i int) {
				if ack {
					c.Send(fmt.Sprintf(`42%d["game:limited"]`, i))
				} else {
					c.Send(`42["game:limited"]`)
				}
			}
			send(1)
			send(2)
			for i := range 20 {
				send(3 + i)
			}
			var fatal, refused int
			for {
				got := c.Read()
				if got == "1" || got == "" || got == "6" {
					break
				}
				if strings.Contains(got, `"fatal":true`) && strings.HasPrefix(got, `42["error",{"code":"RATE_LIMITED"`) {
					fatal++
					break
				}
				if strings.Contains(got, "RATE_LIMITED") {
					refused++
					require.Equal(t, ack, strings.HasPrefix(got, "43"), got)
				}
				require.NotEqual(t, "41", got)
			}
			require.Equal(t, 1, fatal)
			require.Equal(t, map[bool]int{true: 20, false: 19}[ack], refused, "with an acknowledgement the last is answered too")
			closed := h.lines(t, "connection closed", 1)[0]
			require.Equal(t, "rate limited", closed["reason"])
			alive(t, other)
			again, _ := h.enter(t, "ann")
			alive(t, again)
		})
	}
}

func TestRefusalsAreCountedByWindow(t *testing.T) {
	t.Parallel()
	var b refusalBudgets
	l, now := fault.Limit{Policy: "p", Limit: 3, Window: time.Second}, time.Now()
	for range 29 {
		require.False(t, b.countRefusal(l, 10, now))
	}
	require.False(t, b.countRefusal(l, 10, now.Add(time.Second)), "a window has begun anew")
	for range 28 {
		require.False(t, b.countRefusal(l, 10, now.Add(1900*time.Millisecond)))
	}
	other := l
	other.Policy = "q"
	require.False(t, b.countRefusal(other, 10, now))
	require.True(t, b.countRefusal(l, 10, now.Add(1999*time.Millisecond)))
	require.False(t, b.countRefusal(l, 10, now.Add(1999*time.Millisecond)), "once")
	for range 100 {
		require.False(t, (&refusalBudgets{}).countRefusal(l, -1, now))
	}
}

func TestWarnsOnceInAWindowWhenLittleIsLeft(t *testing.T) {
	t.Parallel()
	var b refusalBudgets
	now := time.Now()
	at := func(left int) fault.Limit {
		return fault.Limit{Policy: "p", Limit: 10, Remaining: left, Window: time.Second}
	}
	require.False(t, b.shouldWarn(fault.Limit{}, now))
	require.False(t, b.shouldWarn(at(2), now), "a fifth is not under a fifth")
	require.True(t, b.shouldWarn(at(1), now))
	require.False(t, b.shouldWarn(at(0), now.Add(999*time.Millisecond)))
	require.True(t, b.shouldWarn(at(0), now.Add(time.Second)))

	h := open(t)
	h.purse.near = true
	c, _ := h.enter(t, "ann")
	require.Contains(t, ask(t, c, "game:limited", ""), `"ok":true`)
	require.Contains(t, ask(t, c, "game:limited", ""), `"ok":true`)
	require.Equal(t, `42["limits",{"policies":[{"name":"combat","limit":2,"windowMs":60000,"scope":"user","remaining":0}]}]`, c.Read(), "behind the answer")
	alive(t, c)
}

// Unknown and malformed events spend a policy of their own. When it refuses, that is the answer;
// valid events are still served.
func TestMistakesAreLimited(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.MistakePolicy = "errors" })
	c, _ := h.enter(t, "ann")
	require.Contains(t, ask(t, c, "game:nonsense", ""), "UNKNOWN_EVENT")
	require.Contains(t, ask(t, c, "game:add", `{"a":77}`), "INVALID")
	for _, mistake := range []string{"game:nonsense", "game:more"} {
		require.Contains(t, ask(t, c, mistake, ""), `"code":"RATE_LIMITED"`)
	}
	require.Contains(t, ask(t, c, "game:add", `{"nope":1}`), `"policy":"errors"`)
	require.Contains(t, ask(t, c, "game:rule", ""), "COMBAT_OVER", "a rule's refusal is no mistake")
	alive(t, c)
	for range 20 {
		c.Send(`42["game:nonsense"]`)
	}
	closed := h.lines(t, "connection closed", 1)[0]
	require.Equal(t, "rate limited", closed["reason"])
}

// The first refusal of a limit is one line in the log; the flood after it is logged at debug level.
func TestAFloodOfRefusalsIsOneLine(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, _ := h.enter(t, "ann")
	for range 8 {
		ask(t, c, "game:limited", "")
	}
	levels := map[string]int{}
	for _, e := range h.logs.FilterMessage("event refused").All() {
		levels[e.Level.String()]++
	}
	require.Equal(t, map[string]int{"info": 1, "debug": 5}, levels)
}

func TestNewLimitsAreTold(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, _ := h.enter(t, "ann")
	h.ResendLimits()
	require.JSONEq(t, `["limits",{"policies":[{"name":"combat","limit":2}]}]`, strings.TrimPrefix(c.Read(), "42"))
}

// Every event of a connection is charged to it, whatever the event is, and the refusals count for
// the end of the connection.
func TestEveryEventIsChargedToItsConnection(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.CloseAfter = 1 })
	h.purse.events = 6
	c, _ := h.enter(t, "ann")
	alive(t, c)
	require.Contains(t, ask(t, c, "game:quick", `{}`), `"ok":true`)
	require.Contains(t, ask(t, c, "session:ping", ""), `"ok":true`)
	require.Contains(t, ask(t, c, "game:unknown", ""), "UNKNOWN_EVENT")
	alive(t, c)
	require.Contains(t, c.Read(), `42["limits",{"policies":[{"name":"events","limit":10,"windowMs":60000,"scope":"connection","remaining":1`, "little is left: a warning, once")
	require.Contains(t, ask(t, c, "game:add", `{"a":"x"}`), "INVALID")
	for _, name := range []string{"game:add", "game:quick", "session:ping", "game:unknown", "game:limited", "game:admin"} {
		require.Contains(t, ask(t, c, name, ""), `"code":"RATE_LIMITED"`, name)
	}
	other, _ := h.enter(t, "ann")
	alive(t, other)
	for range 4 { // the limit is 10, and CloseAfter 1
		c.Send(`42["session:ping"]`)
	}
	h.lines(t, "connection closed", 1)
}

// A user has as many connections as are allowed. One more is refused for good, and one that ended
// makes room.
func TestConnectionsOfAUser(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.MaxPerUser = 20 })
	clients := make([]*wiretest.Client, 20)
	for i := range clients {
		clients[i], _ = h.enter(t, "ann", []string{"websocket", "polling"}[i%2])
	}
	require.Len(t, h.Here("ann"), 20)
	refused := wiretest.Open(t, h.url, "websocket")
	refused.Send(`40{"sessionId":"s-ann"}`)
	require.Equal(t, `44{"message":"You have too many connections.","data":{"code":"TOO_MANY_CONNECTIONS"}}`, refused.Read())
	other, _ := h.enter(t, "root")
	alive(t, other)
	clients[7].Send("41")
	h.lines(t, "connection closed", 1)
	again, _ := h.enter(t, "ann")
	alive(t, again)
	require.Len(t, h.Here("ann"), 20)
}
