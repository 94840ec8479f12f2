package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soundRecord is a record in which all is well: three members say ten messages in each of two
// channels, all hear them in one order, and each whispers to the next.
func soundRecord() *hearingRecord {
	members, channels := []string{"ann", "bob", "cid"}, []string{"zone:a", "zone:b"}
	r := newHearingRecord(channels, members)
	begun, seq := time.Unix(1_000_000, 0), 0
	say := func(from, room string) {
		text := fmt.Sprintf("%s %d", from, seq)
		at := begun.Add(time.Duration(seq) * time.Second)
		r.noteSaid(from, room, text, seq, at)
		a := hearingAnswer{ID: "id of " + text}
		if room[0] == '@' {
			a.Delivered = new(true)
		}
		r.noteAnswer(text, "", a, at.Add(time.Millisecond))
		m := heardMessage{a.ID, text}
		for _, name := range r.listenersOf(room) {
			r.noteHeard(name, room, m)
		}
		if room[0] != '@' {
			r.histories[room] = append(r.histories[room], m)
		}
		seq++
	}
	for i := range 10 {
		for _, channel := range channels {
			say(members[i%3], channel)
		}
	}
	for i, from := range members {
		say(from, "@"+members[(i+1)%3])
	}
	return r
}

// forget removes what a member heard as the nth in a room, and returns it.
func (r *hearingRecord) forget(member, room string, n int) heardMessage {
	m := r.members[member]
	h := m.heard[room][n]
	m.heard[room] = append(m.heard[room][:n:n], m.heard[room][n+1:]...)
	m.texts[h.text]--
	return h
}

