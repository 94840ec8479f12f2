package server

import (
	"context"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/sessions"
)

// A Feature is one area of a game: a table of the events that players may send, and a table of
// the casts that players are sent. Both are read once, while the server starts.
//
// A Feature that has more to do implements Starter, Runner or Closer. The metrics of a Feature that
// is a prometheus.Collector are at /metrics of Config.AdminAddr.
type Feature interface {
	Routes() []event.Route
	Casts() []event.Cast
}

// A Starter is a Feature that needs something of the server.
type Starter interface {
	// Start is called once, before Routes and Casts. If it returns an error, Run returns that.
	// Contract and Tables call Start too, with a Redis that cannot be reached. So Start should keep
	// what it needs of s, and leave calls to Redis to Run and to the handlers.
	Start(s Services) error
}

// A Runner is a Feature with work of its own, such as a loop.
type Runner interface {
	// Run is called once, when the server begins to serve, on a goroutine of its own. It must
	// return when ctx ends, which is after the last player has gone. If it returns earlier, with or
	// without an error, the server drains and ends too.
	Run(ctx context.Context) error
}

// A Closer is a Feature that holds something which must be released.
type Closer interface {
	// Close is called once, after Run has returned and while Redis is still there. It is also called
	// when the server could not start, for each feature whose Start was called.
	Close()
}

// A Namespaced is a Feature with a namespace of its own: its events are served and sent there and
// not in the main one, and its Services.Rooms are those of its namespace.
type Namespaced interface {
	// Namespace returns the name, always the same: a slash, and 1 to 32 of A-Z, a-z, 0-9, _ and -.
	// Several Features may have one namespace; all together have at most 16. "/admin" is that of
	// operators. The names of events must differ in all namespaces.
	Namespace() string
}

// Services are what the server has for its features.
type Services struct {
	// Redis is the server's client. The keys of a feature begin with the feature's name.
	Redis redis.UniversalClient
	// Rooms puts connections into rooms and sends casts, in the namespace of the feature. It works
	// from Run and the first event on, not within Start.
	Rooms Rooms
	// Locks are distributed locks. A lease can end while its holder works, so a lock only saves
	// work: what must always be true needs a Lua script, or a check of the lease's fence.
	Locks *lock.Manager
	// Cache caches what is expensive to load, in this process and in Redis.
	Cache *cache.Manager
	// Sessions are the logins of players.
	Sessions *sessions.Store
	// Node is the name of this node.
	Node string
	// Log is the server's log, for what happens outside of handlers. A handler returns its error,
	// and the server logs it.
	Log *zap.Logger
}

// Rooms are groups of connections. A cast to a room reaches its members on all nodes. The room
// "user:<id>" holds every device of a user.
type Rooms interface {
	// Join puts a connection into a room, and returns how many members the room has on this node.
	Join(ctx context.Context, conn, room string) (members int, err error)
	// Leave takes a connection out of a room, and returns how many members are left on this node.
	Leave(ctx context.Context, conn, room string) (members int, err error)
	// In reports whether a connection is in a room.
	In(conn, room string) bool
	// Cast sends an event to every member of a room. The error says that payload can not be
	// encoded.
	Cast(ctx context.Context, room, name string, payload any) error
	// CastExcept is Cast to those members of a room who are not also in the room except.
	CastExcept(ctx context.Context, room, except, name string, payload any) error
	// CastUser sends an event to every device of a user, and returns how many it reached. whole
	// is false when a node did not answer: then there may be more.
	CastUser(ctx context.Context, userID, name string, payload any) (reached int, whole bool, err error)
	// Asker sends questions, which clients answer: see event.Question.
	event.Asker
}
