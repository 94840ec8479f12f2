package chaos

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/internal/redistest"
)

// Everybody who stays connected hears what was acknowledged, once and in one order, and the history
// has it once, whatever befalls Redis.
func TestEverybodyHearsThroughFaultsOfRedis(t *testing.T) {
	requireHeard(t, []hearingFault{
		{name: "Redis cuts the subscriptions", prepare: killSubscriptions},
		{name: "the network cuts the subscriptions", prepare: cutSubscriptions},
		{name: "Redis is killed, appendfsync always", prepare: killRedis("always")},
		{name: "Redis is killed, appendfsync everysec", prepare: killRedis("everysec")},
		{name: "the machine of Redis loses power, appendfsync everysec", prepare: loseHalfSecond},
		{name: "a Sentinel failover", prepare: failOver, mayLose: true},
		{name: "an outage: answers of Redis are lost", prepare: breakWire((*redistest.Wire).BlackHole)},
		{name: "an outage: nothing arrives", prepare: breakWire((*redistest.Wire).Isolate)},
		{name: "an outage: connections are refused", prepare: breakWire((*redistest.Wire).Refuse)},
		{name: "the address of Redis moves", prepare: moveAddress, mayLose: true},
		{name: "an outage in which 8 MiB are not enough", prepare: refuseUntilFull, shape: shoutMuch, check: requireFlatMemory},
	})
}

// isTalking reports whether the members still talk.
func (s *hearingStage) isTalking() bool {
	select {
	case <-s.silent:
		return false
	default:
		return true
	}
}

// forRun returns the value of a short or of a full run.
func forRun[T any](short, full T) T {
	if isFullRun() {
		return full
	}
	return short
}

// strikeRepeatedly strikes until nobody talks any more, with a pause before each blow.
func (s *hearingStage) strikeRepeatedly(pause time.Duration, blow func()) {
	for n := 0; s.isTalking() && (isFullRun() || n < 10); n++ {
		s.pauseTalking(pause)
		blow()
	}
}

// killSubscriptions lets Redis close all subscribing connections.
func killSubscriptions(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	server := redistest.Server(t)
	return server.URL(), server.URL(), func(s *hearingStage) {
		s.strikeRepeatedly(300*time.Millisecond, func() {
			require.NoError(t, server.Client().ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
		})
	}
}

// cutSubscriptions lets a relay close only the connections that subscribe.
func cutSubscriptions(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	server := redistest.Server(t)
	relay := redistest.NewRelay(t, server)
	return relay.URL(), server.URL(), func(s *hearingStage) {
		cut := 0
		s.strikeRepeatedly(300*time.Millisecond, func() { cut += relay.CutSubscriptions() })
		require.Positive(t, cut)
	}
}

// killRedis kills Redis with SIGKILL and starts it again on its files.
func killRedis(fsync string) func(*testing.T) (string, string, func(*hearingStage)) {
	return func(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
		server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", fsync)
		return server.URL(), server.URL(), func(s *hearingStage) {
			for range forRun(1, 3) {
				server.Kill()
				time.Sleep(500 * time.Millisecond) // Redis is away
				server.Restart()
				s.pauseTalking(forRun(2*time.Second, 8*time.Second))
			}
		}
	}
}

// loseHalfSecond kills Redis, and what it wrote in the last half second is not in its files.
func loseHalfSecond(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "everysec")
	return server.URL(), server.URL(), func(s *hearingStage) {
		for range forRun(1, 3) {
			size := server.AppendOnlySize()
			s.pauseTalking(500 * time.Millisecond)
			server.Kill()
			require.Greater(t, server.AppendOnlySize(), size, "something is lost")
			server.TruncateAppendOnly(size)
			server.Restart()
			s.pauseTalking(forRun(2*time.Second, 8*time.Second))
		}
	}
}

