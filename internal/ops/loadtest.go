package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/loadtest"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/trade"
)

// Loadtest is the command that generates load and checks the truth of every answer.
type Loadtest struct {
	cli.RedisFlags `embed:""`
	Scenario       string        `arg:"" help:"connect, ping, fanout, chat, combat, trade, storm or mixed."`
	Target         string        `required:"" placeholder:"URL" help:"The server: http://host:port."`
	Clients        int           `default:"100" help:"Connections."`
	Rate           float64       `help:"Events per second in all, sent at even distances; latency counts from when one was due. 0: each client sends when it was answered."`
	For            time.Duration `default:"30s" help:"The measured time."`
	Ramp           time.Duration `help:"Over which connections and traffic rise; not measured."`
	Warmup         time.Duration `help:"Of full traffic that is not measured yet."`
	Inflight       int           `help:"Events of one client that may be unfinished at once."`
	RoomSize       int           `default:"10" help:"Members of a chat room."`
	Speakers       int           `default:"1" help:"Who speak in fanout."`
	TextBytes      int           `default:"96" help:"Length of a chat message, 56 to 500."`
	Reconnect      bool          `help:"Clients come back when the server ends their connection, and go on: for a rolling restart."`
	JSON           bool          `help:"Print one JSON line instead of the table."`
	Report         string        `placeholder:"FILE" help:"Write a self-contained HTML page with plots."`
}

var errFaults = errors.New("the load test saw faults")

// Run exits 1 when anything was lost, doubled, reordered or wrong.
func (c Loadtest) Run(ctx context.Context, s cli.Streams) error {
	cfg := loadtest.Config{
		Target: c.Target, Redis: c.Redis, Clients: c.Clients, Rate: c.Rate, For: c.For, Ramp: c.Ramp, Warmup: c.Warmup,
		Inflight: c.Inflight, RoomSize: c.RoomSize, Speakers: c.Speakers, TextBytes: c.TextBytes,
		Reconnect: c.Reconnect,
	}
	if c.Redis != "" && (c.Scenario == "trade" || c.Scenario == "mixed") {
		books, done, err := openTrades(ctx, c.RedisFlags)
		if err != nil {
			return err
		}
		defer done()
		cfg.Mint = func(ctx context.Context, character, item string, qty int64) error {
			_, err := books.Mint(ctx, trade.MintRequest{CharacterID: character, Items: []trade.Line{{ItemID: item, Qty: qty}}})
			return err
		}
	}
	r, err := loadtest.Run(ctx, c.Scenario, cfg, terminal(s.Err))
	if errors.Is(err, loadtest.ErrConfig) {
		return usage.Wrap(err)
	}
	if err != nil {
		return fmt.Errorf("%s against %s: %w", c.Scenario, c.Target, err)
	}
	if c.Report != "" {
		if err := r.Report(c.Report); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	if c.JSON {
		err = json.MarshalWrite(s.Out, r)
		fmt.Fprintln(s.Out)
	} else {
		err = r.Table(s.Out)
	}
	if err == nil && r.Faults() > 0 {
		err = errFaults
	}
	return err
}

// terminal is w where somebody looks at it, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return w
		}
	}
	return nil
}
