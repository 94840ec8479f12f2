package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// writeTable prints the rows in Markdown, with date and machine.
func writeTable(w io.Writer, rows []*row, p plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s; %s, %s. Medians of %d runs of %s after %s of warm-up, both servers in turn; the server alone on one core, Redis and the load generator on another. "+
		"Both with the same limits (%s; none refused, but in the refused flood with %s), the peer with the %s adapter.\n\n",
		time.Now().UTC().Format("2006-01-02"), machine(), runtime.Version(), version("node"), p.rounds, p.measured, p.warmup, high, low, p.adapter)
	b.WriteString("| | peer | gateway | ratio | wanted | core busy, peer / gateway | per CPU-second, peer / gateway | ratio | |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		b.WriteString(r.line(p))
	}
	for _, r := range rows {
		for _, f := range r.faults {
			fmt.Fprintf(&b, "\n%s: %s\n", r.title, f)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *row) line(p plan) string {
	verdict := "ok"
	value, perCPU := r.judged()
	switch {
	case len(r.faults) > 0:
		verdict = "**faults**"
	case len(r.disturbed()) > 0:
		verdict = "**not measured**: the machine was not quiet"
	case !r.ok():
		verdict = fmt.Sprintf("**missed: %.2f**", value)
	}
	if perCPU && r.ok() {
		verdict += ", per CPU-second: the load generator was the limit"
	}
	if r.two {
		verdict += fmt.Sprintf("; Redis moved %.0f bytes for each event with the peer, %.0f with the gateway", median(r.bytes[peerServer]), median(r.bytes[gatewayServer]))
	}
	if r.p99 {
		verdict += fmt.Sprintf("; p99 %.1f ms with the peer, %.1f ms with the gateway", median(r.p99s[peerServer]), median(r.p99s[gatewayServer]))
	}
	peer, gateway := median(r.values[peerServer]), median(r.values[gatewayServer])
	if r.rate == nil {
		return fmt.Sprintf("| %s of %d, %s | %.1f | %.1f | %.2f | ≤ %.1f | | | | %s |\n", r.title, p.connections, r.unit, peer, gateway, ratio(r.values), r.want, verdict)
	}
	return fmt.Sprintf("| %s, %s | %.0f | %.0f | %.2f | ≥ %.1f | %.0f %% / %.0f %% | %.0f / %.0f | %.2f | %s |\n", r.title, r.unit, peer, gateway,
		ratio(r.values), r.want, 100*median(r.busy[peerServer]), 100*median(r.busy[gatewayServer]), median(r.work[peerServer]), median(r.work[gatewayServer]), ratio(r.work), verdict)
}

// machine is the processor, by the name that Linux knows.
func machine() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // empty elsewhere
	_, rest, ok := strings.Cut(string(b), "model name")
	name, _, _ := strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
	if !ok {
		name = runtime.GOARCH
	}
	return fmt.Sprintf("%s, %d cores", name, runtime.NumCPU())
}

func version(program string) string {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return program
	}
	return program + " " + strings.TrimSpace(string(out))
}
