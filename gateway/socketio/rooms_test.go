package socketio

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/wiretest"
)

// check returns what is wrong with the index, or nil.
func (a *rooms) check() error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	seats := 0
	for name, r := range a.rooms {
		if len(r.members) == 0 || r.name != name {
			return fmt.Errorf("room %q is empty, or not its own", name)
		}
		seats += len(r.members)
		for i, m := range r.members {
			j := m.findMembership(name)
			if j < 0 || m.memberships[j].index != i || m.memberships[j].room != r {
				return fmt.Errorf("member %d of %q does not know its seat", i, name)
			}
			if a.members[m.lib.Id()] != m {
				return fmt.Errorf("a member of %q is a ghost", name)
			}
		}
	}
	for id, m := range a.members {
		seats -= len(m.memberships)
		for _, s := range m.memberships {
			if a.rooms[s.room.name] != s.room || s.room.members[s.index] != m {
				return fmt.Errorf("%s sits in a room that is not there", id)
			}
		}
	}
	if seats != 0 {
		return fmt.Errorf("%d seats too many in rooms", seats)
	}
	return nil
}

// population counts the members.
func (a *rooms) population() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.members)
}

// A party is some connected clients.
type party struct {
	*world
	clients []*wiretest.Client
	sockets []*Socket
}

func gather(t *testing.T, n int, cfg Config) *party {
	t.Helper()
	met := make(chan *Socket, 1000)
	p := &party{world: serve(t, &scene{event: echo, connected: func(s *Socket) { met <- s }}, cfg)}
	for range n {
		c, _ := p.join(t, "websocket")
		p.clients, p.sockets = append(p.clients, c), append(p.sockets, <-met)
	}
	return p
}

// heard returns which clients get what do sends. They must get it once, and nothing but "x".
func (p *party) heard(t *testing.T, do func()) (who []int) {
	t.Helper()
	do()
	for i, c := range p.clients {
		_ = p.sockets[i].Emit("mark")
		for got := c.Read(); got != `42["mark"]`; got = c.Read() {
			require.Equal(t, `42["x",1]`, got)
			require.NotContains(t, who, i, "told twice")
			who = append(who, i)
		}
	}
	return who
}

