package cli

import "time"

// LoadtestFlags are those of the load generator, and of `gateway loadtest`, which runs it.
type LoadtestFlags struct {
	RedisFlags `embed:""`
	Scenario   string        `arg:"" help:"Play this scenario: connect, ping, fanout, chat, combat, trade, storm, recovery or mixed."`
	Target     []string      `required:"" sep:"none" placeholder:"URL" help:"Put load on this server: http://host:port. Given several times, clients are spread over these nodes of one cluster."`
	Clients    int           `default:"100" help:"Open this many connections."`
	Rate       float64       `help:"Send this many events per second in all, evenly spaced; the latency of an event counts from when it was due. With 0, each client sends its next event when the last one was answered."`
	For        time.Duration `default:"30s" help:"Measure for this long."`
	Ramp       time.Duration `help:"Connections and traffic rise over this time, which is not measured."`
	Warmup     time.Duration `help:"Full traffic runs for this long before it is measured."`
	Inflight   int           `help:"One client may have this many unfinished events at once."`
	RoomSize   int           `default:"10" help:"A chat room has this many members."`
	Speakers   int           `default:"1" help:"This many clients speak in fanout."`
	TextBytes  int           `default:"96" help:"A chat message has this many bytes, 56 to 500."`
	Reconnect  bool          `help:"Clients come back when the server ends their connection, and go on, as in a rolling restart. In recovery they come back with the state of their connection, and must have missed nothing when they are recovered."`
	ReturnTo   []string      `sep:"none" placeholder:"URL" help:"With --reconnect, clients come back to this server, or to these in turn, instead of to their own."`
	JSON       bool          `help:"Print one JSON line instead of the table."`
	Report     string        `placeholder:"FILE" help:"Write a self-contained HTML page with plots."`
}
