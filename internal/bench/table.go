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

// writeTable prints the rows in Markdown, with the date and the machine.
func writeTable(w io.Writer, rows []*row, p plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s; %s, %s. Medians of %d runs of %s after %s of warm-up, both servers in turn; the server alone on one core, Redis and the load generator on another. "+
		"Both with the same limits (%s; none refused, but in the refused flood with %s), the peer with the %s adapter.\n\n",
		time.Now().UTC().Format("2006-01-02"), machineName(), runtime.Version(), programVersion("node"), p.rounds, p.measured, p.warmup, highLimit, lowLimit, p.adapter)
	b.WriteString("| | peer | gateway | ratio | wanted | core busy, peer / gateway | per CPU-second, peer / gateway | ratio | |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		b.WriteString(r.tableLine(p))
	}
	for _, r := range rows {
		for _, f := range r.faults {
			fmt.Fprintf(&b, "\n%s: %s\n", r.title, f)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *row) tableLine(p plan) string {
	verdict := "ok"
	value, perCPU := r.judgedRatio()
	switch {
	case len(r.faults) > 0:
		verdict = "**faults**"
	case len(r.disturbedServers()) > 0:
		verdict = "**not measured**: the machine was not quiet"
	case !r.meetsTarget():
		verdict = fmt.Sprintf("**missed: %.2f**", value)
	}
	if perCPU && r.meetsTarget() {
		verdict += ", per CPU-second: the load generator was the limit"
	}
	if r.onTwoNodes {
		verdict += fmt.Sprintf("; Redis moved %.0f bytes for each event with the peer, %.0f with the gateway", medianOf(r.bytes[peerServer]), medianOf(r.bytes[gatewayServer]))
	}
	if r.comparesP99 {
		verdict += fmt.Sprintf("; p99 %.1f ms with the peer, %.1f ms with the gateway", medianOf(r.p99s[peerServer]), medianOf(r.p99s[gatewayServer]))
	}
	if r.wantRedis > 0 {
		verdict += fmt.Sprintf("; Redis worked %.1f µs for each event with the peer, %.1f µs with the gateway: %.2f, wanted ≤ %.1f", medianOf(r.redisMicros[peerServer]), medianOf(r.redisMicros[gatewayServer]), medianRatio(r.redisMicros), r.wantRedis)
	}
	if r.grows {
		verdict += fmt.Sprintf("; CPU of a connect %.2f ms with the peer, %.2f ms with the gateway", 1000/medianOf(r.perCPUSecond[peerServer]), 1000/medianOf(r.perCPUSecond[gatewayServer]))
	}
	if growth, known := r.growth(); known {
		verdict += fmt.Sprintf("; a client costs the gateway %.2f of what it does with %d, wanted ≤ %.1f", growth, r.smaller.loadSpec.Clients, maxGrowth)
	}
	peer, gateway := medianOf(r.values[peerServer]), medianOf(r.values[gatewayServer])
	if r.rate == nil {
		return fmt.Sprintf("| %s of %d, %s | %.1f | %.1f | %.2f | ≤ %.1f | | | | %s |\n", r.title, r.idleConnections(p), r.unit, peer, gateway, medianRatio(r.values), r.wantRatio, verdict)
	}
	if r.isCost || r.isTime {
		return fmt.Sprintf("| %s, %s | %.1f | %.1f | %.2f | ≤ %.2f | %.0f %% / %.0f %% | | | %s |\n", r.title, r.unit, peer, gateway, medianRatio(r.values), r.wantRatio,
			100*medianOf(r.serverShare[peerServer]), 100*medianOf(r.serverShare[gatewayServer]), verdict)
	}
	return fmt.Sprintf("| %s, %s | %.0f | %.0f | %.2f | ≥ %.1f | %.0f %% / %.0f %% | %.0f / %.0f | %.2f | %s |\n", r.title, r.unit, peer, gateway,
		medianRatio(r.values), r.wantRatio, 100*medianOf(r.serverShare[peerServer]), 100*medianOf(r.serverShare[gatewayServer]), medianOf(r.perCPUSecond[peerServer]), medianOf(r.perCPUSecond[gatewayServer]), medianRatio(r.perCPUSecond), verdict)
}

// machineName returns the processor's name from /proc/cpuinfo, and the number of cores.
func machineName() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // empty elsewhere
	_, rest, ok := strings.Cut(string(b), "model name")
	name, _, _ := strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
	if !ok {
		name = runtime.GOARCH
	}
	return fmt.Sprintf("%s, %d cores", name, runtime.NumCPU())
}

func programVersion(program string) string {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return program
	}
	return program + " " + strings.TrimSpace(string(out))
}