func TestRooms(t *testing.T) {
	t.Parallel()
	p := gather(t, 4, Config{})
	n, all := p.Of("/"), p.sockets
	x := Args{JSON: []byte("1")}
	lib := p.IO.Of("/", nil)
	r := func(s *Socket) socket.Room { return socket.Room(s.ID()) }

	members, ok := all[0].Join("a")
	require.True(t, ok)
	require.Equal(t, 1, members)
	members, _ = all[1].Join("a")
	require.Equal(t, 2, members)
	members, _ = all[1].Join("a")
	require.Equal(t, 2, members, "twice is once")
	all[1].Join("b")
	all[2].Join("b")
	require.True(t, all[0].In("a"))
	require.False(t, all[2].In("a"))
	require.Equal(t, 2, all[1].Rooms(""))
	require.Equal(t, 1, all[1].Rooms("b"))

	for name, c := range map[string]struct {
		do   func()
		want []int
	}{
		"one room":                   {func() { require.Equal(t, 2, n.CastArgs("a", "", "x", x)) }, []int{0, 1}},
		"one room, built":            {func() { require.Equal(t, 2, n.Cast("a", "x", func(b []byte) []byte { return append(b, '1') })) }, []int{0, 1}},
		"one room but who is in b":   {func() { require.Equal(t, 1, n.CastArgs("a", "b", "x", x)) }, []int{0}},
		"one room but one":           {func() { require.Equal(t, 1, n.CastArgs("a", all[0].ID(), "x", x)) }, []int{1}},
		"a room of nobody":           {func() { require.Zero(t, n.CastArgs("nobody", "", "x", x)) }, nil},
		"a socket's own room":        {func() { require.Equal(t, 1, n.CastArgs(all[3].ID(), "", "x", x)) }, []int{3}},
		"a socket's own room, built": {func() { require.Equal(t, 1, n.Cast(all[3].ID(), "x", func(b []byte) []byte { return append(b, '1') })) }, []int{3}},
		"the library: all":           {func() { _ = p.IO.Emit("x", 1) }, []int{0, 1, 2, 3}},
		"the library: one room":      {func() { _ = lib.To("a").Emit("x", 1) }, []int{0, 1}},
		"the library: two rooms":     {func() { _ = lib.To("a", "b").Emit("x", 1) }, []int{0, 1, 2}},
		"the library: two and own":   {func() { _ = lib.To("a", "b", r(all[1]), r(all[3])).Emit("x", 1) }, []int{0, 1, 2, 3}},
		"the library: all but a":     {func() { _ = lib.Except("a").Emit("x", 1) }, []int{2, 3}},
		"the library: a but b":       {func() { _ = lib.To("a").Except("b").Emit("x", 1) }, []int{0}},
		"the library: b but own":     {func() { _ = lib.To("b").Except(r(all[2])).Emit("x", 1) }, []int{1}},
		"the library: a node":        {func() { _ = lib.Local().To("b").Emit("x", 1) }, []int{1, 2}},
		"the library: from a socket": {func() { _ = all[1].Library().To("a", "b").Emit("x", 1) }, []int{0, 2}},
		"the library: to the others": {func() { _ = all[1].Library().Broadcast().Emit("x", 1) }, []int{0, 2, 3}},
		"the library: one socket":    {func() { _ = all[2].Library().Emit("x", 1) }, []int{2}},
		"one socket":                 {func() { require.NoError(t, all[2].Emit("x", 1)) }, []int{2}},
		"volatile":                   {func() { require.NoError(t, all[2].EmitVolatile("x", 1)) }, []int{2}},
		"the library: volatile":      {func() { _ = lib.Volatile().To("b").Emit("x", 1) }, []int{1, 2}},
	} {
		require.Equal(t, c.want, p.heard(t, c.do), name)
	}

	require.Equal(t, 1, all[0].Leave("a"))
	require.Equal(t, 1, all[0].Leave("a"))
	require.Equal(t, 0, all[1].Leave("a"))
	require.Nil(t, p.heard(t, func() { n.CastArgs("a", "", "x", x) }))
	require.NoError(t, n.rooms.check())
}

func TestTheRoomOfASocketsId(t *testing.T) {
	t.Parallel()
	p := gather(t, 3, Config{MaxRooms: 1})
	n, own, x := p.Of("/"), p.sockets[0].ID(), Args{JSON: []byte("1")}
	require.True(t, p.sockets[0].In(own))
	members, ok := p.sockets[0].Join(own)
	require.True(t, ok)
	require.Equal(t, 1, members)
	members, ok = p.sockets[1].Join(own) // a room like another
	require.True(t, ok)
	require.Equal(t, 2, members)
	require.Equal(t, []int{0, 1}, p.heard(t, func() { n.CastArgs(own, "", "x", x) }))
	require.Equal(t, []int{0, 1}, p.heard(t, func() { n.Cast(own, "x", func(b []byte) []byte { return append(b, '1') }) }))
	ids, ok := n.rooms.Rooms().Load(socket.Room(own))
	require.True(t, ok)
	require.Equal(t, 2, ids.Len())
	require.Equal(t, 2, p.sockets[0].Leave(own), "it does not leave its own")
	require.Equal(t, []int{0, 1}, p.heard(t, func() { n.CastArgs(own, "", "x", x) })[:2])
	require.Equal(t, 0, p.sockets[0].Rooms(""))
	_, ok = p.sockets[1].Join("one more")
	require.False(t, ok, "MaxRooms")
	require.Equal(t, 1, p.sockets[1].Leave(own))
	_, ok = p.sockets[1].Join("one more")
	require.True(t, ok)
}

func TestVolatileIsDroppedForWhoIsBehind(t *testing.T) {
	t.Parallel()
	met := make(chan *Socket, 1)
	w := serve(t, &scene{connected: func(s *Socket) { met <- s }}, Config{})
	c, err := wiretest.Silent(t, w.url, "polling") // polling, and no poll waits
	require.NoError(t, err)
	c.Send("40")
	s := <-met
	for range 50 {
		require.NoError(t, s.EmitVolatile("vol"))
	}
	require.NoError(t, s.Emit("vol-end"))
	c.Listen()
	require.True(t, strings.HasPrefix(c.Read(), "40"))
	c.Expect(`42["vol-end"]`)
}

