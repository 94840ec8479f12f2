package loadtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newOrderedRoom returns a room of recovery in which all clients speak, without connections.
func newOrderedRoom(clients int) *run {
	r := &run{cfg: Config{Clients: clients, RoomSize: clients}.withDefaults(), createdAt: time.Now()}
	r.tallies = []*tally{newTally()}
	for i := range clients {
		r.clients = append(r.clients, &client{run: r, tally: r.tallies[0], index: uint32(i), room: -1, speakerIndex: -1})
	}
	r.workload = newRecovery(r)
	return r
}

// Each member hears the messages in the order in which they stand; a message is speaker * 1000 +
// seq. What two members heard in different orders is noticed, unless one of the two was local.
func TestRoomOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		heard      [][]int // by member
		local      []int
		disordered int64
	}{
		"the same everywhere":                              {[][]int{{0, 1000, 1}, {0, 1000, 1}, {0, 1000, 1}}, nil, 0},
		"a member missed one before it heard others first": {[][]int{{1000, 1}, {0, 1000, 1}, {0, 1000, 1}}, nil, 0},
		"a member missed one":                              {[][]int{{0, 1000, 1}, {0, 1}, {0, 1000, 1}}, nil, 0},
		"two swapped at one member":                        {[][]int{{0, 1000, 1}, {1000, 0, 1}, {0, 1000, 1}}, nil, 1},
		"and one of them was local":                        {[][]int{{0, 1000, 1}, {1000, 0, 1}, {0, 1000, 1}}, []int{0}, 0},
		"the other one was local":                          {[][]int{{0, 1000, 1}, {1000, 0, 1}, {0, 1000, 1}}, []int{1000}, 0},
		"a third one was local":                            {[][]int{{0, 1000, 1}, {1000, 0, 1}, {0, 1000, 1}}, []int{1}, 1},
		"a speaker's swapped at all":                       {[][]int{{1, 0}, {1, 0}, {1, 0}}, nil, 3},
		"one late at two members":                          {[][]int{{0, 1, 2, 1000}, {1, 2, 1000, 0}, {1, 2, 0, 1000}}, nil, 2},
		"each order is another":                            {[][]int{{0, 1000, 2000}, {1000, 2000, 0}, {2000, 1000, 0}}, nil, 3},
		"a late one, after a local newest":                 {[][]int{{0, 1000, 1}, {1000, 1, 0}, nil}, []int{1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newOrderedRoom(3)
			o := r.rooms[0].order
			for _, m := range c.local {
				o.excuseMessage(m/1000, uint32(m%1000))
			}
			for i, all := range c.heard {
				for _, m := range all {
					tracker := &r.clients[i].heardFrom[m/1000]
					tracker.recordArrival(uint32(m % 1000))
					o.recordHearing(r.clients[i], heardMessage{speaker: m / 1000, seq: uint32(m % 1000)}, tracker.next-1)
				}
			}
			require.Equal(t, c.disordered, o.countDisordered(r.clients))
		})
	}
}

// An answer tells that a message is local, perhaps after the message was heard.
func TestAnAnswerAfterTheHearingExcuses(t *testing.T) {
	t.Parallel()
	r := newOrderedRoom(2)
	o := r.rooms[0].order
	for _, c := range []struct{ client, speaker int }{{0, 0}, {0, 1}, {1, 1}, {1, 0}} {
		r.clients[c.client].heardFrom[c.speaker].recordArrival(0)
		o.recordHearing(r.clients[c.client], heardMessage{speaker: c.speaker}, 0)
	}
	require.EqualValues(t, 1, o.countDisordered(r.clients))
	require.True(t, r.workload.checkAnswer(r.clients[0], 0, []byte(`[{"ok":true,"data":{"id":"x","at":1,"local":true}}]`)))
	require.Zero(t, o.countDisordered(r.clients))
	require.EqualValues(t, 1, r.tallies[0].local)
}

// What an order remembers is bounded, and what it does not remember does not pass as in order.
func TestRoomOrderIsBounded(t *testing.T) {
	t.Parallel()
	r := newOrderedRoom(2)
	o, a, b := r.rooms[0].order, r.clients[0], r.clients[1]
	const all = 3 * orderWindow
	for seq := range uint32(all) {
		a.heardFrom[0].recordArrival(seq)
		o.recordHearing(a, heardMessage{seq: seq}, seq)
	}
	require.Len(t, o.speakers[0].places, orderWindow)
	for seq := range uint32(all) {
		o.recordHearing(b, heardMessage{seq: seq}, seq)
	}
	require.Zero(t, o.countDisordered(r.clients), "a member that is far behind hears the same order")
	for range maxInversions + 10 {
		o.recordHearing(b, heardMessage{seq: all - 2}, all-1)
	}
	require.Len(t, o.inversions, maxInversions)
	require.EqualValues(t, maxInversions+10, o.countDisordered(r.clients))
}

