package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// This table is the price of recovery: what the gateway uses for chat at a rate that saturates
// nothing, with the log of casts and without (--recovery 0), and how late messages are. The peer
// has no part in it.

// priceCase is the table's name for -only.
const priceCase = "price"

// The bounds of the price. CPU seconds on a core that is mostly idle are repeatable to a tenth, and
// no better.
const (
	priceRate     = 1000 // chat messages a second
	maxPriceOfCPU = 1.1
	maxPriceFar   = 7 * time.Millisecond // of the median, with Redis farAway
	farAway       = 5 * time.Millisecond // what a round trip to Redis takes
	priceSlack    = time.Millisecond     // the resolution of a median on a busy machine
)

// recoveryOff turns recovery off.
var recoveryOff = []string{"--recovery", "0"}

// A priceRow is one distance to Redis, and how much later the median of all deliveries may be with
// recovery, besides a round trip.
type priceRow struct {
	title   string
	away    time.Duration // added to each answer of Redis
	maxMore time.Duration
}

var priceRows = []priceRow{
	{title: "chat, 1,000 messages/s in rooms of 10", maxMore: priceSlack},
	{title: "the same, Redis 5 ms away", away: farAway, maxMore: maxPriceFar - farAway},
}

// A price is what the runs of one row showed, by round.
type price struct {
	serverCPU, redisCPU []float64 // µs for each message
	redisBytes          []float64 // for each message
	deliveries, answers []float64 // medians, ms
	roundTrip           []float64 // of a PING over the same way, ms
	faults              []string
}

// requirePrice measures the price, prints the table, and returns errMissed when a bound is passed.
// A gateway without the flag --recovery is measured as it is, and not judged.
func (l *lab) requirePrice(ctx context.Context, out, log io.Writer) error {
	variants := []string{"recovery on"}
	if l.knowsRecovery(ctx) {
		variants = append(variants, "recovery off")
	}
	fmt.Fprint(out, "\n| price | | server, µs of CPU for each message | Redis, µs of CPU | Redis, bytes | median delivery, ms | median answer, ms | a PING, ms | |\n|---|---|---|---|---|---|---|---|---|\n")
	var missed error
	for _, row := range priceRows {
		prices := map[string]*price{}
		for round := range l.plan.rounds {
			for _, variant := range variants {
				if prices[variant] == nil {
					prices[variant] = &price{}
				}
				if err := l.measurePrice(ctx, row, variant, prices[variant]); err != nil {
					return fmt.Errorf("price: %w", err)
				}
				fmt.Fprintf(log, "%-8s  %d/%d  %s, %s\n", priceCase, round+1, l.plan.rounds, row.title, variant)
			}
		}
		for _, variant := range variants {
			p, verdict := prices[variant], ""
			if variant == "recovery on" {
				verdict = row.judge(p, prices["recovery off"])
			}
			if verdict != "" && verdict != "ok" && verdict != notCompared {
				missed = errMissed
			}
			fmt.Fprintf(out, "| %s | %s | %.0f | %.0f | %.0f | %.2f | %.2f | %.2f | %s |\n", row.title, variant, medianOf(p.serverCPU), medianOf(p.redisCPU),
				medianOf(p.redisBytes), medianOf(p.deliveries), medianOf(p.answers), medianOf(p.roundTrip), verdict)
		}
	}
	return missed
}

// notCompared is the verdict for a gateway that has no --recovery.
const notCompared = "not compared"

// judge compares the price with recovery to that without.
func (r priceRow) judge(on, off *price) string {
	if len(on.faults) > 0 {
		return "**faults**: " + strings.Join(on.faults, "; ")
	}
	if off == nil {
		return notCompared
	}
	var missed []string
	if ratio := medianOf(on.serverCPU) / max(medianOf(off.serverCPU), 1); r.away == 0 && ratio > maxPriceOfCPU {
		missed = append(missed, fmt.Sprintf("CPU × %.2f, at most × %.2f", ratio, maxPriceOfCPU))
	}
	more := medianOf(on.deliveries) - medianOf(off.deliveries)
	if bound := medianOf(on.roundTrip) + float64(r.maxMore.Microseconds())/1000; more > bound {
		missed = append(missed, fmt.Sprintf("deliveries %.2f ms later, at most %.2f ms", more, bound))
	}
	if len(missed) > 0 {
		return "**missed**: " + strings.Join(missed, "; ")
	}
	return "ok"
}

// knowsRecovery reports whether the gateway's binary has the flag --recovery.
func (l *lab) knowsRecovery(ctx context.Context) bool {
	help, err := exec.CommandContext(ctx, l.plan.gateway, "serve", "--help").Output()
	return err == nil && strings.Contains(string(help), "--recovery")
}

// measurePrice runs a row once against a fresh gateway, and adds what it used.
func (l *lab) measurePrice(ctx context.Context, row priceRow, variant string, into *price) error {
	var flags []string
	if variant == "recovery off" {
		flags = recoveryOff
	}
	s, err := l.startTestbedAway(ctx, gatewayServer, highLimit, row.away, flags...)
	if err != nil {
		return err
	}
	defer s.stopProcesses()
	trip, err := medianRoundTrip(ctx, s.serverRedisURL)
	if err != nil {
		return err
	}
	got, err := l.runLoadChild(ctx, s, loadSpec{
		Scenario: "chat", Clients: 100, RoomSize: 10, Rate: priceRate, Warmup: l.plan.warmup, For: l.plan.measured,
	})
	if err != nil {
		return err
	}
	res := got.Result
	if res.Faults() > 0 || res.Refused > 0 || res.Behind > 0 {
		into.faults = append(into.faults, fmt.Sprintf("%s: lost %d, doubled %d, reordered %d, wrong %d, disconnected %d, refused %d, never sent %d",
			variant, res.Lost, res.Doubled, res.Reordered, res.Wrong, res.Disconnected, res.Refused, res.Behind))
	}
	if res.Answer == nil {
		return errors.New("the load generator measured no answers")
	}
	messages := max(1, res.EventsPerSecond*res.Seconds)
	into.serverCPU = append(into.serverCPU, 1e6*got.ServerCPU/messages)
	into.redisCPU = append(into.redisCPU, 1e6*got.RedisCPU/messages)
	into.redisBytes = append(into.redisBytes, got.RedisBytes/messages)
	into.deliveries = append(into.deliveries, res.Latency.P50)
	into.answers = append(into.answers, res.Answer.P50)
	into.roundTrip = append(into.roundTrip, trip)
	return nil
}

// medianRoundTrip returns how long a PING takes over a Redis URL, in ms.
func medianRoundTrip(ctx context.Context, url string) (float64, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	var took []float64
	for range 50 {
		begun := time.Now()
		if err := rdb.Ping(ctx).Err(); err != nil {
			return 0, fmt.Errorf("redis: %w", err)
		}
		took = append(took, float64(time.Since(begun).Microseconds())/1000)
	}
	return medianOf(took), nil
}