func TestRoomsUnderChurn(t *testing.T) {
	t.Parallel()
	p := gather(t, 8, Config{})
	n := p.Of("/")
	names := []string{"a", "b", "c", "d"}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i, s := range p.sockets {
		all.Go(func() {
			for range 300 {
				name := names[rand.N(len(names))]
				switch rand.N(5) {
				case 0, 1:
					s.Join(name)
				case 2:
					s.Leave(name)
				case 3:
					s.Library().Join(socket.Room(name), "e")
				case 4:
					n.CastArgs(name, s.ID(), "x", Args{JSON: []byte("1")})
				}
			}
			if i%2 == 0 {
				all.Go(func() { s.Library().Join("late", socket.Room(names[0])) })
				s.Disconnect(true)
				if _, ok := s.Join("too late"); ok {
					t.Error("joined after the end")
				}
			}
		})
	}
	var checks sync.WaitGroup
	checks.Go(func() {
		for {
			if err := n.rooms.check(); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			default:
				n.rooms.Rooms()
				n.rooms.Sids()
			}
		}
	})
	all.Wait()
	close(stop)
	checks.Wait()
	require.NoError(t, n.rooms.check())
	require.Equal(t, 4, n.rooms.population(), "no ghosts")
	p.sockets[1].Join("end")
	require.Equal(t, 1, n.CastArgs("end", "", "x", Args{}))
}

// A join of the library that comes after the end of a socket leaves nothing behind.
func TestALateJoinMakesNoGhost(t *testing.T) {
	t.Parallel()
	p := gather(t, 2, Config{})
	n, lib := p.Of("/"), p.sockets[0].Library()
	n.rooms.DelAll(lib.Id()) // the end has begun: its seats are gone, the library still knows it
	lib.Join("late")
	require.NoError(t, n.rooms.check())
	require.Equal(t, 1, n.rooms.population())
}

func TestTheLibrarysTools(t *testing.T) {
	t.Parallel()
	p := gather(t, 4, Config{})
	lib := p.IO.Of("/", nil)
	fetch := func(op interface {
		FetchSockets() func(func([]*socket.RemoteSocket, error))
	},
	) (ids []string) {
		op.FetchSockets()(func(all []*socket.RemoteSocket, err error) {
			require.NoError(t, err)
			for _, s := range all {
				ids = append(ids, string(s.Id()))
			}
		})
		slices.Sort(ids)
		return ids
	}
	ids := func(sockets ...*Socket) (all []string) {
		for _, s := range sockets {
			all = append(all, s.ID())
		}
		slices.Sort(all)
		return all
	}
	require.Equal(t, ids(p.sockets...), fetch(p.IO))
	p.sockets[0].Join("a")
	p.sockets[1].Join("a")
	lib.In("a").SocketsJoin("b", "c")
	require.Equal(t, ids(p.sockets[:2]...), fetch(lib.In("c")))
	require.True(t, p.sockets[0].In("b") && p.sockets[1].In("c"))
	lib.In("c").SocketsLeave("b")
	require.Empty(t, fetch(lib.In("b")))
	require.Equal(t, ids(p.sockets[2:]...), fetch(lib.Except("a")))
	require.True(t, p.sockets[0].Library().Rooms().Has("c"))
	require.Equal(t, 3, p.sockets[0].Library().Rooms().Len(), "its own, a and c")
	p.IO.FetchSockets()(func(all []*socket.RemoteSocket, _ error) {
		for _, s := range all {
			if string(s.Id()) == p.sockets[3].ID() {
				s.Join("far")
				_ = s.Emit("x", 1)
			}
		}
	})
	require.True(t, p.sockets[3].In("far"))
	p.clients[3].Expect(`42["x",1]`)
	require.Equal(t, int64(1), lib.Adapter().ServerCount())
	require.NoError(t, p.Of("/").rooms.check())

	lib.In("a").DisconnectSockets(true)
	require.Equal(t, []string{"41"}, p.clients[0].Rest())
	require.Equal(t, []string{"41"}, p.clients[1].Rest())
	alive(t, p.clients[2])
	lib.In("far").DisconnectSockets(false)
	p.clients[3].Expect("41")
	p.clients[3].Connect("", "")
}
