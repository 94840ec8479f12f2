package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aeturnis/realtime/redisconn/spawn"
)

// A contest is the same work done by several libraries: each in a process of its own on one core, with a fresh Redis on
// the other. What counts is what a CPU-second of the library's process achieves.

// A decided is what one contender did.
type decided struct {
	Decisions  int64   `json:"decisions"` // what was done, in the measured time
	CPUSeconds float64 `json:"cpuSeconds"`
	Seconds    float64 `json:"seconds"`
	redisCPU   float64 // seconds of Redis for each
}

func (d decided) perCPU() float64    { return float64(d.Decisions) / max(d.CPUSeconds, 1./ticks) }
func (d decided) perSecond() float64 { return float64(d.Decisions) / max(d.Seconds, 1e-3) }

// contest lets one contender play against a fresh Redis; command is what `env` is told to run, for a Redis at host:port.
func (l *lab) contest(ctx context.Context, command func(redis string) ([]string, error)) (decided, error) {
	port, err := freePort()
	if err != nil {
		return decided{}, err
	}
	redis := "127.0.0.1:" + port
	server, err := spawn.Start(l.taskset, l.folder, "-c", l.plan.loadCore, l.redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err != nil {
		return decided{}, err
	}
	defer server.Kill()
	if err := server.Ready(ctx, "tcp", redis); err != nil {
		return decided{}, err
	}
	args, err := command(redis)
	if err != nil {
		return decided{}, err
	}
	cmd := exec.CommandContext(ctx, l.taskset, append([]string{"-c", l.plan.serverCore, l.env}, args...)...)
	cmd.Dir = l.plan.peer
	measuring := &onWrite{do: func() float64 { s, _ := cpuSeconds(server.Pid()); return s }}
	cmd.Stderr = measuring
	b, err := cmd.Output()
	if err != nil {
		return decided{}, fmt.Errorf("%w: %s", err, measuring.text.String())
	}
	after, err := cpuSeconds(server.Pid())
	if err != nil {
		return decided{}, err
	}
	var d decided
	if err := json.Unmarshal(b, &d); err != nil {
		return decided{}, err
	}
	d.redisCPU = (after - measuring.at) / float64(max(1, d.Decisions))
	return d, nil
}

// itself is the command that has this binary play what is described, under a flag of its own.
func (l *lab) itself(flag string, described any) ([]string, error) {
	b, err := json.Marshal(described)
	return []string{"GOMAXPROCS=1", l.self, flag, string(b)}, err
}

// onWrite takes a reading when the process says that it measures from now on.
type onWrite struct {
	do   func() float64
	at   float64
	text strings.Builder
}

func (o *onWrite) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "measuring") {
		o.at = o.do()
	}
	return o.text.Write(b)
}

// contend is the life of a contender in Go: so many callers do it without a pause; do tells whether it was done.
func contend(callers int, warmup, measured time.Duration, stderr io.Writer, do func(caller int) bool) decided {
	var done atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for !over.Load() {
				if do(caller) {
					done.Add(1)
				}
			}
		})
	}
	time.Sleep(warmup)
	from, cpu, began := done.Load(), ownCPU(), time.Now()
	fmt.Fprintln(stderr, "measuring")
	time.Sleep(measured)
	d := decided{Decisions: done.Load() - from, CPUSeconds: ownCPU() - cpu, Seconds: time.Since(began).Seconds()}
	over.Store(true)
	wg.Wait()
	return d
}

// ownCPU is the processor time of this process, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