// What a member missed is a fault, unless the server told it afterwards that it missed something.
func TestMissedToldAndInSilence(t *testing.T) {
	t.Parallel()
	r := newOrderedRoom(2)
	from, to := r.clients[0], r.clients[1]
	say := func(ok bool) {
		_, _, seq := r.workload.appendEvent(from, from.nextID.Load(), nil)
		if ok {
			r.workload.checkAnswer(from, seq, []byte(`[{"ok":true,"data":{"id":"x"}}]`))
		}
		from.heardFrom[0].recordArrival(seq)
	}
	hear := func(seq uint32) { to.heardFrom[0].recordArrival(seq) }
	status := func(text string) { r.workload.checkPushedEvent(to, []byte(`["gateway:status",`+text+`]`)) }
	for range 6 {
		say(true)
	}
	hear(0)
	hear(3)
	status(`{"cluster":"ok"}`)
	require.Zero(t, r.tallies[0].notices)
	status(`{"cluster":"ok","missed":true}`) // of 1, 2, 4 and 5
	hear(5)                                  // which came late, after all
	for range 4 {
		say(true)
	}
	say(false) // was not answered
	hear(7)    // and 6, 8 and 9 are missed in silence
	end := r.tallies[0].counts
	r.countLosses(&end)
	require.EqualValues(t, 3, end.missedTold)
	require.EqualValues(t, 3, end.missedUntold)
	require.EqualValues(t, 10, end.acknowledged)
	require.EqualValues(t, 1, end.notices)
}

// The mischief of a proxy between a member and its node is found in this scenario too.
func TestRecoveryFindsMischief(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	for what, of := range map[string]func(Result) int64{
		"pass":   func(r Result) int64 { return int64(r.Faults()) },
		"drop":   func(r Result) int64 { return r.Recovery.MissedUntold },
		"double": func(r Result) int64 { return r.Doubled },
		"swap":   func(r Result) int64 { return r.Reordered },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			x := startProxy(t, p.url, `42["chat:message"`, what, 10)
			cfg := settings(p)
			cfg.Target, cfg.Nodes, cfg.Clients, cfg.RoomSize, cfg.Rate, cfg.Timeout = p.url, []string{x.url}, 4, 4, 100, 3*time.Second
			res, err := Run(context.Background(), "recovery", cfg, nil)
			require.NoError(t, err)
			require.EqualValues(t, of(res), res.Faults(), "nothing else is counted: %+v %+v", res, res.Recovery)
			if what == "swap" { // when the member was the first to hear the two, each other member hears another order
				require.GreaterOrEqual(t, of(res), x.done.Load())
			} else {
				require.Equal(t, x.done.Load(), of(res), "each mischief is counted once: %+v %+v", res, res.Recovery)
			}
			require.Equal(t, what != "pass", x.done.Load() > 0)
			require.Equal(t, res.Sent, res.Recovery.Acknowledged)
			require.Zero(t, res.Recovery.Local)
		})
	}
}

// Clients whose links are cut return with the state of their connection, as the official client
// does: the Node peer recovers all of them, and they have missed nothing.
func TestWhoIsRecoveredMissedNothing(t *testing.T) {
	t.Parallel()
	p := startPeer(t, "ADAPTER=memory", "RECOVERY=1")
	x := startProxy(t, p.url, "-", "pass", 1)
	cfg := settings(p)
	cfg.Target, cfg.ReturnTo, cfg.Rate, cfg.For, cfg.Reconnect = x.url, []string{p.url, p.url}, 200, 4*time.Second, true
	cfg.Watch = func(on bool) {
		if on {
			time.AfterFunc(time.Second, x.cut)
		}
	}
	res, err := Run(context.Background(), "recovery", cfg, nil)
	require.NoError(t, err)
	res.Samples, res.Distribution = nil, nil
	require.Zero(t, res.Faults(), "%+v %+v", res, res.Recovery)
	require.EqualValues(t, cfg.Clients, res.Returned)
	require.EqualValues(t, cfg.Clients, res.Recovery.Ended)
	require.EqualValues(t, cfg.Clients, res.Recovery.Recovered, "%+v", res.Recovery)
	require.Greater(t, res.Back.P99, 400.0, "as a browser, about a second later")
}

