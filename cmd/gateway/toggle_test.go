package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// tellings counts what a player was told of who came and went of another, and returns the last.
func (p *player) tellings(user string) (n int, last string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.frames {
		if strings.HasPrefix(f.name, "presence:") && strings.Contains(string(f.body), fmt.Sprintf(`"userId":%q`, user)) {
			n, last = n+1, f.name
		}
	}
	return n, last
}

// One player enters and leaves a channel with 40 listeners for four seconds. Without limits this
// caused 80,000 deliveries; now a listener is told at most once a second, and with the policy rooms
// most of it is refused too.
func TestAChannelIsToldOfATogglingPlayerOnceASecond(t *testing.T) {
	t.Parallel()
	const listeners = 40
	for name, c := range map[string]struct {
		limits  []string
		refused bool
	}{
		"without limits":             {[]string{"--limit", "rooms=off", "--limit", "events=off"}, false},
		"with the policies as usual": {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--redis", redistest.URL(t), "--dev", "--limit", "connect=off", "--limit-close-after", "0"}, c.limits...)
			gates := []*gate{serve(t, args...), serve(t, args...)}
			all := make([]*player, listeners)
			for i := range all {
				g := gates[i%2]
				all[i] = g.connect(g.guest(fmt.Sprint("listener-", i)))
				all[i].ok("chat:join", `{"channel":"zone:1"}`)
			}
			ann := gates[0].connect(gates[0].guest("ann"))
			served, refused := 0, 0
			isIn := false
			for begun := time.Now(); time.Since(begun) < 4*time.Second; {
				event := "chat:join"
				if isIn {
					event = "chat:leave"
				}
				if a := ann.ask(event, `{"channel":"zone:1"}`); a["ok"] == true {
					served++
					isIn = !isIn
				} else {
					require.Equal(t, "RATE_LIMITED", a["error"].(map[string]any)["code"])
					refused++
				}
			}
			require.Equal(t, c.refused, refused > 0)
			want := "presence:left"
			if isIn {
				want = "presence:joined"
			}
			require.Eventually(t, func() bool {
				for _, p := range all {
					if _, last := p.tellings("ann"); last != want {
						return false
					}
				}
				return true
			}, patience, tick, "each is told the last state")
			deliveries := 0
			for _, p := range all {
				n, _ := p.tellings("ann")
				require.LessOrEqual(t, n, 7, "in four seconds, and at the end of a fifth")
				deliveries += n
			}
			t.Logf("%d served, %d refused, %d deliveries", served, refused, deliveries)
			require.LessOrEqual(t, deliveries, 7*listeners)
			require.NotZero(t, deliveries)
		})
	}
}

// A client that sends as fast as it can is served at the rate of the event's policy, and no faster:
// in each three seconds 300 events of any kind, 60 reads and 15 joins or leaves.
func TestFloodsAreServedAtTheRateOfTheirPolicy(t *testing.T) {
	t.Parallel()
	const window, flood = 3 * time.Second, 900
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--limit", "connect=off", "--limit-close-after", "0", patientLimits)
	for name, c := range map[string]struct {
		payload, policy string
		limit           int
	}{
		"inventory:list": {"null", "reads", 60},
		"combat:list":    {"null", "reads", 60},
		"chat:history":   {`{"channel":"global"}`, "reads", 60},
		"chat:join":      {`{"channel":"global"}`, "rooms", 15},
		"session:ping":   {"null", "events", 300},
	} {
		p := g.connect(g.guest(strings.ReplaceAll(name, ":", "-")))
		p.ok("chat:join", `{"channel":"global"}`)
		begun := time.Now()
		for i := range flood {
			p.send(fmt.Sprintf(`42%d[%q,%s]`, 1000+i, name, c.payload))
		}
		served, refused := 0, 0
		for range flood {
			var a struct {
				OK    bool
				Error struct{ Code, Policy string }
			}
			require.NoError(t, json.Unmarshal(p.take("43", func(frame) bool { return true }).body, &a))
			if a.OK {
				served++
				continue
			}
			require.Equal(t, "RATE_LIMITED", a.Error.Code)
			require.Contains(t, []string{c.policy, "events"}, a.Error.Policy, name)
			refused++
		}
		windows := int(time.Since(begun)/window) + 1
		require.LessOrEqual(t, served, windows*c.limit, name)
		require.Greater(t, served, c.limit/2, name)
		require.Equal(t, flood, served+refused, name)
	}
}
