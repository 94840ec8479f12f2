package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/loadtest"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// 10,000 clients whose node is killed are back on the other two within 10 s, and recovered. Their
// rooms are read from Redis once by each node, and not once for each client.
func TestTenThousandReturnAtOnce(t *testing.T) {
	if !isFullRun() {
		t.Parallel()
	}
	clients, roomSize := forRun(400, 10_000), forRun(50, 100)
	server := redistest.Server(t)
	w := &world{t: t, site: &site{gatewayURL: server.URL()}, program: binary}
	var gates []*gatewayProcess
	for range hearingGateways {
		gates = append(gates, w.startGateway("", "--limit", "chat=off"))
	}
	rdb := server.Client()
	var readsBefore atomic.Int64
	res, err := loadtest.Run(t.Context(), "recovery", loadtest.Config{
		Target: "http://" + gates[0].addr, ReturnTo: []string{"http://" + gates[1].addr, "http://" + gates[2].addr}, Redis: server.URL(),
		Clients: clients, RoomSize: roomSize, Rate: forRun[float64](50, 100), For: forRun(8*time.Second, 25*time.Second), Ramp: forRun(time.Second, 5*time.Second),
		Timeout: 15 * time.Second, Reconnect: true,
		Watch: func(measuring bool) {
			if measuring {
				go func() {
					time.Sleep(2 * time.Second) // they talk
					readsBefore.Store(countCalls(t, rdb, "xrange"))
					gates[0].killProcess()
				}()
			}
		},
	}, nil)
	require.NoError(t, err)
	reads := countCalls(t, rdb, "xrange") - readsBefore.Load()
	var table strings.Builder
	require.NoError(t, res.Table(&table))
	t.Logf("%d logs were read\n%s", reads, table.String())
	require.Zero(t, res.Faults(), "%+v", res.Recovery)
	require.EqualValues(t, clients, res.Recovery.Ended)
	require.EqualValues(t, clients, res.Returned)
	require.GreaterOrEqual(t, float64(res.Recovery.Recovered), recoveredShare*float64(clients))
	require.LessOrEqual(t, res.Back.Max, 10_000.0)
	// Each client's own two rooms, its user's and its socket's, and the shared ones once by each of
	// the two nodes.
	require.LessOrEqual(t, reads, int64(2*clients+2*clients/roomSize+clients/20))
}

