package castlog

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// A claim that is sent again, because its answer was lost, is answered as before. Another one is
// refused for a second.
func TestAClaimIsAnsweredAgain(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	nodes := make([]*Log, 2)
	for i, name := range []string{"a", "b"} {
		nodes[i] = New(Config{
			Redis: rdb, Prefix: "test", Node: name, RecordsKeptFor: time.Minute,
			Check: func([]byte) (string, bool) { return "", true }, Deliver: func(any, []byte, Position) {}, OnForgotten: func() {},
		})
		nodes[i].Start()
		t.Cleanup(nodes[i].Close)
	}
	var at Position
	require.Eventually(t, func() bool {
		var err error
		at, _, err = nodes[0].ReadLogs(t.Context(), []string{"r"})
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	pid := HashPID("secret")
	_, err := nodes[0].WriteRecords(t.Context(), []RecordChange{
		{What: RecordNew, PID: pid, Values: []string{"owner", "sid", "r"}},
		{What: RecordEnd, PID: pid, Values: []string{"0"}},
	})
	require.NoError(t, err)
	one := Claimant{PID: pid, Claim: "one", Owner: "owner", Offset: at}
	two := one
	two.Claim = "two"
	first, why, err := nodes[1].TakeRecord(t.Context(), one)
	require.NoError(t, err)
	require.Empty(t, why)
	require.Equal(t, Taken{SocketID: "sid", Former: "a", Holder: "a.0", IsEnded: true, Generation: 1, Rooms: []TakenRoom{{"r", 0}}}, first)
	again, why, err := nodes[1].TakeRecord(t.Context(), one)
	require.NoError(t, err)
	require.Empty(t, why)
	require.Equal(t, first, again)
	for _, l := range nodes {
		busy, why, err := l.TakeRecord(t.Context(), two)
		require.NoError(t, err)
		require.Equal(t, "busy", why)
		require.Equal(t, Taken{SocketID: "sid", Former: "b", Holder: "b.1"}, busy)
	}
	_, why, err = nodes[0].TakeRecord(t.Context(), one)
	require.NoError(t, err)
	require.Equal(t, "busy", why, "the claim of another node")
	two.PassOver = "b.0"
	_, why, err = nodes[0].TakeRecord(t.Context(), two)
	require.NoError(t, err)
	require.Equal(t, "busy", why, "another one was found dead")
	two.PassOver = "b.1"
	taken, why, err := nodes[0].TakeRecord(t.Context(), two)
	require.NoError(t, err)
	require.Empty(t, why)
	require.EqualValues(t, 2, taken.Generation)
	replaced, err := nodes[1].WriteRecords(t.Context(), []RecordChange{{What: RecordJoin, PID: pid, Generation: 1, Values: []string{"r2", "1"}}})
	require.NoError(t, err)
	require.Equal(t, []ReplacedRecord{{pid, 1}}, replaced)
}

// A cast to a user's room is logged while a record of the user lives. The log is forgotten with the
// last record: two minutes after an end, here 400 ms, and at once after a goodbye. A client that
// comes later misses only casts from before it came.
func TestAUsersRoomIsForgottenWithItsRecords(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	const keepFor = 400 * time.Millisecond
	l := newTestLog(t, rdb, "a", func(c *Config) {
		c.RecordsKeptFor = keepFor
		c.IsPrivate = func(room string) bool { return strings.HasPrefix(room, "user:") }
	})
	cast := func(room string) Position {
		t.Helper()
		p, err := l.Append(Cast{Rooms: []string{room}, Message: []byte("hello"), Members: nobody{}}, true)
		require.NoError(t, err)
		outcome, err := p.Wait(t.Context())
		require.NoError(t, err)
		require.False(t, outcome.IsLocal)
		return outcome.At
	}
	read := func(room string) RoomLog {
		t.Helper()
		_, logs, err := l.ReadLogs(t.Context(), []string{room})
		require.NoError(t, err)
		return logs[0]
	}
	write := func(changes ...RecordChange) {
		t.Helper()
		_, err := l.WriteRecords(t.Context(), changes)
		require.NoError(t, err)
	}
	left := func() (all []string) {
		t.Helper()
		keys, err := rdb.Keys(t.Context(), "*").Result()
		require.NoError(t, err)
		for _, key := range keys {
			text := key
			switch rdb.Type(t.Context(), key).Val() {
			case "hash":
				text += fmt.Sprint(rdb.HGetAll(t.Context(), key).Val())
			case "set":
				text += fmt.Sprint(rdb.SMembers(t.Context(), key).Val())
			case "zset":
				text += fmt.Sprint(rdb.ZRange(t.Context(), key, 0, -1).Val())
			}
			if strings.Contains(text, "user:ann") {
				all = append(all, text)
			}
		}
		return all
	}
	at := cast("user:ann")
	require.Empty(t, read("user:ann").Entries, "nobody comes back for it")
	require.Equal(t, at.Number, read("user:ann").Dropped, "and it is known that it is lacking")
	require.Len(t, func() []RoomEntry { cast("r"); return read("r").Entries }(), 1)

	one, two := HashPID("one"), HashPID("two")
	write(RecordChange{What: RecordNew, PID: one, Values: []string{"ann", "sid1", "user:ann", "r"}},
		RecordChange{What: RecordNew, PID: two, Values: []string{"ann", "sid2", "user:ann"}})
	cast("user:ann")
	require.Len(t, read("user:ann").Entries, 1)
	write(RecordChange{What: RecordEnd, PID: one, Values: []string{"0"}})
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), "{test:log}:conn:"+one.String()).Val() == 0 }, 10*time.Second, 10*time.Millisecond)
	sweep := func() {
		t.Helper()
		_, err := l.SweepRecords(t.Context())
		require.NoError(t, err)
	}
	sweep()
	require.Len(t, read("user:ann").Entries, 1, "the other connection may still come back")
	expires := func() time.Duration { return rdb.PTTL(t.Context(), "{test:log}:of:user:ann").Val() }
	require.Equal(t, time.Duration(-1), expires())

	write(RecordChange{What: RecordEnd, PID: two, Values: []string{"0"}})
	ended := time.Now()
	require.Positive(t, expires(), "also where nobody sweeps")
	cast("user:ann")
	require.Len(t, read("user:ann").Entries, 2, "it may come back")
	require.Eventually(t, func() bool { sweep(); return len(left()) == 0 }, 10*time.Second, 10*time.Millisecond, "%v", left)
	require.InDelta(t, keepFor.Seconds(), time.Since(ended).Seconds(), 0.3)
	require.NotEqual(t, "0", rdb.HGet(t.Context(), "{test:log}:head", "bytes").Val(), "the other room's log is counted")

	write(RecordChange{What: RecordNew, PID: two, Values: []string{"ann", "sid2", "user:ann"}})
	cast("user:ann")
	write(RecordChange{What: RecordDrop, PID: two})
	sweep()
	require.Empty(t, left(), "after a goodbye nothing is left")

	write(RecordChange{What: RecordNew, PID: two, Values: []string{"ann", "sid2", "user:ann"}})
	cast("user:ann")
	require.NoError(t, l.ReleaseRecords(t.Context(), false)) // as when its node has died
	var still []string
	require.Eventually(t, func() bool { sweep(); still = left(); return len(still) == 0 }, 10*time.Second, 10*time.Millisecond, "%v", &still)
}