// failOver kills the master, and sentinels promote its replica.
func failOver(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	sentinels := redistest.StartSentinel(t, "--appendonly", "yes")
	return sentinels.URL(), sentinels.URL(), func(s *hearingStage) {
		former := sentinels.KillMaster()
		require.Eventually(t, func() bool {
			master := sentinels.Master()
			return master != former && strings.Contains(master.Client().Info(t.Context(), "replication").Val(), "role:master")
		}, 30*time.Second, 50*time.Millisecond)
		former.Restart()
	}
}

// breakWire spoils all connections between the gateways and Redis for ten seconds; in a short run
// for two.
func breakWire(begin func(*redistest.Wire)) func(*testing.T) (string, string, func(*hearingStage)) {
	return func(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
		server := redistest.Server(t, "--appendonly", "yes")
		wire := redistest.Toxic(t, server)
		return wire.URL(), server.URL(), func(*hearingStage) {
			begin(wire)
			time.Sleep(forRun(2*time.Second, 10*time.Second)) // the outage
			wire.Mend()
		}
	}
}

// refuseUntilFull is an outage that lasts until a member was answered UNAVAILABLE, because as much
// waits for Redis as may wait.
func refuseUntilFull(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	server := redistest.Server(t, "--appendonly", "yes")
	wire := redistest.Toxic(t, server)
	return wire.URL(), server.URL(), func(s *hearingStage) {
		wire.Refuse()
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, m := range s.said {
				if m.code == "UNAVAILABLE" {
					return true
				}
			}
			return false
		}, time.Minute, 50*time.Millisecond, "nobody was refused")
		wire.Mend()
	}
}

// moveAddress lets the address of Redis lead to a replica that was just promoted, while the former
// master lives.
func moveAddress(t *testing.T) (gatewayURL, setupURL string, strike func(*hearingStage)) {
	former := redistest.Server(t)
	_, port, _ := strings.Cut(former.Addr(), ":")
	later := redistest.Server(t, "--replicaof", "127.0.0.1 "+port)
	replica := later.Client()
	info := func(section, pattern string) func() bool {
		return func() bool {
			return regexp.MustCompile(pattern).MatchString(replica.Info(context.WithoutCancel(t.Context()), section).Val())
		}
	}
	require.Eventually(t, info("replication", "master_link_status:up"), 20*time.Second, 10*time.Millisecond)
	// A server that began only now could be the former one, restarted.
	require.Eventually(t, info("server", `uptime_in_seconds:([4-9]|\d\d)`), 20*time.Second, 10*time.Millisecond)
	relay := redistest.NewRelay(t, former)
	return relay.URL(), former.URL(), func(s *hearingStage) {
		require.NoError(t, replica.Do(t.Context(), "replicaof", "no", "one").Err())
		relay.PointTo(later)
		require.Eventually(t, func() bool { return relay.Open(former) == 0 && relay.Open(later) > 0 }, 20*time.Second, 10*time.Millisecond)
	}
}

// shoutMuch lets two members of one gateway say more than 8 MiB in an outage: texts of 500
// characters of four bytes each.
func shoutMuch(talk *hearingTalk) {
	talk.messages, talk.pause, talk.speakers = forRun(9_000, 12_500), 0, rawEach
	talk.padding = " " + strings.Repeat("🌊", 480)
	talk.atMost = 60 * time.Second
}

// requireFlatMemory holds the gateway to 64 MiB more than an idle one of its kind, after an outage
// in which it kept 8 MiB and had to refuse the rest.
func requireFlatMemory(s *hearingStage, v *hearingVerdict) {
	t := s.world.t
	require.Positive(t, v.open, "what did not fit was answered UNAVAILABLE")
	s.mu.Lock()
	for _, m := range s.said {
		require.Contains(t, []string{"", "UNAVAILABLE"}, m.code)
	}
	s.mu.Unlock()
	idle, busy := residentKB(t, s.startHearingGateway()), residentKB(t, s.gates[0])
	t.Logf("%d KB, an idle gateway %d KB", busy, idle)
	require.Less(t, busy, idle+64<<10)
}

