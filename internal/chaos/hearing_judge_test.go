package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A saidMessage is one message that a member sent, and what the member was answered.
type saidMessage struct {
	text, from string
	room       string    // a channel, or "@" and the name of the member to whom it was whispered
	seq        int       // its number among the sender's messages
	at         time.Time // when it was sent

	isAnswered  bool
	answeredAt  time.Time
	code        string // of a refusal; "" for ok
	id          string
	isLocal     bool // the answer said local: true
	undelivered bool // a whisper whose sender was told that nobody heard it, and that it was not kept
}

// isAcknowledged reports whether the sender was told that the message will be heard.
func (m *saidMessage) isAcknowledged() bool {
	return m.isAnswered && m.code == "" && !m.undelivered
}

// isRefused reports whether the sender was told that the message will never be heard. After
// UNAVAILABLE, TIMEOUT and INTERNAL that is open.
func (m *saidMessage) isRefused() bool {
	return m.isAnswered && m.code != "" && !slices.Contains([]string{"UNAVAILABLE", "TIMEOUT", "INTERNAL"}, m.code)
}

// A heardMessage is one message as it was heard, or as it stands in a history.
type heardMessage struct{ id, text string }

// A memberRecord is what one member heard, by room and in order, and what else befell it. A member
// that comes back and is not recovered begins anew, with a record of its own.
type memberRecord struct {
	user     string
	since    map[string]time.Time // by room, for one that joined later: what was said before may be missing
	returns  int                  // how often it came back and was told that it is recovered
	wentAway bool                 // it came back, and was told that it is not recovered
	heard    map[string][]heardMessage
	texts    map[string]int // how often each text was heard
	noticeAt time.Time      // when it was told last that it missed something
	notices  int
	endedAt  time.Time // when its connection ended; zero while it lives
	reason   string
}

// A hearingRecord is what the members of some rooms said and heard. It knows nothing but what the
// members themselves saw, and the histories.
type hearingRecord struct {
	mu        sync.Mutex
	channels  []string                  // all members are in each, but for those who joined later
	members   map[string]*memberRecord  // guarded by mu
	audience  map[string][]string       // members by room; guarded by mu
	said      map[string]*saidMessage   // by text; guarded by mu
	histories map[string][]heardMessage // by channel, oldest first; guarded by mu
	byHistory bool                      // the order of a channel is that of its history: members who come and go see parts of it
}

func newHearingRecord(channels, members []string) *hearingRecord {
	r := &hearingRecord{
		channels: channels, members: map[string]*memberRecord{}, audience: map[string][]string{},
		said: map[string]*saidMessage{}, histories: map[string][]heardMessage{},
	}
	for _, name := range members {
		r.addMember(name, name)
		for _, channel := range channels {
			r.audience[channel] = append(r.audience[channel], name)
		}
	}
	return r
}

// addMember adds a member that hears the whispers to a user. The caller holds mu, or is alone.
func (r *hearingRecord) addMember(name, user string) *memberRecord {
	m := &memberRecord{user: user, heard: map[string][]heardMessage{}, texts: map[string]int{}, since: map[string]time.Time{}}
	r.members[name] = m
	r.audience["@"+user] = append(r.audience["@"+user], name)
	return m
}

// noteArrival adds a member that hears from now on what is whispered to its user.
func (r *hearingRecord) noteArrival(name, user string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addMember(name, user).since["@"+user] = at
}

// noteJoined adds a member to a channel from now on.
func (r *hearingRecord) noteJoined(name, channel string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[name].since[channel] = at
	r.audience[channel] = append(r.audience[channel], name)
}

// userOf returns the user of a member.
func (r *hearingRecord) userOf(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[name].user
}

// noteReturn notes that a member came back, and whether it was told that it missed nothing.
func (r *hearingRecord) noteReturn(name string, recovered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[name]; recovered {
		m.returns++
	} else {
		m.wentAway = true
	}
}

