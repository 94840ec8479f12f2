package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
)

// A hearingFault is one row of the table: a Redis, what befalls it or a gateway while the members
// of three gateways talk, and what it may cost.
type hearingFault struct {
	name string
	// prepare starts Redis. It returns the URL of the gateways, a URL past all that will be spoilt,
	// for the sessions at the start, and what strikes. strike is called on the test's goroutine
	// while members talk, and returns when the fault is over.
	prepare func(t *testing.T) (gatewayURL, setupURL string, strike func(s *hearingStage))
	// mayLose allows that acknowledged messages are lost, if the members who missed them are told.
	mayLose bool
	// shape changes the talk; nil leaves it as it is.
	shape func(talk *hearingTalk)
	// check looks at the verdict and the gateways besides; nil looks no further.
	check func(s *hearingStage, v *hearingVerdict)
}

// A hearingTalk is how much the members say.
type hearingTalk struct {
	messages int           // of all members, about
	pause    time.Duration // of one member, after an answer
	atMost   time.Duration // the longest time in which they talk
	padding  string        // ends every text
	speakers int           // how many of the raw members speak on the first gateway alone; 0: all members speak
}

// The members of a stage: so many with the official client and so many raw ones on each gateway.
const (
	hearingGateways = 3
	officialEach    = 2
	rawEach         = 2
)

// A hearingStage is three gateways over one Redis, and members who talk.
type hearingStage struct {
	*hearingRecord
	world    *world
	talk     hearingTalk
	gates    []*gatewayProcess
	sessions map[string]string // by member
	names    []string          // of all members
	official *officialMembers
	raw      []*rawMember
	silent   chan struct{} // closed when the members have stopped to talk
	stop     chan struct{} // closed when they shall stop
}

