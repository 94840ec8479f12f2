package socketio

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/castlog"
)

// This file lets a client go on with a connection that has ended: with the same id, in the same
// rooms, and with everything that was cast to them meanwhile; or with none of it.

// Why a client does not go on with its connection, where the record does not say it.
const (
	Recovered      = "recovered" // it does
	refusedOffset  = "offset"    // it presented none, or no valid one
	refusedAway    = "away"      // Redis does not answer
	refusedBusy    = "busy"      // the connection before serves an event, or too many come back at once
	refusedCut     = "cut"       // the logs do not reach back
	refusedTooMuch = "much"      // more was missed than is sent again
	refusedRights  = "rights"    // what it may still hear is not known
	refusedEnded   = "ended"     // it has left again
	refusedLate    = "late"      // it was told that it had joined or left a room before that was recorded
)

const (
	maxPresentedPID = 64 // bytes
	settlingRetry   = 20 * time.Millisecond
	awayWait        = 2 * time.Second        // a node casts by Redis again a moment after that is back
	mixedWait       = 300 * time.Millisecond // a node that has just come may not have said that it keeps records
)

// A connecting socket has what is needed only until it is connected.
type connecting struct {
	owner  string
	secret string // the pid that the client is told
	isBack bool   // the socket's record was taken
	offset castlog.Position
	// replacesLiving says that the end of the earlier connection had not been noticed.
	replacesLiving bool
	// presented, if not nil, is the connection that the client presents: see takeovers.
	presented *castlog.PID
	hasTurn   bool // of those who come back at once

	rooms   []socket.Room // to join again
	replays []replayUse
	refused []string // rooms in which it may not be any more
}

// A replayUse is what a client has missed of a room.
type replayUse struct {
	*replay
	from int64 // it has heard everything up to here
}

// Recovery says how a socket may be recovered.
type Recovery struct {
	// Owner is whom the socket belongs to: it is recovered for the same owner only.
	Owner string
	// Judge, if not nil, returns which of its rooms the socket may not be in any more. On an error it
	// is not recovered.
	Judge func(ctx context.Context, socketID string, rooms []string) (refused []string, err error)
}

// Recover has the socket go on with the connection that its client presents, if it may. Call it at
// most once, within Receiver.Admit; without a call it belongs to nobody. outcome is Recovered, or
// why not, or "" when the client presents no connection, or nothing is logged.
func (s *Socket) Recover(ctx context.Context, r Recovery) (outcome string) {
	n := s.nsp.cluster
	if n == nil || n.cluster.recorder == nil {
		return ""
	}
	r.Owner = s.nsp.ownerIn(r.Owner)
	s.connecting = &connecting{owner: r.Owner}
	secret, offset := readPresented(s.auth)
	if secret != "" {
		outcome = s.recoverConnection(ctx, r, secret, offset)
	}
	if outcome != Recovered {
		s.connecting.secret = newSecret()
		s.id, s.pid, s.generation = socket.SocketId(newSocketID()), castlog.HashPID(s.connecting.secret), 0
	}
	return outcome
}

// ownerIn returns the owner of a socket of this namespace: nobody goes on in one namespace with a
// connection to another.
func (n *Namespace) ownerIn(owner string) string {
	if n.name == "/" {
		return owner // as earlier versions write it
	}
	return owner + " " + n.name
}

// readPresented returns what a client presents in the auth of its CONNECT. secret is "" for none.
func readPresented(auth []byte) (secret, offset string) {
	if !bytes.Contains(auth, []byte(`"pid"`)) {
		return "", ""
	}
	var in struct {
		PID    jsontext.Value `json:"pid"`
		Offset jsontext.Value `json:"offset"`
	}
	if json.Unmarshal(auth, &in, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) != nil {
		return "", ""
	}
	text := func(v jsontext.Value) (s string) {
		if v.Kind() == '"' && len(v) <= maxPresentedPID+2 {
			_ = json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true)) // then it is ""
		}
		return s
	}
	if in.PID.Kind() == 0 || in.PID.Kind() == 'n' {
		return "", ""
	}
	if secret = text(in.PID); secret == "" {
		secret = "?" // it is none of ours
	}
	return secret, text(in.Offset)
}

// newSecret returns a new pid: 128 random bits.
func newSecret() string { return randomText(16) }

