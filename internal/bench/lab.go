package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/spawn"
)

// A lab starts the servers, each on its core.
type lab struct {
	plan                            plan
	taskset, env, node, redis, self string // paths of the programs
	folder                          string
}

func (l *lab) removeFolder() { _ = os.RemoveAll(l.folder) } // the folder is in the temporary folder, so an error does not matter

// The names of the two servers.
const (
	peerServer    = "peer"
	gatewayServer = "gateway"
)

// An allowance is the limit of chat and combat events. Both servers get the same.
type allowance struct {
	events int
	window time.Duration
}

// No run reaches highLimit, so both servers do all the work of limiting and refuse nothing. With
// lowLimit nearly every event is refused.
var (
	highLimit = allowance{1_000_000, time.Second}
	lowLimit  = allowance{1, time.Hour}
)

func (a allowance) String() string { return fmt.Sprintf("%d/%s", a.events, a.window) }

// peerEnvironment returns the variables that limit one kind of the peer's events.
func (a allowance) peerEnvironment(kind string) []string {
	return []string{fmt.Sprintf("%s_LIMIT=%d", kind, a.events), fmt.Sprintf("%s_WINDOW_MS=%d", kind, a.window.Milliseconds())}
}

// A testbed is one server with its Redis, or two servers that share a Redis.
type testbed struct {
	server, redis *spawn.Process
	url, redisURL string
	second        *spawn.Process // the second server, if there is one
	secondURL     string
	// serverRedisURL leads to the same Redis over the distance, if there is one.
	serverRedisURL string
	distance       *distance
	garbageURL     string // a GET of this URL makes the server collect its garbage
}

// startTestbed starts a fresh server on a fresh Redis. The caller stops them.
func (l *lab) startTestbed(ctx context.Context, which string, limit allowance, flags ...string) (*testbed, error) {
	return l.startTestbedAway(ctx, which, limit, 0, flags...)
}

// startTestbedAway is like startTestbed, but with a Redis that is so far away from the server.
func (l *lab) startTestbedAway(ctx context.Context, which string, limit allowance, away time.Duration, flags ...string) (_ *testbed, err error) {
	var ports [3]string
	for i := range ports {
		if ports[i], err = findFreePort(); err != nil {
			return nil, err
		}
	}
	addr, redis := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[2]
	s := &testbed{url: "http://" + addr, redisURL: "redis://" + redis}
	defer func() {
		if err != nil {
			s.stopProcesses()
		}
	}()
	s.redis, err = spawn.Start(l.taskset, l.folder, "-c", l.plan.loadCore, l.redis, "--port", ports[2], "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err != nil {
		return nil, err
	}
	if err := s.redis.Ready(ctx, "tcp", redis); err != nil {
		return nil, err
	}
	s.serverRedisURL = s.redisURL
	if away > 0 {
		if s.distance, err = startDistance(redis, away); err != nil {
			return nil, err
		}
		s.serverRedisURL = "redis://" + s.distance.listener.Addr().String()
	}
	s.server, s.garbageURL, err = l.startServer(which, ports[0], ports[1], s.serverRedisURL, limit, flags...)
	if err != nil {
		return nil, err
	}
	return s, waitListening(ctx, s.server, addr)
}

// startServer starts one server on its core. flags are added to the gateway's command line. A GET
// of the URL collect makes the server collect its garbage.
func (l *lab) startServer(which, port, adminPort, redisURL string, limit allowance, flags ...string) (server *spawn.Process, collect string, err error) {
	addr, admin := "127.0.0.1:"+port, "127.0.0.1:"+adminPort
	onCore := []string{"-c", l.plan.serverCore, l.env}
	switch which {
	case gatewayServer:
		collect = "http://" + admin + "/debug/pprof/heap?gc=1"
		args := append(onCore, "GOMAXPROCS=1", l.plan.gateway, "serve", "--addr", addr, "--admin-addr", admin, "--redis", redisURL,
			"--trade-durability", "none", "--log-level", "error", "--max-connections-per-user", "0")
		for _, policy := range []string{"connect", "trade", "events", "reads", "rooms"} { // the peer limits none of these
			args = append(args, "--limit", policy+"=off")
		}
		for _, policy := range []string{"chat", "combat"} {
			args = append(args, "--limit", policy+"="+limit.String())
		}
		if limit == lowLimit {
			args = append(args, "--limit-close-after", "0") // the peer does not close connections for refusals
		}
		server, err = spawn.Start(l.taskset, l.folder, append(args, flags...)...)
	case peerServer:
		collect = "http://" + addr + "/gc"
		args := append(onCore, "NODE_ENV=production", "PORT="+port, "REDIS="+strings.TrimPrefix(redisURL, "redis://"), "ADAPTER="+l.plan.adapter, "LIMITER=lua")
		args = append(append(args, limit.peerEnvironment("CHAT")...), limit.peerEnvironment("COMBAT")...)
		server, err = spawn.Start(l.taskset, l.plan.peer, append(args, l.node, "--expose-gc", "server.js")...)
	}
	return server, collect, err
}

// startSecond starts a second server on the same core and Redis.
func (l *lab) startSecond(ctx context.Context, s *testbed, which string, flags ...string) error {
	var ports [2]string
	for i := range ports {
		var err error
		if ports[i], err = findFreePort(); err != nil {
			return err
		}
	}
	var err error
	if s.second, _, err = l.startServer(which, ports[0], ports[1], s.redisURL, highLimit, flags...); err != nil {
		return err
	}
	s.secondURL = "http://127.0.0.1:" + ports[0]
	return waitListening(ctx, s.second, "127.0.0.1:"+ports[0])
}

// waitListening waits until a server accepts connections, at most 20 s.
func waitListening(ctx context.Context, server *spawn.Process, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-server.Done():
			return server.Err()
		case <-ctx.Done():
			return fmt.Errorf("the server does not listen: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *testbed) stopProcesses() {
	for _, p := range []*spawn.Process{s.server, s.second, s.redis} {
		if p != nil {
			p.Kill()
		}
	}
	if s.distance != nil {
		s.distance.close()
	}
}

func findFreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("port: %w", err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// collectGarbage makes the server collect its garbage.
func (s *testbed) collectGarbage(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.garbageURL, nil)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("collect: %s says %s", s.garbageURL, answer.Status)
	}
	return nil
}

// clockTicks is the number of clock ticks per second in /proc: USER_HZ, fixed on Linux.
const clockTicks = 100

// processCPUSeconds returns the processor time that a process has used.
func processCPUSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses. It may contain any character.
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: not as expected", pid)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat: not as expected", pid)
	}
	return float64(user+system) / clockTicks, nil
}

// residentMemoryKB returns the resident memory of a process, in KB.
func residentMemoryKB(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "VmRSS:")
	if !ok {
		return 0, fmt.Errorf("/proc/%d/status: no VmRSS", pid)
	}
	return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
}
