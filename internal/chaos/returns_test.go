package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redisconn"
)

// A returnFault is one row of the table: a Redis, and what makes members lose their connections, so
// that they come back.
type returnFault struct {
	name string
	// prepare starts Redis. strike makes members come back until they have done it as often as the
	// stage wants.
	prepare func(t *testing.T) (gatewayURL, setupURL string, strike func(s *returnStage))
	flags   []string // of the gateways
	members int      // in the full run; 0 means 600
	// mayForget allows Redis to lose what it has acknowledged, so that members may be told that they
	// missed something, or that they are not recovered.
	mayForget bool
	// mayRefuse is the share of members that may not be recovered though Redis kept its data, beyond
	// what is allowed anyway: those whose end a node noticed when it delivered without Redis already.
	mayRefuse float64
}

// The measure of a full run: the returns of each fault, and the share of them that must be
// recovered where Redis kept its data.
const (
	fullReturns    = 12_500
	recoveredShare = 0.99
)

// membersOfRoom is how many members a channel has. Each member is in two.
const membersOfRoom = 15

// A returnStage is three gateways over one Redis, and members who talk, lose their connections and
// come back as the official client does: with their pid and the offset of the last event.
type returnStage struct {
	*hearingRecord
	world   *world
	want    int // returns
	flags   []string
	members []*returningMember
	running sync.WaitGroup
	stop    chan struct{} // closed when the members shall stop

	stopOnce sync.Once
	isSilent atomic.Bool   // the members say nothing any more
	speaking atomic.Int64  // members who wait for an answer
	pause    time.Duration // of one member, between two messages

	gateMu sync.Mutex
	gates  []*gatewayProcess // guarded by gateMu; nil where one is being replaced

	returned, recovered, contradicted, barred atomic.Int64
	longAway                                  atomic.Int64 // of those who returned: after seconds or minutes

	slowMu  sync.Mutex
	slowest time.Duration // of all returns, from the first attempt; guarded by slowMu
}