// A client that is not recovered need not have heard what was said while it was away, and one that
// is recovered must.
func TestTheRecoveredAreExcusedNothing(t *testing.T) {
	t.Parallel()
	p := startPeer(t, "ADAPTER=memory", "RECOVERY=1")
	for what, env := range map[string]struct {
		peer      peer
		recovered bool
	}{"recovered": {p, true}, "not recovered": {startPeer(t), false}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			x := startProxy(t, env.peer.url, `42["chat:message"`, "drop", 10)
			cfg := settings(env.peer)
			cfg.Target, cfg.Clients, cfg.RoomSize, cfg.Rate, cfg.For, cfg.Reconnect, cfg.Timeout = x.url, 4, 4, 200, 4*time.Second, true, 3*time.Second
			cfg.Watch = func(on bool) {
				if on {
					time.AfterFunc(2*time.Second, x.cut)
				}
			}
			res, err := Run(context.Background(), "recovery", cfg, nil)
			require.NoError(t, err)
			res.Samples, res.Distribution = nil, nil
			require.EqualValues(t, 4, res.Returned, "%+v", res)
			if env.recovered {
				require.EqualValues(t, 4, res.Recovery.Recovered, "%+v", res.Recovery)
			} else {
				require.Zero(t, res.Recovery.Recovered)
			}
			// What the proxy dropped right before the cut came again, with the replay.
			require.InDelta(t, x.done.Load(), res.Recovery.MissedUntold, 8, "%+v %+v", res, res.Recovery)
			require.Equal(t, res.Recovery.MissedUntold, int64(res.Faults()), "and nothing else is a fault: %+v", res)
		})
	}
}

// The state that a client presents is that of the last answer to CONNECT, and of the last event
// that ended with a text.
func TestTheStateOfAConnection(t *testing.T) {
	t.Parallel()
	r := newOrderedRoom(1)
	r.cfg.Reconnect = true
	r.scenario.name = "recovery"
	c := r.clients[0]
	c.sessionID, c.user = "s", "u"
	receive := func(kind byte, body string) { c.handleSocketIOPacket(getScratch(), kind, []byte(body), 0) }
	require.Equal(t, `{"sessionId":"s"}`, string(c.appendAuth(nil)))
	receive('2', `["early",{},"e-1"]`)
	receive('0', `{"sid":"a","pid":"p"}`)
	require.Equal(t, `{"pid":"p","sessionId":"s"}`, string(c.appendAuth(nil)))
	for body, want := range map[string]string{
		`["session",{"userId":"u"},"e-17"]`: "e-17",
		`["other","e-18"]`:                  "e-18",
		`["other",{"a":"b"}]`:               "",
		`["other",["b"]]`:                   "",
		`["other","a\"b"]`:                  "",
		`["other"]`:                         "",
		`["other",7]`:                       "",
	} {
		c.offset = nil
		receive('2', body)
		require.Equal(t, want, string(c.offset), body)
	}
	c.offset = []byte("e-17")
	require.Equal(t, `{"pid":"p","offset":"e-17","sessionId":"s"}`, string(c.appendAuth(nil)))
	comeBack := func(answer, session string) (recovered bool, wrong int64) {
		c.isJoined, c.awaitsSession, c.tally.wrong = false, true, 0
		receive('0', answer)
		receive('2', session)
		return c.isRecovered.Load(), c.tally.wrong
	}
	for _, turn := range []struct {
		answer, session string
		recovered       bool
		wrong           int64
	}{
		{`{"sid":"a","pid":"p"}`, `["session",{"userId":"u","recovered":true},"e-17"]`, true, 0},
		{`{"sid":"a","pid":"p"}`, `["session",{"userId":"u","recovered":false},"e-17"]`, true, 1},
		{`{"sid":"other","pid":"p"}`, `["session",{"userId":"u","recovered":true},"e-17"]`, true, 1},
		{`{"sid":"b","pid":"q"}`, `["session",{"userId":"u","recovered":false},"e-17"]`, false, 0},
		{`{"sid":"c","pid":"r"}`, `["session",{"userId":"u","recovered":true},"e-17"]`, false, 1},
		{`{"sid":"d"}`, `["session",{"userId":"u","recovered":false}]`, false, 0},
	} {
		recovered, wrong := comeBack(turn.answer, turn.session)
		require.Equal(t, turn.recovered, recovered, turn.answer)
		require.Equal(t, turn.wrong, wrong, "%s %s", turn.answer, turn.session)
	}
}
