package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/aeturnis/realtime/internal/redistest"
)

// Everybody who stays connected hears what was acknowledged, once and in one order, and the history
// has it once, while what the table says befalls the gateways.
func TestEverybodyHearsWhatWasAcknowledged(t *testing.T) {
	requireHeard(t, []hearingFault{
		{name: "nothing happens", prepare: quietRedis},
		{name: "a node is killed that serves no member", prepare: killBystanders},
	})
}

// quietRedis is a server to which nothing happens.
func quietRedis(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	server := redistest.Server(t)
	return server.URL(), server.URL(), func(*hearingStage) {}
}

// killBystanders lets a fourth gateway come, with two players who talk in the same channels, and
// kills it, again and again.
func killBystanders(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	server := redistest.Server(t)
	return server.URL(), server.URL(), func(s *hearingStage) {
		kills := 2
		if isFullRun() {
			kills = 6
		}
		for kill := range kills {
			g := s.startHearingGateway()
			for i := range 2 {
				name := fmt.Sprintf("stranger-%d-%d", kill, i)
				p, err := dialPlayer(g.addr, 0, createSession(t, s.world.rdb, name))
				if err != nil {
					t.Fatal(err)
				}
				go sayUncounted(s, p, name)
			}
			s.pauseTalking(time.Second)
			g.killProcess()
		}
	}
}

// sayUncounted lets somebody talk in all channels who is no member, until the connection ends.
func sayUncounted(s *hearingStage, p *player, name string) {
	var ignored struct{}
	for _, channel := range s.channels {
		_, _ = p.askServer("chat:join", map[string]string{"channel": channel}, &ignored)
	}
	for i := 0; ; i++ {
		select {
		case <-p.closed:
			return
		case <-time.After(10 * time.Millisecond):
		}
		_, _ = p.askServer("chat:message", map[string]string{"channel": s.channels[i%len(s.channels)], "text": fmt.Sprint(uncounted, name, " ", i)}, &ignored)
	}
}
