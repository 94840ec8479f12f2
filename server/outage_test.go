package server

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/aeturnis/realtime/redisconn"
)

// refusedDial is what a command's error is while Redis is down.
var refusedDial = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}

// An outageTest is a log whose lines are looked at.
type outageTest struct {
	*outage
	log     *zap.Logger
	written *observer.ObservedLogs
	figures outageFigures
}

func newOutageTest(level zapcore.Level) *outageTest {
	core, written := observer.New(level)
	lines := &outageLines{isVerbose: func() bool { return level == zap.DebugLevel }}
	test := &outageTest{log: zap.New(outageCore{core, lines}), written: written}
	test.outage = &outage{log: zap.New(core), held: test.log, lines: lines, source: outageSource{
		figures: func() outageFigures { return test.figures }, touches: func() int { return 7 }, durability: func() string { return "fsync" },
	}}
	return test
}

// messages returns what was written since the last call.
func (o *outageTest) messages() []string {
	messages := []string{}
	for _, e := range o.written.TakeAll() {
		if e.Message == redisChangedMessage {
			m := e.ContextMap()
			e.Message = fmt.Sprint(m["from"], " to ", m["to"])
		}
		messages = append(messages, e.Message)
	}
	return messages
}

// logParts logs what the parts of a node log in an outage: 21 lines.
func (o *outageTest) logParts() {
	for range 7 {
		o.log.Warn("cluster changed", zap.String("state", "local"))
		o.log.Error("fight could not be published", zap.Error(fmt.Errorf("combat: %w", refusedDial)))
		o.log.Warn("event failed", zap.String("code", "UNAVAILABLE"), zap.NamedError("cause", refusedDial))
	}
}

// An outage is one line, and its end is one with its length, its cost and how many lines it saved.
func TestAnOutageIsOneLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutageTest(zap.InfoLevel)
		o.figures = outageFigures{local: 1, again: 1, lost: 1, unpublished: 1, missed: 1}
		o.logParts() // before the monitor has noticed
		o.observe(redisconn.Up, redisconn.Slow, "")
		time.Sleep(time.Second)
		o.observe(redisconn.Slow, redisconn.Down, "no answer in time")
		require.Equal(t, []string{"slow to down"}, o.messages())
		o.logParts()
		time.Sleep(time.Minute)
		o.log.Info("connection closed")
		o.log.Warn("handshake could not be judged", zap.Error(refusedDial))
		o.log.Warn("a warning about something else", zap.Error(errors.New("no such file")))
		require.Equal(t, []string{"connection closed", "handshake could not be judged", "a warning about something else"}, o.messages())

		// It comes back, goes again at once, and is read-only for a moment: the same outage.
		o.observe(redisconn.Down, redisconn.Up, "")
		time.Sleep(outageSettles - time.Millisecond)
		o.observe(redisconn.Up, redisconn.Down, "connection refused")
		time.Sleep(time.Second)
		o.observe(redisconn.Down, redisconn.ReadOnly, "Redis is read-only")
		time.Sleep(time.Second)
		o.noteServer("failover")
		o.figures = outageFigures{local: 5, again: 4, lost: 1, unpublished: 1, missed: 1}
		o.observe(redisconn.ReadOnly, redisconn.Up, "")
		o.logParts()
		time.Sleep(outageSettles)
		synctest.Wait()
		all := o.written.TakeAll()
		require.Len(t, all, 1)
		require.Equal(t, zap.WarnLevel, all[0].Level)
		require.Equal(t, map[string]any{
			"from": "down", "to": "up", "ms": int64(60_000 + 2999 + 2000), "times": int64(2), "server": "failover",
			"local": int64(4), "again": int64(3), "lost": int64(0), "unpublished": int64(0), "missed": int64(0), "unwritten": int64(0),
			"lines":   map[string]int{"cluster changed": 21, "fight could not be published": 21, "event failed": 21, redisChangedMessage: 1},
			"touches": int64(7), "durability": "fsync",
		}, all[0].ContextMap())

		// What was lost makes it an error. The next outage is another one.
		o.observe(redisconn.Up, redisconn.Down, "connection refused")
		o.figures.missed++
		o.observe(redisconn.Down, redisconn.Up, "")
		time.Sleep(outageSettles)
		synctest.Wait()
		all = o.written.TakeAll()
		require.Len(t, all, 2)
		require.Equal(t, zap.ErrorLevel, all[1].Level)
		require.EqualValues(t, 1, all[1].ContextMap()["missed"])
	})
}

// A warning that turns out to be no outage is written a moment later, with the time at which it
// happened.
func TestWhatIsNoOutageIsWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutageTest(zap.InfoLevel)
		begun := time.Now()
		o.observe(redisconn.Up, redisconn.Slow, "")
		o.log.With(zap.String("node", "one")).Warn("cache failed", zap.Error(refusedDial))
		o.observe(redisconn.Slow, redisconn.Up, "")
		require.Empty(t, o.messages(), "it may be the beginning of an outage")
		time.Sleep(holdLines)
		synctest.Wait()
		all := o.written.All()
		require.Equal(t, []string{"up to slow", "cache failed", "slow to up"}, o.messages())
		require.Equal(t, begun, all[1].Time)
		require.Equal(t, "one", all[1].ContextMap()["node"])

		for range maxHeldLines + 3 {
			o.log.Warn("cache failed", zap.Error(refusedDial))
		}
		require.Len(t, o.messages(), 3, "as many wait as may")
		o.lines.writeHeld()
		require.Len(t, o.messages(), maxHeldLines)
	})
}

// A state that lasts is logged though it is not the first of its outage, and so is each right that
// is missing.
func TestAnotherStateThatLastsIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutageTest(zap.InfoLevel)
		o.observe(redisconn.Up, redisconn.Down, "connection refused")
		o.observe(redisconn.Down, redisconn.ReadOnly, "Redis is read-only")
		time.Sleep(outageSettles)
		synctest.Wait()
		require.Equal(t, []string{"up to down", "down to readonly"}, o.messages())
		o.observe(redisconn.ReadOnly, redisconn.Forbidden, "+time")
		o.observe(redisconn.Forbidden, redisconn.Forbidden, "+eval")
		o.observe(redisconn.Forbidden, redisconn.Forbidden, "+time")
		require.Equal(t, []string{"readonly to forbidden", "forbidden to forbidden"}, o.messages())
		for i := range 2 * maxLoggedRights {
			o.observe(redisconn.Forbidden, redisconn.Forbidden, fmt.Sprint(i))
		}
		require.Len(t, o.messages(), maxLoggedRights-2)

		// The process ends during the outage: the last line has the costs.
		time.Sleep(time.Second)
		o.close()
		require.Equal(t, []string{"down to forbidden"}, o.messages())
		o.close()
		require.Empty(t, o.messages())
	})
}

// The level debug writes everything at once.
func TestDebugHoldsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutageTest(zap.DebugLevel)
		o.logParts()
		require.Len(t, o.messages(), 21)
		o.observe(redisconn.Up, redisconn.Down, "connection refused")
		o.logParts()
		require.Len(t, o.messages(), 22)
		o.close()
	})
}

// A restart that is over before the state of Redis changes is one line.
func TestARestartThatNobodySawIsOneLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutageTest(zap.InfoLevel)
		o.logParts()
		o.noteServer(redisconn.Restarted)
		o.logParts()
		time.Sleep(outageSettles + time.Second)
		require.Equal(t, []string{"up to up"}, o.messages())
		o.noteServer(redisconn.Moved) // it has a line of its own
		time.Sleep(outageSettles + time.Second)
		require.Empty(t, o.messages())
	})
}
