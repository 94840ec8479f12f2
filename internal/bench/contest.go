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

	"github.com/aeturnis/realtime/internal/spawn"
)

// A contest is the same work done by several libraries. Each library runs in a process of its own
// on one core, with a fresh Redis on the other core. The contest compares what one CPU-second of
// that process achieves.

// A contestResult is what one library achieved.
type contestResult struct {
	Decisions    int64   `json:"decisions"` // operations in the measured time
	CPUSeconds   float64 `json:"cpuSeconds"`
	Seconds      float64 `json:"seconds"`
	redisSeconds float64 // CPU seconds of Redis for each operation
}

func (d contestResult) decisionsPerCPUSecond() float64 {
	return float64(d.Decisions) / max(d.CPUSeconds, 1./clockTicks)
}

func (d contestResult) decisionsPerSecond() float64 {
	return float64(d.Decisions) / max(d.Seconds, 1e-3)
}

// runContest runs one library against a fresh Redis. command returns the arguments of `env` that
// start the library's process for a Redis at host:port.
func (l *lab) runContest(ctx context.Context, command func(redis string) ([]string, error)) (contestResult, error) {
	port, err := findFreePort()
	if err != nil {
		return contestResult{}, err
	}
	redis := "127.0.0.1:" + port
	server, err := spawn.Start(l.taskset, l.folder, "-c", l.plan.loadCore, l.redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err != nil {
		return contestResult{}, err
	}
	defer server.Kill()
	if err := server.Ready(ctx, "tcp", redis); err != nil {
		return contestResult{}, err
	}
	args, err := command(redis)
	if err != nil {
		return contestResult{}, err
	}
	cmd := exec.CommandContext(ctx, l.taskset, append([]string{"-c", l.plan.serverCore, l.env}, args...)...)
	cmd.Dir = l.plan.peer
	measuring := &startWatcher{read: func() float64 { s, _ := processCPUSeconds(server.Pid()); return s }}
	cmd.Stderr = measuring
	b, err := cmd.Output()
	if err != nil {
		return contestResult{}, fmt.Errorf("%w: %s", err, measuring.text.String())
	}
	after, err := processCPUSeconds(server.Pid())
	if err != nil {
		return contestResult{}, err
	}
	var d contestResult
	if err := json.Unmarshal(b, &d); err != nil {
		return contestResult{}, err
	}
	d.redisSeconds = (after - measuring.reading) / float64(max(1, d.Decisions))
	return d, nil
}

// selfCommand returns the command that starts this binary as a child, with the description as JSON
// in the flag.
func (l *lab) selfCommand(flag string, described any) ([]string, error) {
	b, err := json.Marshal(described)
	return []string{"GOMAXPROCS=1", l.self, flag, string(b)}, err
}

// startWatcher is the child's stderr. It takes a reading when the child writes that its measured
// time starts.
type startWatcher struct {
	read    func() float64
	reading float64
	text    strings.Builder
}

func (o *startWatcher) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "measuring") {
		o.reading = o.read()
	}
	return o.text.Write(b)
}

// runCallers calls do from the given number of goroutines without a pause, and counts the calls
// that return true. It writes "measuring" to stderr after the warm-up.
func runCallers(callers int, warmup, measured time.Duration, stderr io.Writer, do func(caller int) bool) contestResult {
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
	from, cpu, began := done.Load(), ownCPUSeconds(), time.Now()
	fmt.Fprintln(stderr, "measuring")
	time.Sleep(measured)
	d := contestResult{Decisions: done.Load() - from, CPUSeconds: ownCPUSeconds() - cpu, Seconds: time.Since(began).Seconds()}
	over.Store(true)
	wg.Wait()
	return d
}

// ownCPUSeconds returns the processor time of this process, in seconds.
func ownCPUSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