// uncounted begins the texts of those who are not members: theirs may be lost, but not doubled.
const uncounted = "(uncounted) "

func (r *hearingRecord) noteSaid(from, room, text string, seq int, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said[text] = &saidMessage{text: text, from: from, room: room, seq: seq, at: at}
}

// A hearingAnswer is the answer to chat:message and chat:whisper.
type hearingAnswer struct {
	ID        string `json:"id"`
	Local     bool   `json:"local"`
	Delivered *bool  `json:"delivered"` // only of a whisper
	Kept      bool   `json:"kept"`      // only of a whisper
}

func (r *hearingRecord) noteAnswer(text, code string, a hearingAnswer, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.said[text]
	m.isAnswered, m.answeredAt, m.code, m.id, m.isLocal = true, at, code, a.ID, a.Local
	m.undelivered = a.Delivered != nil && !*a.Delivered && !a.Kept && !a.Local
}

func (r *hearingRecord) noteHeard(member, room string, m heardMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := r.members[member]
	to.heard[room] = append(to.heard[room], m)
	to.texts[m.text]++
}

func (r *hearingRecord) noteMissed(member string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[member].noticeAt = at
	r.members[member].notices++
}

func (r *hearingRecord) noteEnded(member, reason string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[member]; m.endedAt.IsZero() {
		m.endedAt, m.reason = at, reason
	}
}

// listenersOf returns the members who are to hear what is said in a room.
func (r *hearingRecord) listenersOf(room string) (names []string) { return r.audience[room] }

// mayLack reports whether a member need not have heard a message: it joined later, it was not
// connected any more, or it was told that it is not recovered. Of the latter nothing is known but
// that it misses nothing before what it heard last from the same sender.
func (m *memberRecord) mayLack(s *saidMessage, newest map[string]int) bool {
	switch {
	case !s.at.After(m.since[s.room]):
		return true
	case m.wentAway:
		highest, heard := newest[s.room+" "+s.from]
		return s.isLocal || !heard || s.seq > highest
	}
	return !m.endedAt.IsZero() && m.endedAt.Before(s.answeredAt)
}

// newestHeard returns the highest number that a member heard from each sender in each room, of what
// was acknowledged and not local.
func (r *hearingRecord) newestHeard(m *memberRecord) map[string]int {
	newest := map[string]int{}
	for room, all := range m.heard {
		for _, h := range all {
			if s := r.said[h.text]; s != nil && s.isAcknowledged() && !s.isLocal {
				newest[room+" "+s.from] = max(newest[room+" "+s.from], s.seq)
			}
		}
	}
	return newest
}

// countUnheard counts what was acknowledged and what a connected member has not heard yet.
func (r *hearingRecord) countUnheard() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.said {
		if !m.isAcknowledged() {
			continue
		}
		for _, name := range r.listenersOf(m.room) {
			to := r.members[name]
			if to.texts[m.text] == 0 && to.endedAt.IsZero() && !to.wentAway && m.at.After(to.since[m.room]) {
				n++
			}
		}
	}
	return n
}

// A hearingVerdict counts what a record says. Everything below heard is a fault, but for lostTold
// where the row of a fault allows it.
type hearingVerdict struct {
	said, acknowledged, local, refused, open, undelivered, heard int

	lost         int // acknowledged, never heard by a connected member, and in silence
	lostReturned int // of these, those of members who came back and were told that they are recovered
	lostTold     int // the same, and the member was told later that it missed something
	doubled      int // heard more than once by one member
	disordered   int // heard after what others heard before it, or after what its sender said later
	untrue       int // heard, or in a history, though it was refused or never said so
	unwritten    int // acknowledged and not in the history
	writtenTwice int
	ended        int // connections that ended

	complaints []string // the first of each kind
}

// maxComplaints is how many examples of one kind a verdict has.
const maxComplaints = 3

func (v *hearingVerdict) complain(count *int, format string, args ...any) {
	if *count++; *count <= maxComplaints {
		v.complaints = append(v.complaints, fmt.Sprintf(format, args...))
	}
}

