package loadtest

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// A Result is what a run measured and counted. Counts cover the whole run: ramp, warm-up, measured
// time, and the time until all events were settled. Rates and latencies cover the measured time
// only.
type Result struct {
	Scenario string    `json:"scenario"`
	Target   string    `json:"target"`
	At       time.Time `json:"at"` // when the run ended
	Clients  int       `json:"clients"`
	Rate     float64   `json:"rate,omitempty"` // events per second that were asked for; absent in a closed loop

	Sent      int64 `json:"sent"`      // events; in connect and storm, connects
	Answered  int64 `json:"answered"`  // answers, including refusals; in connect and storm, successful connects
	Delivered int64 `json:"delivered"` // chat messages and combat updates
	Behind    int64 `json:"behind"`    // due but never sent: too many earlier ones were unfinished

	Lost         int64 `json:"lost"`         // answers and deliveries that never came although the connection lived
	Doubled      int64 `json:"doubled"`      // answers and deliveries that came more than once
	Reordered    int64 `json:"reordered"`    // answers and deliveries that came after one that was sent later
	Wrong        int64 `json:"wrong"`        // wrong content, a wrong receiver, or another broken promise
	Disconnected int64 `json:"disconnected"` // connections that the server ended

	Refused int64            `json:"refused"` // answers with ok: false and refused handshakes, which are no faults
	Errors  map[string]int64 `json:"errors"`  // number of refusals, failures and disconnections by code

	Seconds             float64  `json:"seconds"` // length of the measured time
	EventsPerSecond     float64  `json:"eventsPerSecond"`
	DeliveriesPerSecond float64  `json:"deliveriesPerSecond"`
	Latency             Summary  `json:"latency"`          // of deliveries in chat, fanout and recovery, otherwise of answers
	Answer              *Summary `json:"answer,omitempty"` // of answers, when Latency is of deliveries
	Connect             Summary  `json:"connectMs"`        // from the dial to the answer to CONNECT
	// StormMs is the time until 99 % of the clients were back, for each storm.
	StormMs []float64 `json:"stormMs,omitempty"`

	// Returned is the number of reconnects after the server had ended a connection. Back is how
	// long the clients were away. Both exist only with Config.Reconnect.
	Returned int64    `json:"returned,omitempty"`
	Back     *Summary `json:"backMs,omitempty"`

	Recovery *RecoveryResult `json:"recovery,omitempty"` // only of the scenario recovery

	Samples      []Sample   `json:"-"`
	Distribution []Quantile `json:"-"`
}

// A Summary describes a distribution of latencies, in milliseconds.
type Summary struct {
	P50  float64 `json:"p50Ms"`
	P90  float64 `json:"p90Ms"`
	P99  float64 `json:"p99Ms"`
	P999 float64 `json:"p999Ms"`
	Max  float64 `json:"maxMs"`
}

// A RecoveryResult is what the scenario recovery counts besides.
type RecoveryResult struct {
	Acknowledged int64 `json:"acknowledged"` // messages that were answered with ok: true
	Local        int64 `json:"local"`        // those whose answer said local: true, which may be heard in another order
	Notices      int64 `json:"notices"`      // gateway:status with missed: true
	MissedTold   int64 `json:"missedTold"`   // acknowledged, never heard by a member, and that member was told that it missed something
	MissedUntold int64 `json:"missedUntold"` // acknowledged and never heard, in silence: a fault, counted in Lost too
	// Ended is how many connections ended, and Recovered how many of the Returned were recovered.
	// Both are only counted with Config.Reconnect.
	Ended     int64 `json:"ended,omitempty"`
	Recovered int64 `json:"recovered,omitempty"`
}

// A Quantile is one point of a distribution: a share of all, from 0 to 1, took at most the time At.
type Quantile struct {
	Share float64
	At    time.Duration
}

