package gateway

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// diary is a ConnectionObserver that writes down what it is told.
type diary struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (d *diary) note(what string, p event.Player) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, what+" "+p.UserID+" "+p.CharacterID+" "+p.Conn)
}

func (d *diary) Connected(p event.Player)        { d.note("came", p) }
func (d *diary) CharacterChanged(p event.Player) { d.note("changed", p) }
func (d *diary) Disconnected(p event.Player)     { d.note("went", p) }

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.lines...)
}

func TestTheObserverIsToldWhoConnectsAndDisconnects(t *testing.T) {
	t.Parallel()
	d := &diary{}
	h := open(t, func(c *Config) { c.Observer = d })
	refused := wiretest.Open(t, h.url, "websocket")
	refused.Send(`40{"sessionId":"unknown"}`)
	refused.Read()
	first, one := h.enter(t, "ann")
	_, two := h.enter(t, "ann")
	require.Contains(t, ask(t, first, "session:character", `{"characterId":"hero"}`), `"hero"`)
	require.Len(t, h.Here("ann"), 2)
	require.Empty(t, h.Here("root"))
	h.book.end("s-ann", "SESSION_REVOKED", "bye")
	require.Eventually(t, func() bool { return len(d.all()) == 6 }, wiretest.Patience, tick)
	require.Equal(t, []string{"came ann  " + one, "came ann  " + two}, d.all()[:2])
	require.ElementsMatch(t, []string{"changed ann hero " + one, "changed ann hero " + two}, d.all()[2:4])
	require.ElementsMatch(t, []string{"went ann hero " + one, "went ann hero " + two}, d.all()[4:])
	require.Empty(t, h.Here("ann"))
}