// newHearingStage starts the gateways and connects the members.
func newHearingStage(t *testing.T, gatewayURL, setupURL string, talk hearingTalk, flags ...string) *hearingStage {
	rdb, err := redisconn.New(setupURL, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	s := &hearingStage{
		world: &world{t: t, site: &site{gatewayURL: gatewayURL}, clientRecord: newClientRecord(), program: binary, rdb: rdb},
		talk:  talk, sessions: map[string]string{}, silent: make(chan struct{}), stop: make(chan struct{}),
	}
	for range hearingGateways {
		s.gates = append(s.gates, s.startHearingGateway(flags...))
	}
	for i := range hearingGateways * (officialEach + rawEach) {
		s.names = append(s.names, fmt.Sprint("m", i))
	}
	s.hearingRecord = newHearingRecord([]string{"zone:north", "zone:south", "zone:east", "zone:west"}, s.names)
	for _, name := range s.names {
		s.sessions[name] = createSession(t, rdb, name)
	}
	officials := len(s.names) * officialEach / (officialEach + rawEach)
	for i, name := range s.names[officials:] {
		m, err := s.joinRaw(s.gates[i%hearingGateways], name)
		require.NoError(t, err)
		s.raw = append(s.raw, m)
	}
	s.official = s.joinOfficial(s.names[:officials])
	return s
}

func createSession(t *testing.T, rdb redis.UniversalClient, user string) (id string) {
	login, err := sessions.New(rdb, sessions.Config{}).Create(t.Context(), user, user, []string{"player"}, sessions.Options{CharacterID: user})
	require.NoError(t, err)
	return login.ID
}

func (s *hearingStage) startHearingGateway(flags ...string) *gatewayProcess {
	return s.world.startGateway("", append([]string{"--limit", "chat=off", "--chat-history", "100000"}, flags...)...)
}

// each returns how many messages one member says.
func (s *hearingStage) each() int {
	if s.talk.speakers > 0 {
		return s.talk.messages / s.talk.speakers
	}
	return (s.talk.messages + len(s.names) - 1) / len(s.names)
}

// A rawMember is a member with a websocket of this process.
type rawMember struct {
	name   string
	player *player
}

// joinRaw connects a member and lets it join all channels.
func (s *hearingStage) joinRaw(g *gatewayProcess, name string) (*rawMember, error) {
	p, err := dialListening(g.addr, 0, s.sessions[name], func(args []byte) { s.notePushed(name, args) })
	if err != nil {
		return nil, err
	}
	s.world.t.Cleanup(p.closeConnection)
	for _, channel := range s.channels {
		var joined struct{}
		if got, err := p.askServer("chat:join", map[string]string{"channel": channel}, &joined); err != nil || got.Error.Code != "" {
			return nil, fmt.Errorf("chat:join: %w %s", err, got.Error.Code)
		}
	}
	go func() {
		<-p.closed
		s.noteEnded(name, "the websocket ended", time.Now())
	}()
	return &rawMember{name, p}, nil
}

// notePushed notes an event from the server, `["name",{…},…]`.
func (r *hearingRecord) notePushed(name string, args []byte) {
	var event []json.RawMessage
	var kind string
	var body struct {
		ID, Channel, Text string
		Missed            bool
	}
	if json.Unmarshal(args, &event) != nil || len(event) < 2 || json.Unmarshal(event[0], &kind) != nil {
		return
	}
	_ = json.Unmarshal(event[1], &body) // other events have other payloads
	switch kind {
	case "chat:message":
		r.noteHeard(name, body.Channel, heardMessage{body.ID, body.Text})
	case "chat:whisper":
		r.noteHeard(name, "@"+r.userOf(name), heardMessage{body.ID, body.Text})
	case "gateway:status":
		if body.Missed {
			r.noteMissed(name, time.Now())
		}
	}
}

// speak says a member's messages, each after the answer to the one before.
func (s *hearingStage) speak(m *rawMember) {
	index := 0
	for s.names[index] != m.name {
		index++
	}
	for seq := range s.each() {
		channel, other := s.channels[seq%len(s.channels)], s.names[(index+1+seq%(len(s.names)-1))%len(s.names)]
		text := fmt.Sprintf("%s %d%s", m.name, seq, s.talk.padding)
		room, event, payload := channel, "chat:message", map[string]string{"channel": channel, "text": text}
		if seq%10 == 9 {
			room, event, payload = "@"+other, "chat:whisper", map[string]string{"to": other, "text": text}
		}
		s.noteSaid(m.name, room, text, seq, time.Now())
		var a hearingAnswer
		got, err := m.player.askServer(event, payload, &a)
		if err == nil || got.Error.Code != "" {
			s.noteAnswer(text, got.Error.Code, a, time.Now())
		}
		select {
		case <-s.stop:
			return
		case <-m.player.closed:
			return
		case <-time.After(time.Duration(float64(s.talk.pause) * (0.5 + rand.Float64()))):
		}
	}
}

// officialMembers are the members with the official client, in one process of Node.
type officialMembers struct {
	stdin  io.WriteCloser
	silent chan struct{} // closed when they have stopped to talk
	ended  chan error
}

// joinOfficial starts Node, and returns when all members have joined.
func (s *hearingStage) joinOfficial(names []string) *officialMembers {
	t := s.world.t
	bundle, err := filepath.Abs("../../web/testclient/vendor/socket.io.esm.min.js")
	require.NoError(t, err)
	members := []map[string]string{}
	for i, name := range names {
		members = append(members, map[string]string{
			"user": name, "session": s.sessions[name], "url": "http://" + s.gates[i%hearingGateways].addr,
		})
	}
	each := s.each()
	if s.talk.speakers > 0 {
		each = 0
	}
	task, err := json.Marshal(map[string]any{
		"each": each, "pauseMs": s.talk.pause.Milliseconds(), "padding": s.talk.padding, "channels": s.channels, "everybody": s.names, "members": members,
	})
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "node", "--experimental-websocket", "hearing.mjs", bundle, string(task))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	o := &officialMembers{stdin: stdin, silent: make(chan struct{}), ended: make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		var failed error
		for lines.Scan() {
			switch kind, err := s.noteOfficial(lines.Bytes()); {
			case err != nil:
				failed = fmt.Errorf("%w: %s", err, lines.Text())
			case kind == "ready":
				close(ready)
			case kind == "silent":
				close(o.silent)
			}
		}
		if err := cmd.Wait(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%w: %.2000s", err, complaints.String()[max(0, strings.LastIndex(complaints.String(), "Error")):]))
		}
		o.ended <- failed
	}()
	select {
	case <-ready:
	case err := <-o.ended:
		require.NoError(t, err)
		t.Fatal("the official clients have left")
	case <-time.After(30 * time.Second):
		t.Fatal("the official clients do not join")
	}
	return o
}

// noteOfficial notes a line of hearing.mjs.
func (s *hearingStage) noteOfficial(line []byte) (kind string, err error) {
	var fields []json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return "", err
	}
	decode := func(into ...any) {
		for i, v := range into {
			if i >= len(fields) {
				err = errors.New("a field is missing")
			} else if failed := json.Unmarshal(fields[i], v); failed != nil {
				err = failed
			}
		}
	}
	var member, a, b, c string
	var seq int
	var at int64
	decode(&kind)
	switch kind {
	case "said":
		if decode(&kind, &member, &a, &b, &seq, &at); err == nil {
			s.noteSaid(member, a, b, seq, time.UnixMilli(at))
		}
	case "answered":
		var given *struct {
			OK    bool
			Data  hearingAnswer
			Error struct{ Code string }
		}
		if decode(&kind, &member, &a, &given, &at); err == nil && given != nil {
			s.noteAnswer(a, given.Error.Code, given.Data, time.UnixMilli(at))
		}
	case "heard":
		if decode(&kind, &member, &a, &b, &c); err == nil {
			s.noteHeard(member, a, heardMessage{id: c, text: b})
		}
	case "missed":
		if decode(&kind, &member, &at); err == nil {
			s.noteMissed(member, time.UnixMilli(at))
		}
	case "ended":
		if decode(&kind, &member, &a, &at); err == nil {
			s.noteEnded(member, a, time.UnixMilli(at))
		}
	}
	return kind, err
}

