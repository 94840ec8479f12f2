package engineio

import (
	"io"
	"net/http"
	"time"
)

// The client of a polling connection that the server closes may have a poll and a POST on their way
// when it learns of that. They are no errors, and a browser would show an answer of 400 as one.

// dismissedTime is for at least how long the sids of connections are known that the server closed;
// it is twice as long at most.
const dismissedTime = 30 * time.Second

// maxDismissed bounds how many sids are kept of one dismissedTime: half a megabyte.
const maxDismissed = 8192

// dismissedSids are the sids of polling connections that the server has closed, in two generations.
type dismissedSids struct {
	recent, former map[string]struct{}
	begun          time.Time // of the recent ones
}

// age forgets what is old.
func (d *dismissedSids) age(now time.Time) {
	switch passed := now.Sub(d.begun); {
	case passed >= 2*dismissedTime:
		d.recent, d.former, d.begun = nil, nil, now
	case passed >= dismissedTime:
		d.recent, d.former, d.begun = nil, d.recent, now
	}
}

func (d *dismissedSids) add(sid string, now time.Time) {
	d.age(now)
	if d.recent == nil {
		d.recent = map[string]struct{}{}
	}
	if len(d.recent) < maxDismissed {
		d.recent[sid] = struct{}{}
	}
}

func (d *dismissedSids) has(sid string, now time.Time) bool {
	d.age(now)
	_, isRecent := d.recent[sid]
	_, isFormer := d.former[sid]
	return isRecent || isFormer
}

// isDismissed reports whether sid is of a polling connection that the server has closed.
func (s *Server) isDismissed(sid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dismissed.has(sid, time.Now())
}

// serveDismissed answers a late request on a polling connection that the server has closed: a poll
// with a close packet, a POST as if it were read.
func (s *Server) serveDismissed(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte{packetClose}) // an error means that the client has left
		return
	}
	s.refuseBody(w, r)
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "ok")
}