// newReturnStage starts the gateways and connects the members.
func newReturnStage(t *testing.T, gatewayURL, setupURL string, members, want int, flags ...string) *returnStage {
	rdb, err := redisconn.New(setupURL, redisconn.Config{ReadTimeout: 5 * time.Second, DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	var channels []string
	for i := range members / membersOfRoom {
		channels = append(channels, fmt.Sprint("zone:r", i), fmt.Sprint("zone:s", i))
	}
	s := &returnStage{
		hearingRecord: newHearingRecord(channels, nil), want: want, stop: make(chan struct{}),
		world: &world{t: t, site: &site{gatewayURL: gatewayURL}, clientRecord: newClientRecord(), program: binary, rdb: rdb},
		flags: append([]string{"--limit", "chat=off", "--chat-history", "100000"}, flags...),
		pause: time.Duration(members) * forRun(20*time.Millisecond, 8*time.Millisecond),
	}
	s.byHistory = true
	for range hearingGateways {
		s.gates = append(s.gates, s.world.startGateway("", s.flags...))
	}
	for i := range members {
		user := fmt.Sprint("m", i)
		room := i % (members / membersOfRoom)
		s.members = append(s.members, &returningMember{
			stage: s, user: user, session: createSession(t, rdb, user),
			channels: []string{channels[2*room], channels[(2*(room+i/membersOfRoom)+1)%len(channels)]},
		})
	}
	return s
}

// startMembers connects all members, and lets them talk and come back.
func (s *returnStage) startMembers() {
	for i, m := range s.members {
		s.running.Go(func() { m.live(i) })
	}
	s.world.t.Cleanup(func() {
		s.stopOnce.Do(func() { close(s.stop) })
		for _, m := range s.members {
			if p := m.current(); p != nil {
				p.closeConnection()
			}
		}
	})
	s.awaitMembers()
}

// silenceMembers lets the members fall silent, and waits until all are connected. They still come
// back: of a tab that was frozen until now, the gateway may have ended the connection before.
func (s *returnStage) silenceMembers() {
	s.awaitMembers()
	s.isSilent.Store(true)
	require.Eventually(s.world.t, func() bool { return s.speaking.Load() == 0 }, time.Minute, 10*time.Millisecond)
}

// stopMembers lets the members come back no more.
func (s *returnStage) stopMembers() {
	s.stopOnce.Do(func() { close(s.stop) })
	s.running.Wait()
}

// awaitMembers waits until all members are connected and have joined.
func (s *returnStage) awaitMembers() {
	s.world.t.Helper()
	require.Eventually(s.world.t, func() bool {
		for _, m := range s.members {
			if !m.isReady.Load() {
				return false
			}
		}
		return true
	}, forRun(time.Minute, 4*time.Minute), 10*time.Millisecond, "not all members are back")
}

// hasEnough reports whether the members have come back as often as the stage wants.
func (s *returnStage) hasEnough() bool { return s.returned.Load() >= int64(s.want) }

// chooseGateway picks a gateway that is not being replaced.
func (s *returnStage) chooseGateway() *gatewayProcess {
	s.gateMu.Lock()
	defer s.gateMu.Unlock()
	for {
		if g := s.gates[rand.IntN(len(s.gates))]; g != nil {
			return g
		}
	}
}

// chooseFullest returns the index of the gateway with the most members.
func (s *returnStage) chooseFullest() (index int) {
	count := map[*gatewayProcess]int{}
	for _, m := range s.members {
		count[m.home.Load()]++
	}
	s.gateMu.Lock()
	defer s.gateMu.Unlock()
	for i, g := range s.gates {
		if count[g] > count[s.gates[index]] {
			index = i
		}
	}
	return index
}

// replaceGateway ends a gateway with a signal, waits for its end, and starts another one.
func (s *returnStage) replaceGateway(index int, signal syscall.Signal) {
	s.gateMu.Lock()
	g := s.gates[index]
	s.gates[index] = nil // a balancer sends nobody to one that drains
	s.gateMu.Unlock()
	g.end(s.world.t, signal)
	fresh := s.world.startGateway("", s.flags...)
	s.gateMu.Lock()
	s.gates[index] = fresh
	s.gateMu.Unlock()
}

// A returningMember is a member with a raw websocket, that comes back whenever its connection ends.
type returningMember struct {
	stage         *returnStage
	user, session string
	channels      []string
	isReady       atomic.Bool // connected, and in its channels
	isFrozen      atomic.Bool
	awayFor       atomic.Int64 // how long its link stays cut the next time, ns; 0 for less than a second
	home          atomic.Pointer[gatewayProcess]

	mu         sync.Mutex
	player     *player // guarded by mu
	connection int     // counts the connections; what others receive is not heard; guarded by mu
	name       string  // in the record; another one after each return that was not recovered; guarded by mu
	names      int     // guarded by mu
	pid, sid   string  // guarded by mu
	offset     string  // guarded by mu
	awaits     bool    // the next session event must say whether it is recovered; guarded by mu
	recovered  bool    // as the answer to CONNECT says; guarded by mu
}

// live connects, talks, and comes back, until the stage stops.
func (m *returningMember) live(seq int) {
	s := m.stage
	if !m.comeBack() {
		return
	}
	for {
		p := m.current()
		select {
		case <-s.stop:
			return
		case <-p.closed:
			m.isReady.Store(false)
			away := time.Duration(100+rand.IntN(600)) * time.Millisecond
			if long := m.awayFor.Swap(0); long > 0 {
				away = time.Duration(long)
				s.longAway.Add(1)
			}
			select {
			case <-time.After(away):
			case <-s.stop:
				return
			}
			if !m.comeBack() {
				return
			}
		case <-time.After(time.Duration(float64(s.pause) * (0.5 + rand.Float64()))):
			s.speaking.Add(1)
			if !m.isFrozen.Load() && !s.isSilent.Load() {
				seq++
				m.speak(p, seq)
			}
			s.speaking.Add(-1)
		}
	}
}

func (m *returningMember) current() *player {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.player
}

// speak says one message in a channel, and every tenth to another member.
func (m *returningMember) speak(p *player, seq int) {
	s := m.stage
	channel, other := m.channels[seq%len(m.channels)], s.members[rand.IntN(len(s.members))].user
	text := fmt.Sprintf("%s %d", m.user, seq)
	room, event, payload := channel, "chat:message", map[string]string{"channel": channel, "text": text}
	if seq%10 == 9 && other != m.user {
		room, event, payload = "@"+other, "chat:whisper", map[string]string{"to": other, "text": text}
	}
	s.noteSaid(m.user, room, text, seq, time.Now())
	var a hearingAnswer
	if got, err := p.askServer(event, payload, &a); err == nil || got.Error.Code != "" {
		s.noteAnswer(text, got.Error.Code, a, time.Now())
	}
}

// comeBack connects to any gateway, again and again, and joins the channels unless the connection
// is recovered. It returns false when the stage has stopped.
func (m *returningMember) comeBack() bool {
	s := m.stage
	begun := time.Now()
	for {
		g := s.chooseGateway()
		p, err := m.dial(g)
		if err == nil {
			m.home.Store(g)
			if m.joinChannels(p) {
				s.slowMu.Lock()
				s.slowest = max(s.slowest, time.Since(begun))
				s.slowMu.Unlock()
				m.isReady.Store(true)
				return true
			}
		}
		if errors.Is(err, errNotAdmitted) {
			s.barred.Add(1)
			s.world.t.Errorf("%s: %v", m.user, err)
			return false
		}
		select {
		case <-time.After(time.Duration(50+rand.IntN(200)) * time.Millisecond):
		case <-s.stop:
			return false
		}
	}
}

// dial connects once, and reads on.
func (m *returningMember) dial(g *gatewayProcess) (*player, error) {
	m.mu.Lock()
	m.connection++
	connection := m.connection
	auth := fmt.Sprintf(`{"sessionId":%q}`, m.session)
	if m.pid != "" {
		auth = fmt.Sprintf(`{"pid":%q,"offset":%q,"sessionId":%q}`, m.pid, m.offset, m.session)
	}
	m.mu.Unlock()
	p, admitted, err := dialWithAuth(g.addr, auth, func(args []byte) { m.hear(connection, args) })
	if err != nil {
		return nil, err
	}
	m.admit(p, admitted)
	go p.readFrames()
	return p, nil
}

// admit notes the answer to CONNECT: whether the connection is recovered. A member that is not
// begins anew.
func (m *returningMember) admit(p *player, a admission) {
	s := m.stage
	m.mu.Lock()
	defer m.mu.Unlock()
	isReturn := m.pid != ""
	m.recovered = isReturn && a.PID == m.pid
	if isReturn {
		s.returned.Add(1)
		s.noteReturn(m.name, m.recovered)
	}
	switch {
	case m.recovered && a.SID != m.sid:
		s.contradicted.Add(1)
		s.world.t.Errorf("%s is recovered, and its socket id is another one", m.name)
	case m.recovered:
		s.recovered.Add(1)
	default:
		m.names++
		m.name = fmt.Sprintf("%s/%d", m.user, m.names)
		s.noteArrival(m.name, m.user, time.Now())
	}
	m.pid, m.sid, m.player, m.awaits = a.PID, a.SID, p, true
}

// joinChannels joins the channels, unless the connection is recovered. It returns false when the
// connection ended.
func (m *returningMember) joinChannels(p *player) bool {
	m.mu.Lock()
	recovered, name := m.recovered, m.name
	m.mu.Unlock()
	if recovered {
		return true
	}
	for _, channel := range m.channels {
		var joined struct{}
		got, err := p.askServer("chat:join", map[string]string{"channel": channel}, &joined)
		if err != nil || got.Error.Code != "" {
			p.closeConnection()
			return false
		}
		m.stage.noteJoined(name, channel, time.Now())
	}
	return true
}

// hear notes an event from the server, and the offset that it ends with.
func (m *returningMember) hear(connection int, args []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if connection != m.connection {
		return // the member has given this connection up
	}
	var event []json.RawMessage
	if json.Unmarshal(args, &event) != nil || len(event) < 2 {
		return
	}
	m.stage.notePushed(m.name, args)
	if string(event[0]) == `"session"` && m.awaits {
		m.awaits = false
		var body struct{ Recovered bool }
		if json.Unmarshal(event[1], &body) != nil || body.Recovered != m.recovered {
			m.stage.contradicted.Add(1)
			m.stage.world.t.Errorf("%s: the answer to CONNECT says recovered: %v, and session says %s", m.name, m.recovered, event[1])
		}
	}
	var last string
	if m.pid != "" && json.Unmarshal(event[len(event)-1], &last) == nil {
		m.offset = last
	}
}

// loseConnection ends the member's connection, with a FIN that the gateway sees, or so that it sees
// nothing. The connection may have begun just now.
func (m *returningMember) loseConnection(unseen bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.isReady.CompareAndSwap(true, false) {
		return // it is away already
	}
	m.connection++ // nothing more is heard
	m.player.abandon()
	if unseen {
		ws := m.player.ws
		m.stage.running.Go(func() {
			select {
			case <-time.After(5 * time.Second):
			case <-m.stage.stop:
			}
			_ = ws.Close()
		})
		return
	}
	_ = m.player.ws.UnderlyingConn().Close()
}

// freeze lets the member read and say nothing for a while, as a tab that the browser froze.
func (m *returningMember) freeze(d time.Duration) {
	p := m.current()
	m.isFrozen.Store(true)
	p.frozen.Lock()
	time.Sleep(d) // the freeze
	p.frozen.Unlock()
	m.isFrozen.Store(false)
}

// readHistories reads the whole histories of all channels.
func (s *returnStage) readHistories() {
	name := "reader"
	p, err := dialListening(s.chooseGateway().addr, 0, createSession(s.world.t, s.world.rdb, name), nil)
	require.NoError(s.world.t, err)
	defer p.closeConnection()
	for _, channel := range s.channels {
		var joined struct{}
		_, err := p.askServer("chat:join", map[string]string{"channel": channel}, &joined)
		require.NoError(s.world.t, err)
		s.readHistory(s.world.t, p, channel)
	}
}

// playReturns plays a row of the table, and returns the verdict.
func playReturns(t *testing.T, fault returnFault) (*returnStage, *hearingVerdict) {
	stagesAtOnce <- struct{}{}
	defer func() { <-stagesAtOnce }()
	members, want := 3*membersOfRoom, 100
	if isFullRun() {
		members, want = 600, fullReturns
		if fault.members > 0 {
			members = fault.members
		}
	}
	gatewayURL, setupURL, strike := fault.prepare(t)
	s := newReturnStage(t, gatewayURL, setupURL, members, want, fault.flags...)
	s.startMembers()
	begun := time.Now()
	strike(s)
	s.silenceMembers()
	took := time.Since(begun)
	s.settle()
	s.readHistories()
	s.stopMembers()
	v := s.judge()
	t.Logf("%v: %d returns, %d after a long time, %d of them recovered (%.2f %%), the slowest after %v; %v", took.Round(time.Second), s.returned.Load(), s.longAway.Load(), s.recovered.Load(),
		100*s.share(), s.slowest.Round(10*time.Millisecond), v)
	return s, v
}

// settle waits until everything that was acknowledged has been heard, and then a moment for what
// should not come.
func (s *returnStage) settle() {
	for begun := time.Now(); s.countUnheard() > 0 && time.Since(begun) < 15*time.Second; {
		time.Sleep(50 * time.Millisecond) // and look again
	}
	time.Sleep(500 * time.Millisecond) // nothing may come in this time
}

// share returns the share of the returns that were recovered.
func (s *returnStage) share() float64 {
	return float64(s.recovered.Load()) / float64(max(1, s.returned.Load()))
}

// Members lose their connections and come back, 12,500 times for each fault. Nobody who is told
// `recovered` has missed or heard twice what was acknowledged meanwhile, and all hear it in one
// order. Where Redis kept its data at least 99 % are recovered.
func TestWhoComesBackIsRecovered(t *testing.T) {
	t.Parallel()
	for _, fault := range returnFaults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			s, v := playReturns(t, fault)
			require.Zero(t, v.countFaults(fault.mayForget), "%v\n%s", v, strings.Join(v.complaints, "\n"))
			require.Zero(t, s.contradicted.Load())
			require.Zero(t, s.barred.Load())
			require.GreaterOrEqual(t, s.returned.Load(), int64(s.want))
			require.Greater(t, v.acknowledged, 10)
			if !fault.mayForget {
				require.GreaterOrEqual(t, s.share(), recoveredShare-fault.mayRefuse)
			}
		})
	}
}