// startTalk lets the members talk until they have said everything, or until stopTalk.
func (s *hearingStage) startTalk() {
	_, err := io.WriteString(s.official.stdin, "say\n")
	require.NoError(s.world.t, err)
	var all sync.WaitGroup
	speakers := s.raw
	if s.talk.speakers > 0 {
		speakers = nil
		for i, m := range s.raw {
			if i%hearingGateways == 0 && len(speakers) < s.talk.speakers {
				speakers = append(speakers, m)
			}
		}
	}
	for _, m := range speakers {
		all.Go(func() { s.speak(m) })
	}
	go func() {
		all.Wait()
		<-s.official.silent
		close(s.silent)
	}()
}

// stopTalk waits until the members have said everything, or lets them stop at the time that is
// given, and waits for the answers that are open.
func (s *hearingStage) stopTalk(at time.Time) {
	select {
	case <-s.silent:
	case <-time.After(time.Until(at)):
	}
	close(s.stop)
	_, err := io.WriteString(s.official.stdin, "stop\n")
	require.NoError(s.world.t, err)
	select {
	case <-s.silent:
	case <-time.After(30 * time.Second):
		s.world.t.Fatal("answers do not come to an end")
	}
}

// pauseTalking waits for d, or until nobody talks any more.
func (s *hearingStage) pauseTalking(d time.Duration) {
	select {
	case <-s.silent:
	case <-time.After(d):
	}
}

// settleHearing waits until everything that was acknowledged has been heard, so long at most, and
// then a moment for what should not come.
func (s *hearingStage) settleHearing(atMost time.Duration) {
	for begun := time.Now(); s.countUnheard() > 0 && time.Since(begun) < atMost; {
		time.Sleep(50 * time.Millisecond) // and look again
	}
	time.Sleep(500 * time.Millisecond) // nothing may come in this time
}

// readHistories reads the whole histories of all channels, as a member sees them.
func (s *hearingStage) readHistories() {
	for _, channel := range s.channels {
		s.readHistory(s.world.t, s.raw[0].player, channel)
	}
}

// readHistory reads the whole history of a channel, as a member sees it.
func (r *hearingRecord) readHistory(t *testing.T, reader *player, channel string) {
	var newestFirst []heardMessage
	for before := int64(0); ; {
		var page struct {
			Messages []struct{ ID, Text string }
			Next     int64
		}
		require.Eventually(t, func() bool {
			got, err := reader.askServer("chat:history", map[string]any{"channel": channel, "before": before, "limit": 100}, &page)
			return err == nil && got.Error.Code == ""
		}, 20*time.Second, 50*time.Millisecond, "the history of %s", channel)
		for i := range page.Messages {
			m := page.Messages[len(page.Messages)-1-i]
			newestFirst = append(newestFirst, heardMessage{m.ID, m.Text})
		}
		if page.Next == 0 {
			break
		}
		before = page.Next
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range newestFirst {
		r.histories[channel] = append(r.histories[channel], newestFirst[len(newestFirst)-1-i])
	}
}

// stagesAtOnce bounds how many stages run side by side.
var stagesAtOnce = make(chan struct{}, 2)

// strikeHearing plays a row of the table, and returns the verdict.
func strikeHearing(t *testing.T, fault hearingFault) (*hearingStage, *hearingVerdict) {
	stagesAtOnce <- struct{}{}
	defer func() { <-stagesAtOnce }()
	talk := hearingTalk{messages: 600, pause: 60 * time.Millisecond, atMost: 20 * time.Second}
	lead := 500 * time.Millisecond
	if isFullRun() {
		talk, lead = hearingTalk{messages: 12_500, pause: 25 * time.Millisecond, atMost: 85 * time.Second}, 5*time.Second
	}
	if fault.shape != nil {
		fault.shape(&talk)
	}
	gatewayURL, setupURL, strike := fault.prepare(t)
	s := newHearingStage(t, gatewayURL, setupURL, talk)
	s.startTalk()
	begun := time.Now()
	s.pauseTalking(lead)
	strike(s)
	struck := time.Since(begun)
	s.stopTalk(begun.Add(talk.atMost))
	s.settleHearing(15 * time.Second)
	s.readHistories()
	v := s.judge()
	t.Logf("%v of talk, the fault was over after %v: %v", time.Since(begun).Round(time.Second), struck.Round(100*time.Millisecond), v)
	for _, complaint := range v.complaints {
		t.Log(complaint)
	}
	_, err := io.WriteString(s.official.stdin, "leave\n")
	require.NoError(t, err)
	return s, v
}

// requireHeard plays the rows of a table, each as a test of its own.
func requireHeard(t *testing.T, faults []hearingFault) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("needs node")
	}
	t.Parallel()
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			s, v := strikeHearing(t, fault)
			require.Zero(t, v.countFaults(fault.mayLose), "%v\n%s", v, strings.Join(v.complaints, "\n"))
			require.Positive(t, v.acknowledged)
			if fault.check != nil {
				fault.check(s, v)
			}
		})
	}
}
