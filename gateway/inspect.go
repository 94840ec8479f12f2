package gateway

import (
	"cmp"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/aeturnis/realtime/internal/clientaddr"
	"github.com/aeturnis/realtime/internal/identity"
)

// This file tells operators of the connections to this node. Nothing is kept for it: the
// connections are looked at when somebody asks.

// A Connection is what operators are told of one.
type Connection struct {
	Conn        string
	UserID      string
	Username    string
	CharacterID string
	Session     string // the tag of the session
	Addr        string
	Transport   string // polling or websocket
	OpenedAt    time.Time
	Rooms       []string // sorted
	QueuedBytes int      // that wait for the client
}

// A ConnectionQuery says which connections Inspect returns.
type ConnectionQuery struct {
	UserID  string // "" is every user
	Addr    string // "" is every address; for IPv6 its /64 is compared
	Session string // the tag of a session; "" is every session
	Conn    string // the id of a connection; "" is every one
	Room    string // "" is every room
	// By sorts: "bytes" begins with the most that waits, "age" with the oldest, and "" with the
	// newest.
	By   string
	Most int // how many are returned
	// OneIn, above 1, returns about one of so many connections: always the same ones, by a hash of
	// their ids.
	OneIn int
}

// connsOf returns the connections of a user that may send events, or all for "". Several namespaces
// of one Engine.IO connection are one.
func (g *Gateway) connsOf(userID string) (all []*conn) {
	if userID != "" {
		return slices.DeleteFunc(g.users.list(userID), func(c *conn) bool { return c.player.Load().Conn == "" || !c.isShown() })
	}
	for _, x := range g.conns.Range {
		if c := x.(*conn); c.isShown() {
			all = append(all, c)
		}
	}
	return all
}

// Inspect returns the connections to this node that a query asks for, and how many fit it in all.
func (g *Gateway) Inspect(q ConnectionQuery) (list []Connection, total int) {
	type candidate struct {
		*conn
		bytes int
	}
	var found []candidate
	network := clientaddr.Network(q.Addr)
	for _, c := range g.connsOf(q.UserID) {
		p := c.player.Load()
		switch {
		case q.Addr != "" && clientaddr.Network(p.Addr) != network,
			q.Session != "" && identity.SessionTag(p.SessionID) != q.Session,
			q.Conn != "" && p.Conn != q.Conn,
			q.Room != "" && !c.socket.In(q.Room):
			continue
		}
		total++
		if isInSample(p.Conn, q.OneIn) {
			found = append(found, candidate{c, c.socket.Conn().QueuedBytes()})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		switch q.By {
		case "bytes":
			return cmp.Compare(b.bytes, a.bytes)
		case "age":
			return a.opened.Compare(b.opened)
		}
		return b.opened.Compare(a.opened)
	})
	list = []Connection{}
	for _, c := range found[:min(len(found), max(0, q.Most))] {
		p := c.player.Load()
		rooms := slices.DeleteFunc(c.namespace.RoomsOf(p.Conn, ""), func(room string) bool { return room == p.Conn })
		slices.Sort(rooms)
		list = append(list, Connection{
			Conn: p.Conn, UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID, Session: identity.SessionTag(p.SessionID),
			Addr: p.Addr, Transport: c.socket.Conn().TransportName(), OpenedAt: c.opened, Rooms: rooms, QueuedBytes: c.bytes,
		})
	}
	return list, total
}

// isInSample reports whether an id is of those one in so many that are returned.
func isInSample(id string, oneIn int) bool {
	return oneIn <= 1 || crc32.ChecksumIEEE([]byte(id))%uint32(min(oneIn, math.MaxInt32)) == 0
}

// QueuedBytes returns how many bytes wait for all clients of this node.
func (g *Gateway) QueuedBytes() (bytes int) {
	for _, c := range g.io.Engine().Conns() {
		bytes += c.QueuedBytes()
	}
	return bytes
}

// Online returns which of these users have a connection to this node.
func (g *Gateway) Online(userIDs []string) (online []string) {
	for _, id := range userIDs {
		if len(g.connsOf(id)) > 0 {
			online = append(online, id)
		}
	}
	return online
}
