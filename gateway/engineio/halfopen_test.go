package engineio

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// halfOpenPosts is how many POSTs are half open at the same time. Their clients are a process of
// their own, because both ends of so many connections are more open files than one process may have
// on many machines.
const halfOpenPosts = 10_000

// halfOpenTarget is the environment variable that makes the test's binary the clients: the address
// of the server and the number of POSTs.
const halfOpenTarget = "ENGINEIO_TEST_HALF_OPEN_POSTS"

func TestMain(m *testing.M) {
	for variable, run := range map[string]func(described string) error{halfOpenTarget: openHalfPosts, holdVariable: holdConnections} {
		if described := os.Getenv(variable); described != "" {
			if err := run(described); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// openHalfPosts opens connections over polling, and on each a POST whose body does not come. It
// says "open" when all are there, and returns when each was answered with 408.
func openHalfPosts(target string) error {
	var addr string
	var posts int
	if _, err := fmt.Sscan(target, &addr, &posts); err != nil {
		return err
	}
	client := &http.Client{Timeout: 2 * patience}
	sids := make([]string, posts)
	for i := range sids {
		r, err := client.Get("http://" + addr + "/engine.io/?EIO=4&transport=polling")
		if err != nil {
			return err
		}
		packet, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		_, sid, ok := strings.Cut(string(packet), `"sid":"`)
		if err != nil || !ok {
			return fmt.Errorf("handshake %d: %w: %s", i, err, packet)
		}
		sids[i], _, _ = strings.Cut(sid, `"`)
	}
	conns := make([]net.Conn, posts)
	for i, sid := range sids {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		conns[i] = nc
		head, body := "Content-Length: 1000", ""
		if i%2 == 0 {
			head = "Transfer-Encoding: chunked"
		}
		if i%3 == 0 {
			body = "4"
		}
		_, err = fmt.Fprintf(nc, "POST /engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: test\r\n%s\r\n\r\n%s", sid, head, body)
		if err != nil {
			return err
		}
	}
	fmt.Println("open")
	for i, nc := range conns {
		_ = nc.SetReadDeadline(time.Now().Add(4 * patience))
		r, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			return fmt.Errorf("post %d: %w", i, err)
		}
		if r.StatusCode != http.StatusRequestTimeout {
			return fmt.Errorf("post %d: %s", i, r.Status)
		}
		_ = nc.Close()
	}
	return nil
}

// TestHalfOpenPostsEndInTime is 10,000 POSTs at once whose bodies do not come. While they are open,
// each costs a bounded amount of memory and others are served; each is answered with 408 when
// Config.BodyTimeout is over and ends its connection; nothing is left of them. It is not parallel:
// it counts goroutines and memory.
func TestHalfOpenPostsEndInTime(t *testing.T) {
	const bodyTimeout = 20 * time.Second // much longer than it takes to send all heads
	before := runtime.NumGoroutine()
	var opened, ended, endedOtherwise atomic.Int64
	s := newSite(Config{BodyTimeout: bodyTimeout, PingInterval: time.Hour, Linger: 50 * time.Millisecond})
	record := s.cfg.Handler
	s.cfg.Handler = func(c *Conn, r *http.Request) Handler {
		if r.URL.Query().Get("transport") == "websocket" { // the neighbours
			return record(c, r)
		}
		c.Confirm()
		opened.Add(1)
		return endCounter{func(reason string) {
			if reason == ReasonTransportError {
				ended.Add(1)
			} else {
				endedOtherwise.Add(1)
			}
		}}
	}
	s.web.Start()
	s.neighbour(t)()
	heap := settled()

	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", halfOpenTarget, s.web.Listener.Addr(), halfOpenPosts))
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err, line)
	require.Equal(t, "open\n", line)
	require.EqualValues(t, halfOpenPosts, opened.Load())
	require.Zero(t, ended.Load()+endedOtherwise.Load(), "all are open at the same time")
	require.Eventually(t, func() bool { return s.active.Load() >= halfOpenPosts }, patience, 10*time.Millisecond)
	require.Less(t, (settled()-heap)/halfOpenPosts, int64(24<<10), "bytes for each, net/http's buffers included")
	s.neighbour(t)()

	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.NoError(t, c.Wait(), "%s", rest)
	require.EqualValues(t, halfOpenPosts, ended.Load())
	require.Zero(t, endedOtherwise.Load())
	s.neighbour(t)()
	// The runtime keeps its records of goroutines, and maps their size: about 640 bytes for each.
	require.Eventually(t, func() bool { return settled()-heap < halfOpenPosts<<10 }, patience, 100*time.Millisecond, "what is left of them")
	s.end()
	calm(t, before)
}

// An endCounter is a handler that is only told of the end.
type endCounter struct{ onEnd func(reason string) }

func (endCounter) Message(*Conn, bool, []byte) error { return nil }
func (endCounter) Malformed(*Conn, error)            {}
func (endCounter) Overflow(*Conn)                    {}
func (h endCounter) Closed(_ *Conn, reason string)   { h.onEnd(reason) }