// The judge notices each way in which somebody may not have heard what was acknowledged, and
// nothing besides.
func TestTheJudgeOfHearingNotices(t *testing.T) {
	t.Parallel()
	swap := func(r *hearingRecord, member, room string, n int) {
		all := r.members[member].heard[room]
		all[n], all[n+1] = all[n+1], all[n]
	}
	localOf := func(r *hearingRecord, room string, n int) { r.said[r.histories[room][n].text].isLocal = true }
	refuse := func(r *hearingRecord, room string, n int, code string) {
		r.said[r.histories[room][n].text].code = code
	}
	for name, c := range map[string]struct {
		spoil func(r *hearingRecord)
		want  hearingVerdict // only its faults
	}{
		"all is well":        {func(*hearingRecord) {}, hearingVerdict{}},
		"a member missed it": {func(r *hearingRecord) { r.forget("bob", "zone:a", 3) }, hearingVerdict{lost: 1}},
		"all missed it": {func(r *hearingRecord) {
			for _, name := range []string{"ann", "bob", "cid"} {
				r.forget(name, "zone:a", 9)
			}
		}, hearingVerdict{lost: 3}},
		"a whisper is lost": {func(r *hearingRecord) { r.forget("ann", "@ann", 0) }, hearingVerdict{lost: 1}},
		"its sender knows": {func(r *hearingRecord) {
			r.said[r.forget("ann", "@ann", 0).text].undelivered = true
		}, hearingVerdict{}},
		"missed, and told afterwards": {func(r *hearingRecord) {
			m := r.forget("bob", "zone:a", 3)
			r.noteMissed("bob", r.said[m.text].at.Add(time.Second))
		}, hearingVerdict{lostTold: 1}},
		"missed, and told before": {func(r *hearingRecord) {
			m := r.forget("bob", "zone:a", 3)
			r.noteMissed("bob", r.said[m.text].at.Add(-time.Second))
		}, hearingVerdict{lost: 1}},
		"missed, and another was told": {func(r *hearingRecord) {
			r.forget("bob", "zone:a", 3)
			r.noteMissed("cid", time.Unix(2_000_000, 0))
		}, hearingVerdict{lost: 1}},
		"missed, and not acknowledged": {func(r *hearingRecord) {
			m := r.forget("bob", "zone:a", 3)
			r.said[m.text].code = "UNAVAILABLE"
		}, hearingVerdict{}},
		"heard twice": {func(r *hearingRecord) {
			r.noteHeard("cid", "zone:b", r.members["cid"].heard["zone:b"][4])
		}, hearingVerdict{doubled: 1}},
		"heard twice in a row": {func(r *hearingRecord) {
			r.noteHeard("cid", "zone:b", r.members["cid"].heard["zone:b"][9])
		}, hearingVerdict{doubled: 1}},
		"a stranger's twice": {func(r *hearingRecord) {
			r.noteHeard("cid", "zone:b", heardMessage{"x", uncounted + "1"})
			r.noteHeard("cid", "zone:b", heardMessage{"x", uncounted + "1"})
		}, hearingVerdict{doubled: 1}},
		"another order at one member": {func(r *hearingRecord) { swap(r, "cid", "zone:a", 4) }, hearingVerdict{disordered: 1}},
		"and one of them was local": {func(r *hearingRecord) {
			swap(r, "cid", "zone:a", 4)
			localOf(r, "zone:a", 5)
		}, hearingVerdict{}},
		"another one was local": {func(r *hearingRecord) {
			swap(r, "cid", "zone:a", 4)
			localOf(r, "zone:a", 6)
		}, hearingVerdict{disordered: 1}},
		"a sender's order, everywhere": {func(r *hearingRecord) {
			for _, name := range []string{"ann", "bob", "cid"} {
				all := r.members[name].heard["zone:a"]
				all[0], all[3] = all[3], all[0] // both are ann's
			}
		}, hearingVerdict{disordered: 3}},
		"what one missed is late at another": {func(r *hearingRecord) {
			r.forget("ann", "zone:a", 2)
			m := r.forget("bob", "zone:a", 2)
			r.noteHeard("bob", "zone:a", m)
		}, hearingVerdict{lost: 1, disordered: 1}},
		"refused, and heard": {func(r *hearingRecord) { refuse(r, "zone:a", 1, "RATE_LIMITED") }, hearingVerdict{untrue: 4}}, // by three, and it is in the history
		"open, and heard":    {func(r *hearingRecord) { refuse(r, "zone:a", 1, "TIMEOUT") }, hearingVerdict{}},
		"nobody said it": {func(r *hearingRecord) {
			r.noteHeard("ann", "zone:a", heardMessage{"x", "boo"})
		}, hearingVerdict{untrue: 1}},
		"in another room": {func(r *hearingRecord) {
			m := r.forget("ann", "zone:a", 1)
			r.noteHeard("ann", "zone:b", m)
		}, hearingVerdict{untrue: 1}},
		"under another id": {func(r *hearingRecord) {
			m := r.forget("ann", "zone:a", 9)
			r.noteHeard("ann", "zone:a", heardMessage{"other", m.text})
		}, hearingVerdict{untrue: 1}},
		"another's whisper": {func(r *hearingRecord) {
			r.noteHeard("cid", "@cid", r.members["ann"].heard["@ann"][0])
		}, hearingVerdict{untrue: 1}},
		"not in the history": {func(r *hearingRecord) { r.histories["zone:a"] = r.histories["zone:a"][1:] }, hearingVerdict{unwritten: 1}},
		"twice in the history": {func(r *hearingRecord) {
			r.histories["zone:a"] = append(r.histories["zone:a"], r.histories["zone:a"][2])
		}, hearingVerdict{writtenTwice: 1}},
		"in the other history": {func(r *hearingRecord) {
			r.histories["zone:b"] = append(r.histories["zone:b"], r.histories["zone:a"][0])
			r.histories["zone:a"] = r.histories["zone:a"][1:]
		}, hearingVerdict{untrue: 1, unwritten: 1}},
		"a connection ended": {func(r *hearingRecord) {
			r.noteEnded("bob", "transport close", r.said[r.forget("bob", "zone:a", 9).text].at.Add(-time.Second))
		}, hearingVerdict{ended: 1}},
		"it joined later": {func(r *hearingRecord) {
			r.members["bob"].since["zone:a"] = r.said[r.forget("bob", "zone:a", 3).text].at.Add(time.Millisecond)
		}, hearingVerdict{}},
		"it joined before": {func(r *hearingRecord) {
			r.members["bob"].since["zone:a"] = r.said[r.forget("bob", "zone:a", 3).text].at.Add(-time.Millisecond)
		}, hearingVerdict{lost: 1}},
		"it came back and was recovered": {func(r *hearingRecord) {
			r.forget("bob", "zone:a", 3)
			r.noteReturn("bob", true)
		}, hearingVerdict{lost: 1, lostReturned: 1}},
		"it came back and was not recovered, after the last it heard": {func(r *hearingRecord) {
			for range 3 {
				r.forget("bob", "zone:a", 7)
			}
			r.noteReturn("bob", true)
			r.noteReturn("bob", false)
		}, hearingVerdict{}},
		"it came back and was not recovered, before the last it heard": {func(r *hearingRecord) {
			r.forget("bob", "zone:a", 3)
			r.noteReturn("bob", true)
			r.noteReturn("bob", false)
		}, hearingVerdict{lost: 1, lostReturned: 1}},
		"what it missed before it came back anew": {func(r *hearingRecord) {
			at := r.said[r.forget("bob", "zone:a", 9).text].at
			r.noteReturn("bob", false)
			r.noteArrival("bob again", "bob", at.Add(time.Millisecond))
			r.noteJoined("bob again", "zone:a", at.Add(time.Millisecond))
			r.noteHeard("bob again", "@bob", r.forget("bob", "@bob", 0))
		}, hearingVerdict{}},
		"what it missed after it came back anew": {func(r *hearingRecord) {
			at := r.said[r.forget("bob", "zone:a", 9).text].at
			r.noteReturn("bob", false)
			r.noteArrival("bob again", "bob", at.Add(-time.Millisecond))
			r.noteJoined("bob again", "zone:a", at.Add(-time.Millisecond))
		}, hearingVerdict{lost: 2}}, // and the whisper
		"another order than the history's": {func(r *hearingRecord) {
			r.byHistory = true
			swap(r, "cid", "zone:a", 4)
		}, hearingVerdict{disordered: 1}},
		"the order of the history, and parts of it": {func(r *hearingRecord) {
			r.byHistory = true
			for n := range 3 {
				r.noteReturn("bob", true)
				r.noteMissed("bob", time.Unix(2_000_000, 0))
				r.forget("bob", "zone:a", 2*n)
			}
		}, hearingVerdict{lostTold: 3}},
		"it ended later": {func(r *hearingRecord) {
			r.noteEnded("bob", "transport close", r.said[r.forget("bob", "zone:a", 9).text].at.Add(time.Hour))
		}, hearingVerdict{ended: 1, lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := soundRecord()
			c.spoil(r)
			v := r.judge()
			got := hearingVerdict{
				lost: v.lost, lostReturned: v.lostReturned, lostTold: v.lostTold, doubled: v.doubled, disordered: v.disordered, untrue: v.untrue,
				unwritten: v.unwritten, writtenTwice: v.writtenTwice, ended: v.ended,
			}
			require.Equal(t, c.want, got, "%v", v.complaints)
			require.Equal(t, c.want.countFaults(true) > 0 || c.want.lostTold > 0, v.countFaults(false) > 0)
			require.Equal(t, 23, v.said)
			if v.countFaults(false) > 0 {
				require.NotEmpty(t, v.complaints)
			}
		})
	}
}

// What waits for the last to be heard counts what was acknowledged only, and connected members
// only.
func TestUnheardIsCounted(t *testing.T) {
	t.Parallel()
	r := soundRecord()
	require.Zero(t, r.countUnheard())
	m := r.forget("bob", "zone:a", 3)
	r.forget("cid", "zone:a", 3)
	require.Equal(t, 2, r.countUnheard())
	r.noteEnded("cid", "", time.Unix(2_000_000, 0))
	require.Equal(t, 1, r.countUnheard())
	r.said[m.text].code = "UNAVAILABLE"
	require.Zero(t, r.countUnheard())
}
