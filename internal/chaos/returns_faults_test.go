package chaos

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// returnFaults are what makes members come back.
var returnFaults = []returnFault{
	{name: "links are cut", prepare: onQuietRedis(cutLinks)},
	{name: "tabs are frozen past the ping timeout", prepare: onQuietRedis(freezeMembers), flags: []string{"--ping-interval", "1s", "--ping-timeout", "500ms"}},
	{name: "a node drains", prepare: onQuietRedis(replaceFullest(syscall.SIGTERM)), flags: []string{"--drain-for", "500ms"}},
	{name: "a node is killed", prepare: onQuietRedis(replaceFullest(syscall.SIGKILL))},
	{name: "three nodes are restarted in turn", prepare: onQuietRedis(restartInTurn), flags: []string{"--drain-for", "500ms"}},
	{name: "Redis is killed in the gap, appendfsync always", prepare: killRedisInGap, mayRefuse: 0.09},
	{name: "a Sentinel failover in the gap", prepare: failOverInGap, mayForget: true},
}

// onQuietRedis lets Redis alone.
func onQuietRedis(strike func(*returnStage)) func(t *testing.T) (string, string, func(*returnStage)) {
	return func(t *testing.T) (gatewayURL, setupURL string, _ func(*returnStage)) {
		server := redistest.Server(t)
		return server.URL(), server.URL(), strike
	}
}

// cutLinks ends connections of members, one after the other. Of half of them the gateway sees
// nothing, so that it believes in a connection that is dead while its member comes back. In the
// full run the links of some members are cut for 30 s, and of some for 110 s, just less than two
// minutes.
func cutLinks(s *returnStage) {
	for cuts := 1; !s.hasEnough(); cuts++ {
		m := s.members[rand.IntN(len(s.members))]
		switch cuts % 50 {
		case 0:
			m.awayFor.Store(int64(forRun(3*time.Second, 110*time.Second)))
		case 25:
			m.awayFor.Store(int64(forRun(2*time.Second, 30*time.Second)))
		}
		m.loseConnection(rand.IntN(2) == 0)
		time.Sleep(2400 * time.Millisecond / time.Duration(len(s.members))) // each member's turn comes every 2.4 s, on average
	}
}

// freezeMembers freezes members past the ping timeout.
func freezeMembers(s *returnStage) {
	var frozen sync.WaitGroup
	for !s.hasEnough() {
		m := s.members[rand.IntN(len(s.members))]
		if m.isReady.Load() && !m.isFrozen.Load() {
			frozen.Go(func() { m.freeze(2 * time.Second) })
		}
		time.Sleep(4 * time.Second / time.Duration(len(s.members))) // each member's turn comes every 4 s, on average
	}
	frozen.Wait()
}

// replaceFullest ends the gateway with the most members and starts another in its place, again and
// again.
func replaceFullest(signal syscall.Signal) func(*returnStage) {
	return func(s *returnStage) {
		for !s.hasEnough() {
			s.replaceGateway(s.chooseFullest(), signal)
			s.awaitMembers()
			time.Sleep(500 * time.Millisecond) // they talk
		}
	}
}

// restartInTurn restarts the gateways one after the other, without a wait for their members.
func restartInTurn(s *returnStage) {
	for !s.hasEnough() {
		for index := range s.gates {
			s.replaceGateway(index, syscall.SIGTERM)
			time.Sleep(forRun(300*time.Millisecond, 500*time.Millisecond)) // some have come back, and not all
		}
	}
}

// cutMost ends the connections of two of three members. The others stay, and talk.
func cutMost(s *returnStage) {
	for i, m := range s.members {
		if i%3 > 0 {
			m.loseConnection(false)
		}
	}
}

// killRedisInGap kills Redis while most members are away, and starts it again on its files.
func killRedisInGap(t *testing.T) (gatewayURL, setupURL string, strike func(*returnStage)) {
	server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	return server.URL(), server.URL(), func(s *returnStage) {
		for !s.hasEnough() {
			cutMost(s)
			server.Kill()
			time.Sleep(300 * time.Millisecond) // Redis is away
			server.Restart()
			s.awaitMembers()
			time.Sleep(forRun(time.Second, 2*time.Second)) // they talk
		}
	}
}

// failOverInGap kills the master while most members are away, and starts it again as a replica.
func failOverInGap(t *testing.T) (gatewayURL, setupURL string, strike func(*returnStage)) {
	sentinels := redistest.StartSentinel(t)
	return sentinels.URL(), sentinels.URL(), func(s *returnStage) {
		for !s.hasEnough() {
			cutMost(s)
			former := sentinels.KillMaster()
			require.Eventually(t, func() bool { return sentinels.Master().Addr() != former.Addr() }, 30*time.Second, 50*time.Millisecond)
			former.Restart()
			s.awaitMembers()
			// The sentinels would make it follow too, in a minute or two on a busy machine.
			host, port, err := net.SplitHostPort(sentinels.Master().Addr())
			require.NoError(t, err)
			require.NoError(t, former.Client().SlaveOf(context.WithoutCancel(t.Context()), host, port).Err())
			require.Eventually(t, func() bool {
				return strings.Contains(former.Client().Info(context.WithoutCancel(t.Context()), "replication").Val(), "master_link_status:up")
			}, 30*time.Second, 50*time.Millisecond, "the former master follows")
			time.Sleep(forRun(2*time.Second, 5*time.Second)) // they talk, and the sentinels know the replica
		}
	}
}
