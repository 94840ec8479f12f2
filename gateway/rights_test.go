package gateway

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
)

// age makes what is known of a connection's roles so old.
func (h *hall) age(conn string, age time.Duration) {
	c := h.findConn(conn)
	c.rolesReadAt.Store(int64(h.sinceStart() - age))
}

// setRoles changes the roles of a session in the store.
func (h *hall) setRoles(id string, roles ...string) {
	h.book.set(func() {
		s := h.book.sessions[id]
		s.Roles = roles
		h.book.sessions[id] = s
	})
}

func (h *hall) readsOfSessions() (n int) {
	h.book.set(func() { n = h.book.reads })
	return n
}

// A role that was taken away is gone when what this node knows is five seconds old, at the latest,
// and the client is told.
func TestRolesAreReadAgain(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, conn := h.enter(t, "root")
	second, _ := h.enter(t, "root")
	const add = `{"a":1,"b":2}`
	h.setRoles("s-root")
	require.Contains(t, ask(t, c, "game:admin", add), `"ok":true`, "what is known is new")
	require.Zero(t, h.readsOfSessions())

	h.age(conn, 5*time.Second)
	c.Send(`427["game:admin",` + add + `]`)
	require.Contains(t, c.Read(), `42["session",{"sessionId":"s-root","userId":"root","username":"The root","characterId":"","roles":[]`)
	require.Contains(t, c.Read(), `42["limits",`)
	require.Contains(t, c.Read(), `437[{"ok":false,"error":{"code":"FORBIDDEN"`)
	require.Equal(t, 1, h.readsOfSessions())
	require.Contains(t, second.Read(), `"roles":[]`, "every connection of the session is told")
	require.Contains(t, second.Read(), `42["limits",`)
	require.Contains(t, ask(t, second, "game:admin", add), "FORBIDDEN")
	require.Equal(t, 1, h.readsOfSessions(), "the read was for both")

	h.setRoles("s-root", "admin", "vip")
	h.RefreshUser("root")
	for _, client := range []interface{ Read() string }{c, second} {
		require.Contains(t, client.Read(), `"roles":["admin","vip"]`, "at once, when the game says so")
		require.Contains(t, client.Read(), `"limit":9`, "with the limits of the roles")
	}
	require.Contains(t, ask(t, c, "game:admin", add), `"ok":true`)
	require.Equal(t, 2, h.readsOfSessions())

	h.setRoles("s-root")
	h.age(conn, 5*time.Second)
	c.Send(`428["game:add",` + add + `]`)
	require.Contains(t, c.Read(), `"roles":[]`, "what only has a role may depend on it too")
	require.Contains(t, c.Read(), `42["limits",`)
	require.Contains(t, c.Read(), `"ok":true`)
	reads := h.readsOfSessions()
	h.age(conn, time.Hour)
	alive(t, c)
	require.Equal(t, reads, h.readsOfSessions(), "nobody's roles matter")
}

// While sessions can not be read, what was known holds, and reads are a second apart. Events that
// come together share a read.
func TestKnownRolesHoldDuringAnOutage(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, conn := h.enter(t, "root")
	h.book.set(func() { h.book.broken = errors.New("away") })
	h.age(conn, time.Minute)
	for range 3 {
		require.Contains(t, ask(t, c, "game:admin", `{}`), `"ok":true`)
	}
	require.Equal(t, 1, h.readsOfSessions())
	h.book.set(func() { h.book.broken = nil })
	h.setRoles("s-root")
	h.age(conn, time.Minute)
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() { h.refreshRoles(h.findConn(conn), maxRoleAge) })
	}
	callers.Wait()
	require.LessOrEqual(t, h.readsOfSessions(), 3)
	p, ok := h.Fresh(conn)
	require.True(t, ok)
	require.Empty(t, p.Roles)
	_, ok = h.Fresh("nobody")
	require.False(t, ok)
}

// A slower read of an older state does not win.
func TestTheLatestReadOfRolesWins(t *testing.T) {
	t.Parallel()
	h := open(t)
	_, conn := h.enter(t, "root")
	c := h.findConn(conn)
	p := c.player.Load()
	now := h.sinceStart()
	h.applyRoles(p, nil, now)
	h.applyRoles(p, []string{"admin"}, now-time.Millisecond)
	require.Equal(t, []event.Player{*c.player.Load()}, h.Here("root"))
	require.Empty(t, c.player.Load().Roles)
}