// countFaults returns how many faults there are. lostTold is one unless mayLose.
func (v *hearingVerdict) countFaults(mayLose bool) int {
	n := v.lost + v.doubled + v.disordered + v.untrue + v.unwritten + v.writtenTwice + v.ended
	if !mayLose {
		n += v.lostTold
	}
	return n
}

func (v *hearingVerdict) String() string {
	return fmt.Sprintf("%d said, %d acknowledged, %d of them local, %d refused, %d open, %d whispers undelivered; heard %d times; "+
		"lost %d in silence (%d by members who were recovered) and %d told, doubled %d, out of order %d, untrue %d, not in the history %d, twice in it %d, connections ended %d",
		v.said, v.acknowledged, v.local, v.refused, v.open, v.undelivered, v.heard,
		v.lost, v.lostReturned, v.lostTold, v.doubled, v.disordered, v.untrue, v.unwritten, v.writtenTwice, v.ended)
}

// judge compares what was answered with what was heard and with the histories.
func (r *hearingRecord) judge() *hearingVerdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := &hearingVerdict{}
	r.judgeAnswers(v)
	rooms := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(r.members)) {
		m := r.members[name]
		r.judgeHearing(v, name, m)
		for room := range m.heard {
			rooms[room] = true
		}
		if !m.endedAt.IsZero() {
			v.complain(&v.ended, "%s: the connection ended: %s", name, m.reason)
		}
	}
	for room := range rooms {
		r.judgeOrder(v, room)
	}
	for _, channel := range r.channels {
		r.judgeHistory(v, channel)
	}
	return v
}

// judgeAnswers counts the answers, and what was acknowledged and never heard.
func (r *hearingRecord) judgeAnswers(v *hearingVerdict) {
	newest := map[string]map[string]int{}
	for name, m := range r.members {
		if m.wentAway {
			newest[name] = r.newestHeard(m)
		}
	}
	for _, m := range r.said {
		v.said++
		switch {
		case m.isRefused():
			v.refused++
		case m.undelivered:
			v.undelivered++
		case !m.isAcknowledged():
			v.open++
		default:
			v.acknowledged++
			if m.isLocal {
				v.local++
			}
		}
		if !m.isAcknowledged() {
			continue
		}
		for _, name := range r.listenersOf(m.room) {
			to := r.members[name]
			switch {
			case to.texts[m.text] > 0:
			case to.mayLack(m, newest[name]):
			case to.noticeAt.After(m.at):
				v.complain(&v.lostTold, "%s never heard %q in %s, said at %s, and was told", name, m.text, m.room, m.at.Format("05.000"))
			default:
				v.complain(&v.lost, "%s, %d times recovered, never heard %q in %s, said at %s", name, to.returns, m.text, m.room, m.at.Format("05.000"))
				if to.returns > 0 {
					v.lostReturned++
				}
			}
		}
	}
}

// judgeHearing counts what one member heard twice, and what it should not have heard.
func (r *hearingRecord) judgeHearing(v *hearingVerdict, name string, to *memberRecord) {
	seen := map[string]bool{}
	for room, all := range to.heard {
		for _, h := range all {
			v.heard++
			if seen[h.text] {
				v.complain(&v.doubled, "%s heard %q again", name, h.text)
				continue
			}
			seen[h.text] = true
			if why := r.explainUntrue(room, h); why != "" {
				v.complain(&v.untrue, "%s heard %q in %s: %s", name, h.text, room, why)
			}
		}
	}
}

// explainUntrue says why a message can not be where it is, or "".
func (r *hearingRecord) explainUntrue(room string, h heardMessage) string {
	if strings.HasPrefix(h.text, uncounted) {
		return ""
	}
	switch m := r.said[h.text]; {
	case m == nil:
		return "nobody said it"
	case m.room != room:
		return "it was said in " + m.room
	case m.isRefused():
		return "it was refused: " + m.code
	case m.isAcknowledged() && m.id != h.id:
		return fmt.Sprintf("its id is %q, and was answered as %q", h.id, m.id)
	}
	return ""
}

