package server

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// serveQuests serves the gateway with the namespace /quests, and returns its URL.
func serveQuests(t *testing.T, change func(c *Config)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := Config{
		Listeners: map[string]net.Listener{"addr": l}, RedisURL: redistest.URL(t), Dev: true, LogTo: io.Discard, DrainFor: -1,
		Features: []Feature{at("/quests", "quest:add")},
	}
	change(&cfg)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	url := "http://" + l.Addr().String()
	require.Eventually(t, func() bool {
		res, err := http.Get(url + "/health/ready")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, wiretest.Patience, 20*time.Millisecond)
	return url
}

// newSession logs a guest in: a further device.
func newSession(t *testing.T, url, user string) string {
	t.Helper()
	res, err := http.Post(url+"/auth/login", "application/json", strings.NewReader(`{"username":"`+user+`"}`))
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusCreated, res.StatusCode)
	var answer struct{ SessionID string }
	require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
	return answer.SessionID
}

// packetPrefixes stand before the payload of a packet of / and of /quests.
var packetPrefixes = [2]string{"", "/quests,"}

// enterNamespace connects a client to a namespace, and reports whether it was let in. It reads the
// answer, and what comes before it.
func enterNamespace(t *testing.T, c *wiretest.Client, prefix, session string) bool {
	t.Helper()
	c.Send("40" + prefix + `{"sessionId":"` + session + `"}`)
	for {
		switch p := c.Read(); {
		case strings.HasPrefix(p, "40"+prefix+"{"):
			return true
		case strings.HasPrefix(p, "44"+prefix+"{"):
			require.Contains(t, p, "TOO_MANY_CONNECTIONS")
			return false
		}
	}
}

// countEnds counts, in what a client receives until its connection ends, in which namespaces it is
// told that its session ended with a code, and that it is disconnected.
func countEnds(c *wiretest.Client, code string) (told, ended [2]int) {
	for _, p := range c.Rest() {
		for i, prefix := range packetPrefixes {
			if strings.HasPrefix(p, "42"+prefix+`["session:revoked"`) && strings.Contains(p, `"`+code+`"`) {
				told[i]++
			}
			if p == "41"+prefix {
				ended[i]++
			}
		}
	}
	return told, ended
}

// The devices of a user are counted by sessions, whatever namespaces they have connected: a seat is
// taken by the first and given back by the last of them, and who gives way does so in all.
func TestDevicesAreCountedOverNamespaces(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			connect := func(url, session string, prefixes ...string) *wiretest.Client {
				c := wiretest.Open(t, url+"/socket.io/", transport)
				for _, prefix := range prefixes {
					require.True(t, enterNamespace(t, c, prefix, session))
				}
				return c
			}
			for _, second := range packetPrefixes {
				single := serveQuests(t, func(c *Config) { c.Devices = "single" })
				old := connect(single, newSession(t, single, "ann"), packetPrefixes[:]...)
				connect(single, newSession(t, single, "ann"), second)
				told, ended := countEnds(old, "REPLACED")
				require.Equal(t, [2]int{1, 1}, told, second)
				require.Equal(t, [2]int{1, 1}, ended, second)
			}

			oldest := serveQuests(t, func(c *Config) { c.Devices = "oldest:1" })
			first := connect(oldest, newSession(t, oldest, "ann"), packetPrefixes[:]...)
			session := newSession(t, oldest, "ann")
			isRefused := func(prefix string) bool {
				c := wiretest.Open(t, oldest+"/socket.io/", transport)
				defer c.Abort()
				return !enterNamespace(t, c, prefix, session)
			}
			require.True(t, isRefused(""))
			require.True(t, isRefused("/quests,"))
			first.Send("41")
			first.Send(`42/quests,1["session:ping"]`)
			for !strings.HasPrefix(first.Read(), "43/quests,1") {
			}
			require.True(t, isRefused(""), "its other namespace has the seat")
			first.Send("41/quests,")
			require.Eventually(t, func() bool { return !isRefused("/quests,") }, wiretest.Patience, 20*time.Millisecond)
		})
	}
}

// A session that runs out is told in each namespace: first that it is about to, then that it did.
func TestExpiryIsToldInEachNamespace(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			url := serveQuests(t, func(c *Config) { c.SessionTTL = 3 * time.Second })
			c := wiretest.Open(t, url+"/socket.io/", transport)
			session := newSession(t, url, "ann")
			for _, prefix := range packetPrefixes {
				require.True(t, enterNamespace(t, c, prefix, session))
			}
			all := c.Rest()
			for _, prefix := range packetPrefixes {
				var told []string
				for _, p := range all {
					if rest, isOurs := strings.CutPrefix(p, "42"+prefix+`["session:`); isOurs {
						told = append(told, rest[:strings.Index(rest, `"`)])
						if strings.HasPrefix(rest, "revoked") {
							require.Contains(t, rest, `"SESSION_EXPIRED"`)
						}
					}
					if p == "41"+prefix {
						told = append(told, "disconnected")
					}
				}
				require.Equal(t, []string{"expiring", "revoked", "disconnected"}, told, "%q of %q", prefix, all)
			}
		})
	}
}