// newTestLog makes a log that hears nothing.
func newTestLog(t *testing.T, rdb redis.UniversalClient, node string, change ...func(*Config)) *Log {
	t.Helper()
	cfg := Config{
		Redis: rdb, Prefix: "test", Node: node,
		Check: func([]byte) (string, bool) { return "", true }, Deliver: func(any, []byte, Position) {}, OnForgotten: func() {},
	}
	for _, f := range change {
		f(&cfg)
	}
	l := New(cfg)
	l.Start()
	t.Cleanup(l.Close)
	return l
}

// nobody is a Member without members.
type nobody struct{}

func (nobody) Deliver(Position) {}
func (nobody) HasMembers() bool { return false }
func (nobody) Release()         {}

// An entry of a log that is no cast makes the log useless: nobody is told that nothing is lacking.
func TestAnEntryThatIsNoCast(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	l := newTestLog(t, rdb, "a")
	p, err := l.Append(Cast{Rooms: []string{"r"}, Message: []byte("hello"), Members: nobody{}}, true)
	require.NoError(t, err)
	_, err = p.Wait(t.Context())
	require.NoError(t, err)
	_, logs, err := l.ReadLogs(t.Context(), []string{"r"})
	require.NoError(t, err)
	require.Zero(t, logs[0].Dropped)
	require.NoError(t, rdb.RPush(t.Context(), "{test:log}:room:r", "what?").Err())
	_, logs, err = l.ReadLogs(t.Context(), []string{"r"})
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, logs[0].Dropped)
}

// One call with casts to many users asks once which of them have records. Where some have none, the
// casts to the others are logged all the same, and only those.
func TestOneCallAsksOnceForRecords(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	l := New(Config{
		Redis: rdb, Prefix: "test", Node: "a", Check: func([]byte) (string, bool) { return "", true }, Deliver: func(any, []byte, Position) {}, OnForgotten: func() {},
		IsPrivate: func(room string) bool { return strings.HasPrefix(room, "user:") },
	})
	for status := ""; status != "ok"; {
		reply, err := l.callScript(t.Context(), modeNew, nil)
		require.NoError(t, err)
		l.heard.noteEpoch(reply.position)
		l.boundary, status = reply.boundary, reply.status
		if status != "ok" {
			_, err = l.callScript(t.Context(), modeDone, nil)
			require.NoError(t, err)
		}
	}
	const users = 20
	send := func() (asked int) {
		t.Helper()
		var batch []*Pending
		for i := range users {
			l.newest++
			rooms := []string{fmt.Sprint("user:", i), fmt.Sprint("user:", (i+1)%users), "open"}
			batch = append(batch, &Pending{sequence: l.newest, cast: Cast{Rooms: rooms, Message: appendSequence([]byte("hello"), l.newest)}})
		}
		require.NoError(t, rdb.ConfigResetStat(t.Context()).Err())
		reply, err := l.callScript(t.Context(), modeNew, batch)
		require.NoError(t, err)
		require.Equal(t, "ok", reply.status)
		stats, err := rdb.Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		if _, rest, ok := strings.Cut(stats, "cmdstat_exists:calls="); ok {
			_, err = fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &asked)
			require.NoError(t, err)
		}
		return asked
	}
	logged := func(room string) int64 { return rdb.LLen(t.Context(), l.base+"room:"+room).Val() }
	for i := range users {
		require.NoError(t, rdb.SAdd(t.Context(), l.base+"of:user:"+fmt.Sprint(i), "pid").Err())
	}
	require.Equal(t, 1, send())
	require.Equal(t, 1, send())
	require.EqualValues(t, 4, logged("user:7"))
	require.NoError(t, rdb.Del(t.Context(), l.base+"of:user:7", l.base+"of:user:9").Err())
	require.Equal(t, 1+users, send(), "each user is asked for once")
	require.EqualValues(t, 4, logged("user:7"))
	require.EqualValues(t, 6, logged("user:8"))
	require.EqualValues(t, 4, logged("user:9"))
	require.EqualValues(t, 3*users, logged("open"))
}