// judgeOrder counts what the members of a room heard in different orders. A message that was local
// may have another order on each node, and so may one whose outcome is open. Of the members' orders
// the right one is that from which the others differ least, or with byHistory that of the history.
func (r *hearingRecord) judgeOrder(v *hearingVerdict, room string) {
	orders := map[string][]string{}
	for name, member := range r.members {
		seen := map[string]bool{} // what is heard again is counted as doubled
		for _, h := range member.heard[room] {
			if m := r.said[h.text]; m != nil && m.room == room && m.isAcknowledged() && !m.isLocal && !seen[h.text] {
				seen[h.text] = true
				orders[name] = append(orders[name], h.text)
			}
		}
	}
	var least []string
	if r.byHistory {
		least = r.findDisorder(room, r.placesInHistory(room), orders)
	} else {
		for i, name := range slices.Sorted(maps.Keys(orders)) {
			if late := r.findDisorder(room, r.mergeOrders(orders[name], orders), orders); i == 0 || len(late) < len(least) {
				least = late
			}
		}
	}
	for _, complaint := range least {
		v.complain(&v.disordered, "%s", complaint)
	}
}

// findDisorder returns a complaint for each message that a member heard later than its place says,
// or after what its sender said later.
func (r *hearingRecord) findDisorder(room string, places map[string]int, orders map[string][]string) (complaints []string) {
	for _, name := range slices.Sorted(maps.Keys(orders)) {
		latest, newest := -1, map[string]int{} // the latest place, and each sender's highest number
		before := ""
		for _, text := range orders[name] {
			m := r.said[text]
			place, hasPlace := places[text]
			if highest, known := newest[m.from]; hasPlace && place < latest || known && m.seq < highest {
				complaints = append(complaints, fmt.Sprintf("%s heard %q in %s too late: after %q", name, text, room, before))
			}
			newest[m.from] = max(newest[m.from], m.seq)
			latest, before = max(latest, place), text
		}
	}
	return complaints
}

// mergeOrders returns the place of each message in the order of one member. What this one missed is
// put behind what another member heard before it.
func (r *hearingRecord) mergeOrders(base []string, orders map[string][]string) map[string]int {
	merged := slices.Clone(base)
	known := map[string]bool{}
	for _, text := range merged {
		known[text] = true
	}
	for _, name := range slices.Sorted(maps.Keys(orders)) {
		before := ""
		for _, text := range orders[name] {
			if !known[text] {
				known[text] = true
				merged = slices.Insert(merged, slices.Index(merged, before)+1, text)
			}
			before = text
		}
	}
	places := make(map[string]int, len(merged))
	for i, text := range merged {
		places[text] = i
	}
	return places
}

// placesInHistory returns the place of each message in the history of a room. Whispers have none:
// there the order of each sender counts.
func (r *hearingRecord) placesInHistory(room string) map[string]int {
	places := map[string]int{}
	for i, h := range r.histories[room] {
		places[h.text] = i
	}
	return places
}

// judgeHistory counts what a channel's history lacks, and what it has twice or should not have.
func (r *hearingRecord) judgeHistory(v *hearingVerdict, channel string) {
	written := map[string]int{}
	for _, h := range r.histories[channel] {
		if written[h.text]++; written[h.text] > 1 {
			v.complain(&v.writtenTwice, "the history of %s has %q twice", channel, h.text)
		} else if why := r.explainUntrue(channel, h); why != "" {
			v.complain(&v.untrue, "the history of %s has %q: %s", channel, h.text, why)
		}
	}
	for _, m := range r.said {
		if m.room == channel && m.isAcknowledged() && written[m.text] == 0 {
			v.complain(&v.unwritten, "the history of %s lacks %q, said at %s", channel, m.text, m.at.Format("05.000"))
		}
	}
}
