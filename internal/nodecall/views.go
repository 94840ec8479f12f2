package nodecall

// The questions that nodes answer.
const (
	AskStatus      = "status"      // no arguments; Status
	AskConnections = "connections" // ConnectionsArgs; Connections
	AskRefusals    = "refusals"    // RefusalsArgs; []Refusal
	AskLimits      = "limits"      // LimitsArgs; Limits
	AskDrain       = "drain"       // no arguments; Status. It answers when the drain has begun.
	AskUndrain     = "undrain"     // no arguments; Status
	TellAct        = "act"         // Act; nobody waits for an answer
	AskWatch       = "watch"       // WatchArgs; Watched
	AskDisconnect  = "disconnect"  // MembershipArgs without rooms; Membership
	AskJoin        = "join"        // MembershipArgs; Membership
	AskLeave       = "leave"       // MembershipArgs; Membership
)

// Act is what an operator did, for the logs of the nodes.
type Act struct {
	What   string `json:"what"`
	Target string `json:"target,omitzero"`
	From   string `json:"from,omitzero"`
	To     string `json:"to,omitzero"`
	Why    string `json:"why,omitzero"`
}

// Status is what a node is and does. Times are Unix ms.
type Status struct {
	Version     string            `json:"version"` // with the commit
	StartedAt   int64             `json:"startedAt"`
	Connections int               `json:"connections"`
	QueuedBytes int               `json:"queuedBytes"` // that wait for all clients
	Redis       string            `json:"redis"`       // up, slow, read-only, forbidden or down
	LimitsLocal bool              `json:"limitsLocal"`
	Draining    bool              `json:"draining"`
	Drain       *Drain            `json:"drain,omitzero"` // the last one
	Settings    map[string]string `json:"settings"`       // that differ from the defaults, without secrets
	Hash        string            `json:"hash"`           // of all settings
}

// Drain says how a drain goes, or went.
type Drain struct {
	By          string `json:"by"`
	StartedAt   int64  `json:"startedAt"`
	Connections int    `json:"connections"` // when it began
	Closed      int    `json:"closed"`      // that the drain closed
	Left        int    `json:"left"`        // that ended by themselves
	Open        int    `json:"open"`
	Users       int    `json:"users"` // who were connected when it began
	Back        int    `json:"back"`  // of them, who are on other nodes
	TookMs      int64  `json:"tookMs"`
	IsDone      bool   `json:"isDone"`
}

// ConnectionsArgs say which connections are wanted.
type ConnectionsArgs struct {
	UserID  string `json:"userId,omitzero"`
	Addr    string `json:"addr,omitzero"`
	Session string `json:"session,omitzero"` // the tag of a session
	Conn    string `json:"conn,omitzero"`
	Room    string `json:"room,omitzero"`
	By      string `json:"by,omitzero"` // "bytes", "age" or "": the newest
	Most    int    `json:"most"`
}

// Connections are those of one node.
type Connections struct {
	Total int          `json:"total"` // how many fit, listed or not
	List  []Connection `json:"list"`
}

// Connection is one connection.
type Connection struct {
	Conn        string   `json:"conn"`
	UserID      string   `json:"userId"`
	Username    string   `json:"username"`
	CharacterID string   `json:"characterId"`
	Session     string   `json:"session"` // the tag
	Addr        string   `json:"addr"`
	Transport   string   `json:"transport"`
	OpenedAt    int64    `json:"openedAt"`
	Rooms       []string `json:"rooms"`
	QueuedBytes int      `json:"queuedBytes"`
}

// RefusalsArgs say whose refusals are wanted.
type RefusalsArgs struct {
	UserID string `json:"userId,omitzero"` // "" is everybody
	Most   int    `json:"most"`
}

// Refusal is an event or a connection that was refused.
type Refusal struct {
	At      int64  `json:"at"`
	UserID  string `json:"userId,omitzero"`
	Session string `json:"session,omitzero"` // the tag
	Conn    string `json:"conn,omitzero"`
	Addr    string `json:"addr,omitzero"`
	Event   string `json:"event,omitzero"` // none for a connection
	Code    string `json:"code"`
	Policy  string `json:"policy,omitzero"`
	Field   string `json:"field,omitzero"`
	Reason  string `json:"reason,omitzero"`
}

// LimitsArgs say how many subjects of each policy are wanted.
type LimitsArgs struct {
	Most int `json:"most"`
}

// Limits say which limits a node refused by, and whom.
type Limits struct {
	Policies []PolicyCount `json:"policies"`
	Spenders []Spender     `json:"spenders"` // users by how often they were refused
	Denied   []Denied      `json:"denied"`   // subjects that are refused now
}

// PolicyCount counts the decisions of a policy since the node started.
type PolicyCount struct {
	Policy  string `json:"policy"`
	Scope   string `json:"scope"`
	Allowed uint64 `json:"allowed"`
	Refused uint64 `json:"refused"`
}

// Spender is a user whom a policy refused.
type Spender struct {
	Policy string `json:"policy"`
	UserID string `json:"userId"`
	Times  int64  `json:"times"`
}

// Denied is a subject that a policy refuses now.
type Denied struct {
	Policy  string `json:"policy"`
	Subject string `json:"subject"`
	ForMs   int64  `json:"forMs"`
}

// WatchArgs say which connections of a node an operator watches.
type WatchArgs struct {
	OneIn int `json:"oneIn"` // 1 lists every connection, 4 about a quarter of them
	Most  int `json:"most"`
}

// Watched is what happens on a node. Counts are those since it started.
type Watched struct {
	Hostname  string           `json:"hostname"`
	PID       int              `json:"pid"`
	StartedAt int64            `json:"startedAt"`
	Clients   int              `json:"clients"`   // connections of players and operators
	Polling   int              `json:"polling"`   // of them, those that poll
	Operators int              `json:"operators"` // who watch on this node
	Players   int              `json:"players"`   // connections of players, listed or not
	Opened    int64            `json:"opened"`
	Closed    map[string]int64 `json:"closed"` // by reason
	Events    int64            `json:"events"`
	List      []Connection     `json:"list"`
	Samples   []EventSample    `json:"samples"`
}

// EventSample is an event that a client sent, without its payload.
type EventSample struct {
	Number int64  `json:"number"` // since the node started
	At     int64  `json:"at"`
	Conn   string `json:"conn"`
	Event  string `json:"event"`
	Bytes  int    `json:"bytes"` // of the payload
}

// MembershipArgs name connections by their user or by id, and a room or a channel of the chat that
// they are to enter or to leave.
type MembershipArgs struct {
	UserID  string `json:"userId,omitzero"`
	Conn    string `json:"conn,omitzero"`
	Room    string `json:"room,omitzero"`
	Channel string `json:"channel,omitzero"`
}

// Membership says what became of the connections to one node.
type Membership struct {
	Done    int             `json:"done"` // connections
	Refused []RefusedMember `json:"refused,omitzero"`
}

// RefusedMember is a connection that could not enter a room, and the code that says why.
type RefusedMember struct {
	Conn string `json:"conn"`
	Code string `json:"code"`
}