// countCalls returns how often a server has called a command, in scripts too.
func countCalls(t *testing.T, rdb redis.UniversalClient, command string) int64 {
	info, err := rdb.Info(context.WithoutCancel(t.Context()), "commandstats").Result()
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^cmdstat_` + command + `:calls=(\d+)`).FindStringSubmatch(info)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	require.NoError(t, err)
	return n
}

// recordPrefix begins the keys of the records of connections, with the default prefix.
const recordPrefix = "{socket.io:log}:conn:"

// Two minutes after connections ended nothing of them is left in Redis: after a goodbye there is no
// record, and whatever else is left expires by then, also when its node was killed.
func TestNothingOfAConnectionStays(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb, err := redisconn.New(server.URL(), redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	w := &world{t: t, site: &site{gatewayURL: server.URL()}, program: binary}
	killed, living := w.startGateway(""), w.startGateway("")
	var sids []string
	enter := func(g *gatewayProcess, user string) *player {
		p, a, err := dialWithAuth(g.addr, fmt.Sprintf(`{"sessionId":%q}`, createSession(t, rdb, user)), nil)
		require.NoError(t, err)
		go p.readFrames()
		sids = append(sids, a.SID)
		var ignored struct{}
		for event, payload := range map[string]map[string]string{"chat:join": {"channel": "zone:z"}, "chat:whisper": {"to": user, "text": "for me"}} {
			got, err := p.askServer(event, payload, &ignored)
			require.NoError(t, err)
			require.Empty(t, got.Error.Code)
		}
		return p
	}
	const each = 5
	var leaving, cut []*player
	for i := range each {
		leaving = append(leaving, enter(living, fmt.Sprint("stays-leaves", i)))
		cut = append(cut, enter(living, fmt.Sprint("stays-cut", i)))
		t.Cleanup(enter(killed, fmt.Sprint("stays-killed", i)).closeConnection)
	}
	records := func() []string { return scanKeys(t, rdb, recordPrefix+"*") }
	require.Eventually(t, func() bool { return len(records()) == 3*each }, 10*time.Second, 10*time.Millisecond, "a record for each")
	for _, key := range records() {
		used, err := rdb.MemoryUsage(t.Context(), key).Result()
		require.NoError(t, err)
		require.LessOrEqual(t, used, int64(400), "a record has at most 400 bytes: %v", rdb.HGetAll(t.Context(), key).Val())
		require.EqualValues(t, -1, rdb.PTTL(t.Context(), key).Val(), "it does not expire while its node lives")
	}
	for _, p := range leaving {
		require.NoError(t, p.sendFrame("41"))
	}
	require.Eventually(t, func() bool { return len(records()) == 2*each }, 10*time.Second, 10*time.Millisecond, "after a goodbye there is no record")
	for _, p := range cut {
		p.closeConnection()
	}
	killed.killProcess()
	ended := time.Now()
	require.Eventually(t, func() bool {
		for _, key := range records() {
			left := rdb.PTTL(t.Context(), key).Val()
			if left < 0 || left > 2*time.Minute-time.Since(ended)+2*time.Second {
				return false
			}
		}
		return true
	}, time.Minute, 100*time.Millisecond, "each record expires two minutes after the end")
	require.Eventually(t, func() bool { return len(rdb.SMembers(t.Context(), "online:users").Val()) == 0 }, time.Minute, 100*time.Millisecond)
	living.killProcess() // so that nothing is written any more
	for _, key := range scanKeys(t, rdb, "*") {
		switch left := rdb.PTTL(t.Context(), key).Val(); {
		case left < 0 && !ofUsers.MatchString(key):
			for _, sid := range sids {
				require.NotContains(t, dumpKey(t, rdb, key), sid, key)
			}
			require.NotContains(t, dumpKey(t, rdb, key), "stays-", key)
			require.NotContains(t, key, "stays-")
		case strings.HasPrefix(key, "{socket.io:log}:"):
			require.LessOrEqual(t, left, 10*time.Minute, key) // logs of rooms, which are kept for longer than records
		}
	}
}

// ofUsers are keys of users, and not of connections: the character that a user played last, when
// the user was online last, and sizes and times of the logs of users' rooms.
var ofUsers = regexp.MustCompile(`^user:.*:character$|:seen$|^\{socket\.io:log\}:(sizes|cuts|rooms)$`)

func scanKeys(t *testing.T, rdb redis.UniversalClient, pattern string) (keys []string) {
	all := rdb.Scan(t.Context(), 0, pattern, 1000).Iterator()
	for all.Next(t.Context()) {
		keys = append(keys, all.Val())
	}
	require.NoError(t, all.Err())
	return keys
}

// dumpKey returns what a key has, whatever its type, as text.
func dumpKey(t *testing.T, rdb redis.UniversalClient, key string) string {
	ctx := t.Context()
	switch kind := rdb.Type(ctx, key).Val(); kind {
	case "string":
		return rdb.Get(ctx, key).Val()
	case "hash":
		return fmt.Sprint(rdb.HGetAll(ctx, key).Val())
	case "set":
		return fmt.Sprint(rdb.SMembers(ctx, key).Val())
	case "zset":
		return fmt.Sprint(rdb.ZRange(ctx, key, 0, -1).Val())
	case "stream":
		return fmt.Sprint(rdb.XRange(ctx, key, "-", "+").Val())
	case "list":
		return fmt.Sprint(rdb.LRange(ctx, key, 0, -1).Val())
	default:
		t.Fatalf("%s is a %s", key, kind)
		return ""
	}
}

// On a Redis Cluster there is no one order: nobody has a pid, and whoever presents one is new.
func TestNobodyIsRecoveredOnACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	rdb, err := redisconn.New(c.URL(), redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	w := &world{t: t, site: &site{gatewayURL: c.URL()}, program: binary}
	g := w.startGateway("")
	session := createSession(t, rdb, "ann")
	for _, auth := range []string{`{"sessionId":%q}`, `{"pid":"AAAAAAAAAAAAAAAAAAAAAA","offset":"abcdefgh-1","sessionId":%q}`} {
		greeting := make(chan []byte, 1)
		p, a, err := dialWithAuth(g.addr, fmt.Sprintf(auth, session), func(args []byte) {
			if strings.HasPrefix(string(args), `["session"`) {
				greeting <- args
			}
		})
		require.NoError(t, err)
		t.Cleanup(p.closeConnection)
		require.NotEmpty(t, a.SID)
		require.Empty(t, a.PID)
		go p.readFrames()
		select {
		case args := <-greeting:
			var event []json.RawMessage
			require.NoError(t, json.Unmarshal(args, &event))
			require.Len(t, event, 2, "no position: %s", args)
			require.Contains(t, string(event[1]), `"recovered":false`)
		case <-time.After(10 * time.Second):
			require.Fail(t, "no session")
		}
	}
}
