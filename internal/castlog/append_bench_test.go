package castlog

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// BenchmarkAppendScript measures what one cast with a history and a claim costs Redis, in calls of
// some casts to some rooms.
func BenchmarkAppendScript(b *testing.B) {
	for _, c := range []struct{ casts, rooms int }{{1, 50}, {4, 50}, {16, 50}, {64, 50}, {16, 4}, {64, 4}} {
		casts, rooms := c.casts, c.rooms
		b.Run(fmt.Sprintf("%d casts to %d rooms", casts, rooms), func(b *testing.B) {
			rdb := redistest.Server(b).Client()
			l := New(Config{Redis: rdb, Prefix: "bench", Node: "node", Check: func([]byte) (string, bool) { return "", true }, Deliver: func(any, []byte, Position) {}, OnForgotten: func() {}})
			require.NoError(b, sendUntilKnown(b, l))
			for range 2000 / casts { // until the logs are full
				sendBenchCasts(b, l, casts, rooms)
			}
			least := time.Hour // of several rounds, since the machine is not quiet
			for b.Loop() {
				before := readScriptTime(b, rdb)
				for range 20 {
					sendBenchCasts(b, l, casts, rooms)
				}
				least = min(least, readScriptTime(b, rdb)-before)
			}
			b.ReportMetric(float64(least.Nanoseconds())/1000/float64(20*casts), "redis-µs/cast")
		})
	}
}

// sendUntilKnown makes the server know the node.
func sendUntilKnown(b *testing.B, l *Log) error {
	for range 10 {
		reply, err := l.callScript(b.Context(), modeNew, nil)
		if err != nil {
			return err
		}
		l.heard.noteEpoch(reply.position)
		l.boundary = reply.boundary
		if reply.status == "ok" {
			return nil
		}
		if _, err := l.callScript(b.Context(), modeDone, nil); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server refuses the node")
}

// sendBenchCasts appends some casts by one call.
func sendBenchCasts(b *testing.B, l *Log, casts, rooms int) {
	batch := make([]*Pending, casts)
	for i := range batch {
		l.newest++
		room := fmt.Sprintf("chat:room%d", l.newest*7919%uint64(rooms)) // not one after the other
		text := strings.Repeat("x", 40)
		message := fmt.Appendf(nil, `{"id":"01jdxyz%016d","channel":%q,"from":{"userId":"u1","name":"u1"},"text":%q,"at":%d}`, l.newest, room, text, time.Now().UnixMilli())
		batch[i] = &Pending{sequence: l.newest, cast: Cast{
			Rooms: []string{room}, Channels: []string{"socket.io#/#" + room + "#"}, Message: appendSequence(append([]byte("origin "), message...), l.newest),
			History: &History{Key: "chat:history:{" + room + "}", Length: 100, Age: time.Hour, Text: message, Claim: &Claim{
				SlowKey: "chat:slow:u1", Record: fmt.Sprint("once:{u1}:", l.newest), Token: "token", Digest: "0123456789abcdef", Keep: 2 * time.Minute, Answer: `{"id":"01jdxyz","at":1}`,
			}},
		}}
	}
	reply, err := l.callScript(b.Context(), modeNew, batch)
	require.NoError(b, err)
	require.Equal(b, "ok", reply.status)
	require.Len(b, reply.casts, casts)
}

var scriptTime = regexp.MustCompile(`cmdstat_evalsha:calls=\d+,usec=(\d+)`)

// readScriptTime returns how long Redis has run scripts.
func readScriptTime(b *testing.B, rdb redis.UniversalClient) time.Duration {
	info, err := rdb.Info(b.Context(), "commandstats").Result()
	require.NoError(b, err)
	found := scriptTime.FindStringSubmatch(info)
	require.NotNil(b, found)
	n, err := strconv.Atoi(found[1])
	require.NoError(b, err)
	return time.Duration(n) * time.Microsecond
}

// BenchmarkAppendToUsers measures what a cast to two users costs Redis, like that which tells both
// that a trade is completed; redis-cpu-µs/cast is processor time.
func BenchmarkAppendToUsers(b *testing.B) {
	rdb := redistest.Server(b).Client()
	l := New(Config{Redis: rdb, Prefix: "bench", Node: "node", Check: func([]byte) (string, bool) { return "", true }, Deliver: func(any, []byte, Position) {}, OnForgotten: func() {}, IsPrivate: func(room string) bool { return strings.HasPrefix(room, "user:") }})
	require.NoError(b, sendUntilKnown(b, l))
	const users, casts = 200, 32
	for i := range users {
		require.NoError(b, rdb.SAdd(b.Context(), l.base+fmt.Sprint("of:user:u", i), "pid").Err())
	}
	sent := 0
	send := func() {
		batch := make([]*Pending, casts)
		for i := range batch {
			l.newest++
			u := l.newest * 7919 % (users / 2) * 2
			message := fmt.Appendf(nil, "origin %016d %s", l.newest, strings.Repeat("x", 600))
			a, c := fmt.Sprint("user:u", u), fmt.Sprint("user:u", u+1)
			batch[i] = &Pending{sequence: l.newest, cast: Cast{Rooms: []string{a, c}, Channels: []string{"socket.io#/#" + a + "#"}, Message: appendSequence(message, l.newest)}}
		}
		reply, err := l.callScript(b.Context(), modeNew, batch)
		require.NoError(b, err)
		require.Equal(b, "ok", reply.status)
		sent += casts
	}
	for range 400 {
		send()
	}
	sent = 0
	before := readRedisCPU(b, rdb)
	for b.Loop() {
		send()
	}
	b.ReportMetric(1e6*(readRedisCPU(b, rdb)-before)/float64(sent), "redis-cpu-µs/cast")
}

var cpuUsed = regexp.MustCompile(`(?m)^used_cpu_(?:user|sys):([0-9.]+)`)

// readRedisCPU returns the processor time that Redis has used, in seconds.
func readRedisCPU(b *testing.B, rdb redis.UniversalClient) (seconds float64) {
	info, err := rdb.Info(b.Context(), "cpu").Result()
	require.NoError(b, err)
	for _, m := range cpuUsed.FindAllStringSubmatch(info, -1) {
		used, err := strconv.ParseFloat(m[1], 64)
		require.NoError(b, err)
		seconds += used
	}
	return seconds
}