func newSocketID() string { return randomText(15) }

func randomText(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// recoverConnection is Recover for a client that presents a connection.
func (s *Socket) recoverConnection(ctx context.Context, r Recovery, secret, offset string) (outcome string) {
	n := s.nsp.cluster
	at, ok := castlog.ParseOffset(offset)
	if !ok {
		return refusedOffset
	}
	if why := n.replays.beginTurn(ctx, s.connecting); why != "" {
		return why
	}
	defer n.replays.endTurn(s.connecting)
	if !n.waitOutageEnds(ctx) {
		return refusedAway
	}
	pid := castlog.HashPID(secret)
	s.connecting.presented = &pid
	n.takeovers.begin(s.connecting)
	claim := castlog.Claimant{PID: pid, Claim: randomText(8), Owner: r.Owner, Offset: at}
	taken, why, err := n.takeRecord(ctx, claim)
	if why == castlog.ClaimBusy && err == nil && !n.isHolderAlive(ctx, taken, s.connecting) {
		claim.PassOver = taken.Holder
		taken, why, err = n.takeRecord(ctx, claim)
	}
	switch {
	case err != nil:
		n.cluster.recorder.add(castlog.RecordChange{What: castlog.RecordAbandon, PID: pid})
		return refusedAway
	case why != "":
		return why
	}
	s.pid, s.generation = pid, taken.Generation
	if why = s.resumeTaken(ctx, r, taken, at); why != "" {
		n.cluster.recorder.add(s.recordChange(castlog.RecordDrop))
		return why
	}
	s.id = socket.SocketId(taken.SocketID)
	s.connecting.secret, s.connecting.isBack, s.connecting.offset = secret, true, at
	s.connecting.replacesLiving = !taken.IsEnded
	return Recovered
}

// takeRecord takes a record as soon as the nodes have appended again what Redis has forgotten.
func (n *clusterNamespace) takeRecord(ctx context.Context, c castlog.Claimant) (t castlog.Taken, why string, err error) {
	if err := n.waitKnowsPeers(ctx); err != nil {
		return t, "", err
	}
	n.mu.Lock()
	for uid := range n.peers {
		c.Peers = append(c.Peers, uid)
	}
	n.mu.Unlock()
	begun := time.Now()
	for {
		t, why, err = n.castLog.TakeRecord(ctx, c)
		isEarly := why == castlog.ClaimSettling || why == castlog.ClaimMixed && time.Since(begun) < mixedWait
		isEarly = isEarly || err != nil && time.Since(begun) < awayWait // Redis may just be coming back
		if !isEarly {
			return t, why, err
		}
		select {
		case <-time.After(settlingRetry):
		case <-ctx.Done():
			return t, why, err
		}
	}
}

// waitOutageEnds waits, when Redis has just come back, until it has what this node delivered
// without it: that is not delivered again, so a client that comes back must find it in the logs. It
// reports whether that is so.
func (n *clusterNamespace) waitOutageEnds(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, awayWait)
	defer cancel()
	for {
		if _, ok := n.castLog.OutageEnd(); ok {
			return true
		}
		select {
		case <-time.After(settlingRetry):
		case <-ctx.Done():
			return false
		}
	}
}