func summariseHistogram(h *hdr.Histogram) Summary {
	at := func(v int64) float64 { return toMilliseconds(time.Duration(v) * time.Microsecond) }
	return Summary{at(h.ValueAtQuantile(50)), at(h.ValueAtQuantile(90)), at(h.ValueAtQuantile(99)), at(h.ValueAtQuantile(99.9)), at(h.Max())}
}

func toMilliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
func roundToTenth(v float64) float64         { return math.Round(v*10) / 10 }

func (c *counts) faultCount() int64 {
	return c.lost + c.doubled + c.reordered + c.wrong + c.disconnections
}

// Faults returns how often the server broke a promise: lost, doubled, reordered or wrong answers
// and deliveries, and connections that the server ended.
func (r Result) Faults() int {
	return int(r.Lost + r.Doubled + r.Reordered + r.Wrong + r.Disconnected)
}

// Table writes the result as a table for people.
func (r Result) Table(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	loop := "closed loop"
	if r.Rate > 0 {
		loop = groupDigits(int64(r.Rate)) + " events/s wanted"
	}
	row("scenario", "%s, %s clients, %s, %.1f s measured", r.Scenario, groupDigits(int64(r.Clients)), loop, r.Seconds)
	row("target", "%s", r.Target)
	row("events", "%s sent, %s answered: %s a second", groupDigits(r.Sent), groupDigits(r.Answered), groupDigits(int64(r.EventsPerSecond)))
	if r.Delivered > 0 {
		row("deliveries", "%s: %s a second", groupDigits(r.Delivered), groupDigits(int64(r.DeliveriesPerSecond)))
	}
	if c := r.Recovery; c != nil {
		row("acknowledged", "%s, %s of them local", groupDigits(c.Acknowledged), groupDigits(c.Local))
		row("missed", "%s in silence; %s told, in %s notices", groupDigits(c.MissedUntold), groupDigits(c.MissedTold), groupDigits(c.Notices))
	}
	line := func(name string, s Summary) {
		row(name, "p50 %.3g  p90 %.3g  p99 %.3g  p99.9 %.3g  max %.3g ms", s.P50, s.P90, s.P99, s.P999, s.Max)
	}
	line("latency", r.Latency)
	if r.Answer != nil {
		line("answers", *r.Answer)
	}
	if r.Connect.Max > 0 {
		line("connects", r.Connect)
	}
	if len(r.StormMs) > 0 {
		row("99 % back", "after %.0f ms at worst, %d storms", slices.Max(r.StormMs), len(r.StormMs))
	}
	if r.Back != nil {
		row("returns", "%s; 99 %% back after %.0f ms, the last after %.0f ms", groupDigits(r.Returned), r.Back.P99, r.Back.Max)
		if c := r.Recovery; c != nil {
			row("recovered", "%s of %s connections that ended", groupDigits(c.Recovered), groupDigits(c.Ended))
		}
	}
	if r.Behind > 0 {
		row("behind", "%s were due and never sent: the server is slower than the rate", groupDigits(r.Behind))
	}
	if r.Refused > 0 {
		row("refused", "%s", groupDigits(r.Refused))
	}
	for _, code := range slices.Sorted(maps.Keys(r.Errors)) {
		row("", "%s × %s", groupDigits(r.Errors[code]), code)
	}
	verdict := "none"
	if n := r.Faults(); n > 0 {
		verdict = groupDigits(int64(n)) + " FAULTS"
	}
	row("faults", "%s: lost %s, doubled %s, reordered %s, wrong %s, disconnected %s", verdict,
		groupDigits(r.Lost), groupDigits(r.Doubled), groupDigits(r.Reordered), groupDigits(r.Wrong), groupDigits(r.Disconnected))
	_ = t.Flush() // writing to a builder never fails
	_, err := io.WriteString(w, b.String())
	return err
}

// groupDigits formats 1234567 as 1,234,567.
func groupDigits(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func formatMillis(d time.Duration) string { return strconv.FormatFloat(toMilliseconds(d), 'g', 3, 64) }