// residentKB returns the largest resident memory that a gateway has had.
func residentKB(t *testing.T, g *gatewayProcess) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		t.Skip("needs /proc")
	}
	_, rest, ok := strings.Cut(string(text), "VmHWM:")
	require.True(t, ok)
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return kb
}

// What another program writes into the log of a channel is dropped and counted. It ends no
// connection, and the messages around it are heard; where Redis did not keep them for it, the
// members are told.
func TestForgedEntriesOfALog(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	stage := newHearingStage(t, server.URL(), server.URL(), hearingTalk{messages: 40 * len(forgedEntries), pause: 20 * time.Millisecond})
	rdb := server.Client()
	stage.startTalk()
	for name, write := range forgedEntries {
		for _, channel := range stage.channels {
			require.NoError(t, write(t.Context(), rdb, logKeyOf(channel)).Err(), name)
		}
		// A node reads its logs when its subscription was cut.
		require.NoError(t, rdb.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
		stage.pauseTalking(200 * time.Millisecond)
	}
	stage.stopTalk(time.Now().Add(20 * time.Second))
	stage.settleHearing(15 * time.Second)
	stage.readHistories()
	v := stage.judge()
	t.Log(v)
	require.Zero(t, v.countFaults(true), "%v\n%s", v, strings.Join(v.complaints, "\n"))
	require.Positive(t, v.acknowledged)
	for _, channel := range stage.channels {
		require.Positive(t, rdb.Exists(t.Context(), logKeyOf(channel)).Val(), "the key is that of the log")
	}
}

// logKeyOf returns the key of a channel's log, a list, with the default prefix.
func logKeyOf(channel string) string { return "{socket.io:log}:room:/#" + chat.RoomPrefix + channel }

// forgedEntries are what another program may write under the key of a log.
var forgedEntries = map[string]func(ctx context.Context, rdb redis.UniversalClient, key string) redis.Cmder{
	"not a cast":           forgeEntry("garbage"),
	"an empty one":         forgeEntry(""),
	"JSON that is cut off": forgeEntry(`["socket.io",{"type":2,"data":["chat:message",{"id":`),
	"binary":               forgeEntry("\xff\xfe\x00\x01\x80"),
	"nested deeply":        forgeEntry(strings.Repeat("[", 100_000)),
	"msgpack that nests":   forgeEntry(strings.Repeat("\x91", 100_000)),
	"2 MiB":                forgeEntry(`["chat:message",{"text":"` + strings.Repeat("x", 2<<20) + `"}]`),
	"a reserved event":     forgeEntry(`["disconnect",{}]`),
	"two packets":          forgeEntry("2[\"chat:message\",{}]\x1e41"),
	"the newest entry once more": func(ctx context.Context, rdb redis.UniversalClient, key string) redis.Cmder {
		newest, err := rdb.LIndex(ctx, key, -1).Result()
		if err != nil {
			return rdb.Ping(ctx) // nothing was said there yet
		}
		return rdb.RPush(ctx, key, newest)
	},
	"a text in its place": func(ctx context.Context, rdb redis.UniversalClient, key string) redis.Cmder {
		return rdb.Set(ctx, key, "boo", 0)
	},
	"a stream in its place": func(ctx context.Context, rdb redis.UniversalClient, key string) redis.Cmder {
		var added *redis.StringCmd
		_, _ = rdb.TxPipelined(ctx, func(p redis.Pipeliner) error { // or a cast comes between; added has the error
			p.Del(ctx, key)
			added = p.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []string{"what", "ever"}})
			return nil
		})
		return added
	},
}

// forgeEntry returns a function that adds an entry to a log, which begins anew if another type
// stands in its place.
func forgeEntry(text string) func(ctx context.Context, rdb redis.UniversalClient, key string) redis.Cmder {
	return func(ctx context.Context, rdb redis.UniversalClient, key string) redis.Cmder {
		if rdb.Type(ctx, key).Val() != "list" {
			rdb.Del(ctx, key)
		}
		return rdb.RPush(ctx, key, text)
	}
}
