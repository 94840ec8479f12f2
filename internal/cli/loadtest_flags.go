package cli

import "time"

// LoadtestFlags are those of the load generator, and of `gateway loadtest`, which runs it.
type LoadtestFlags struct {
	RedisFlags `embed:""`
	Scenario   string        `arg:"" help:"connect, ping, fanout, chat, combat, trade, storm or mixed."`
	Target     string        `required:"" placeholder:"URL" help:"The server: http://host:port."`
	Clients    int           `default:"100" help:"Connections."`
	Rate       float64       `help:"Events per second in all, sent at even distances; latency counts from when one was due. 0: each client sends when it was answered."`
	For        time.Duration `default:"30s" help:"The measured time."`
	Ramp       time.Duration `help:"Over which connections and traffic rise; not measured."`
	Warmup     time.Duration `help:"Of full traffic that is not measured yet."`
	Inflight   int           `help:"Events of one client that may be unfinished at once."`
	RoomSize   int           `default:"10" help:"Members of a chat room."`
	Speakers   int           `default:"1" help:"Who speak in fanout."`
	TextBytes  int           `default:"96" help:"Length of a chat message, 56 to 500."`
	Reconnect  bool          `help:"Clients come back when the server ends their connection, and go on: for a rolling restart."`
	JSON       bool          `help:"Print one JSON line instead of the table."`
	Report     string        `placeholder:"FILE" help:"Write a self-contained HTML page with plots."`
}