// waitKnowsPeers waits, on a node that has just started, until the other nodes have greeted.
func (n *clusterNamespace) waitKnowsPeers(ctx context.Context) error {
	left := n.cluster.cfg.Heartbeat - time.Since(time.Unix(0, n.subscribedSince.Load()))
	if left <= 0 {
		return nil
	}
	select {
	case <-time.After(left):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resumeTaken prepares everything that can go wrong of going on with a connection that was taken.
// It returns why that is not possible, or "".
func (s *Socket) resumeTaken(ctx context.Context, r Recovery, t castlog.Taken, at castlog.Position) (why string) {
	n, c := s.nsp.cluster, s.connecting
	if why = n.endFormer(ctx, t, c); why != "" {
		return why
	}
	joined := map[socket.Room]int64{socket.Room(t.SocketID): 0}
	var names []string
	for _, room := range t.Rooms {
		if name, ok := strings.CutPrefix(room.Name, n.name+"#"); ok {
			joined[socket.Room(name)] = room.JoinedAt
			names = append(names, name)
		}
	}
	if r.Judge != nil {
		var err error
		if c.refused, err = r.Judge(ctx, t.SocketID, names); err != nil {
			return refusedRights
		}
	}
	rooms := []socket.Room{socket.Room(t.SocketID)}
	for _, name := range names {
		if !slices.Contains(c.refused, name) {
			c.rooms = append(c.rooms, socket.Room(name))
			rooms = append(rooms, socket.Room(name))
		}
	}
	if n.rooms.maxRooms > 0 && len(c.rooms) > n.rooms.maxRooms {
		return refusedTooMuch // another node lets its clients be in more rooms
	}
	all, err := n.useReplays(ctx, rooms, at.Number)
	if err != nil {
		return refusedAway
	}
	for _, x := range all {
		c.replays = append(c.replays, replayUse{x, max(at.Number, joined[x.room])})
	}
	if why = s.judgeReplay(); why != "" {
		s.releaseReplays()
	}
	return why
}

// useReplays is replays.use that tries again when this node was deaf meanwhile, or when Redis is
// just coming back. What this node delivers without Redis it does not deliver again, so all of that
// must be in the logs that are read. And this node must have heard what the client has heard, up to
// offset: else it would deliver that to the client again.
func (n *clusterNamespace) useReplays(ctx context.Context, rooms []socket.Room, offset int64) (all []*replay, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*awayWait)
	defer cancel()
	if err := n.castLog.WaitHeard(ctx, offset); err != nil {
		return nil, err
	}
	for begun := time.Now(); ; {
		before, ok := n.castLog.OutageEnd()
		if err = errReplayStale; ok {
			all, err = n.replays.use(ctx, rooms)
		}
		if err == nil {
			if after, ok := n.castLog.OutageEnd(); ok && after == before {
				return all, nil
			}
			n.replays.release(all)
			err = errReplayStale
		}
		if time.Since(begun) > awayWait {
			return nil, err
		}
		select {
		case <-time.After(settlingRetry):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// judgeReplay returns why what was missed cannot be sent again, or "".
func (s *Socket) judgeReplay() (why string) {
	n, c := s.nsp.cluster, s.connecting
	n.replays.mu.Lock()
	defer n.replays.mu.Unlock()
	messages, size := 0, 0
	seen := map[int64]bool{}
	for _, u := range c.replays {
		if u.dropped > u.from {
			return refusedCut
		}
		for _, e := range u.entries {
			if e.number > u.from && !seen[e.number] {
				seen[e.number] = true
				messages++
				size += e.size
			}
		}
	}
	if messages > maxReplayMessages || size > s.link.srv.engine.OutboundQueue()/2 {
		return refusedTooMuch
	}
	return ""
}

func (s *Socket) releaseReplays() {
	c := s.connecting
	if c == nil || c.replays == nil {
		return
	}
	all := make([]*replay, len(c.replays))
	for i, u := range c.replays {
		all[i] = u.replay
	}
	c.replays = nil
	s.nsp.cluster.replays.release(all)
}

// IsRecovered reports, within Receiver.Connected, whether the socket goes on where an earlier
// connection ended.
func (s *Socket) IsRecovered() bool { return s.connecting != nil && s.connecting.isBack }

// ReplacesLiving reports, within Receiver.Admit and behind Recover, whether the socket goes on with
// one whose end its node had not noticed.
func (s *Socket) ReplacesLiving() bool { return s.IsRecovered() && s.connecting.replacesLiving }

// RefusedRooms returns, within Receiver.Connected, the rooms of a recovered socket in which it may
// not be any more.
func (s *Socket) RefusedRooms() []string {
	if s.connecting == nil {
		return nil
	}
	return s.connecting.refused
}

// EmitBeforeReplay is EmitArgs, within Receiver.Connected and before Resume, for an event whose
// last argument is the position from which the client still has to be told.
func (s *Socket) EmitBeforeReplay(name string, a Args) error {
	f := frameEvent(s.nsp.name, name, a, 0, false)
	defer f.releaseFrames()
	appendOffset(f.text, s.connecting.offset)
	if !f.pushTo(s.link.conn) {
		return ErrClosed
	}
	return nil
}

// Resume has a recovered socket join its rooms, and sends what was cast to them meanwhile. What is
// new comes behind it. Call it within Receiver.Connected; without a call it is done behind that.
func (s *Socket) Resume() (rooms []string) {
	c := s.connecting
	if !s.IsRecovered() || c.replays == nil {
		return nil
	}
	for _, room := range c.rooms {
		rooms = append(rooms, string(room))
	}
	n := s.nsp.cluster
	isWhole := n.resumeSocket(s)
	s.releaseReplays()
	if !isWhole { // this node was deaf for a moment: the client comes back with its connection
		s.link.conn.Shut(engineio.ReasonTransportError)
	}
	for _, room := range c.refused {
		n.cluster.recorder.add(s.recordChange(castlog.RecordLeave, n.loggedRoom(socket.Room(room))))
	}
	return rooms
}

// resumeSocket sends what was missed, and has the socket join its rooms, while nothing is
// delivered. It reports false when something may be missing.
func (n *clusterNamespace) resumeSocket(s *Socket) bool {
	s.noteOutageBefore()
	defer n.castLog.UnlockDelivery()
	at, isHearing := n.castLog.LockDelivery()
	if !isHearing || at.Epoch != s.connecting.offset.Epoch {
		return false
	}
	missed, ok := n.collectMissed(s.connecting, at.Number)
	if !ok {
		return false
	}
	for _, e := range missed {
		e.frames.pushTo(s.link.conn)
	}
	n.attachConn(s.id, s.link.conn, s)
	for _, room := range s.connecting.rooms {
		n.joinRoom(s.id, room)
	}
	s.isRecorded.Store(true)
	return true
}

// collectMissed returns what a client has missed up to a position, in order.
func (n *clusterNamespace) collectMissed(c *connecting, until int64) (missed []replayEntry, ok bool) {
	n.replays.mu.Lock()
	defer n.replays.mu.Unlock()
	isExcluded := func(e *replayEntry) bool {
		return slices.ContainsFunc(e.except, func(room socket.Room) bool {
			return slices.ContainsFunc(c.replays, func(u replayUse) bool { return u.room == room })
		})
	}
	for _, u := range c.replays {
		if u.err != nil {
			return nil, false
		}
		for i := range u.entries {
			if e := &u.entries[i]; e.number > u.from && e.number <= until && !isExcluded(e) {
				missed = append(missed, *e)
			}
		}
	}
	slices.SortFunc(missed, func(a, b replayEntry) int { return cmp.Compare(a.number, b.number) })
	return slices.CompactFunc(missed, func(a, b replayEntry) bool { return a.number == b.number }), true
}

// prepareLibrary has the library connect the socket with our id and pid.
func (s *Socket) prepareLibrary() (auth any) {
	c := s.connecting
	if c == nil {
		return nil
	}
	s.nsp.rooms.admitSession(&socket.Session{SessionToPersist: &socket.SessionToPersist{
		Sid: s.id, Pid: socket.PrivateSessionId(c.secret), Rooms: types.NewSet[socket.Room](),
	}})
	return map[string]any{"pid": c.secret, "offset": "-"}
}

// admitSession has the library find a session when it connects the socket.
func (a *rooms) admitSession(session *socket.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.admitted == nil {
		a.admitted = map[socket.PrivateSessionId]*socket.Session{}
	}
	a.admitted[session.Pid] = session
}

// RestoreSession is called by the library for a socket that connects, where casts are logged: with
// the id and the pid that prepareLibrary has chosen.
func (a *rooms) RestoreSession(pid socket.PrivateSessionId, _ string) (*socket.Session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	session := a.admitted[pid]
	delete(a.admitted, pid)
	return session, nil
}

// endConnecting frees what was needed only until the socket was connected. Of a connection that was
// taken and not gone on with, the record stays for another try.
func (s *Socket) endConnecting() {
	if s.connecting == nil {
		return
	}
	s.releaseReplays()
	if s.connecting.presented != nil {
		s.nsp.cluster.takeovers.finish(s.connecting)
	}
	if s.connecting.isBack && !s.isRecorded.Load() && !s.isTaken.Load() {
		s.nsp.cluster.cluster.recorder.add(s.recordChange(castlog.RecordEnd, s.endValues(castlog.RecordEnd)...))
	}
	s.connecting, s.expectedRooms = nil, nil
}
