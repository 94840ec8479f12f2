package loadtest

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A proxy stands between the clients and a server, and does mischief to every nth frame of one kind
// from the server.
type proxy struct {
	url   string
	done  atomic.Int64 // how often it did mischief
	kind  []byte       // the start of the payload of the frames that it counts
	every int
	do    mischief

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// A mischief gets a whole frame and the frame that is held back. It returns what to write, what to
// hold back, and whether it did anything wrong.
type mischief func(frame, held []byte, strike bool) (write [][]byte, hold []byte, did bool)

var mischiefs = map[string]mischief{
	"pass": func(f, _ []byte, _ bool) ([][]byte, []byte, bool) { return [][]byte{f}, nil, false },
	"drop": func(f, _ []byte, strike bool) ([][]byte, []byte, bool) {
		if strike {
			return nil, nil, true
		}
		return [][]byte{f}, nil, false
	},
	// fall silent holds back everything from the first strike on.
	"fall silent": func(f, held []byte, strike bool) ([][]byte, []byte, bool) {
		if strike || held != nil {
			return nil, []byte{}, true
		}
		return [][]byte{f}, nil, false
	},
	"double": func(f, _ []byte, strike bool) ([][]byte, []byte, bool) {
		if strike {
			return [][]byte{f, f}, nil, true
		}
		return [][]byte{f}, nil, false
	},
	"swap": func(f, held []byte, strike bool) ([][]byte, []byte, bool) {
		switch {
		case held != nil:
			return [][]byte{f, held}, nil, true
		case strike:
			return nil, bytes.Clone(f), false
		}
		return [][]byte{f}, nil, false
	},
	"alter": func(f, _ []byte, strike bool) ([][]byte, []byte, bool) {
		if !strike {
			return [][]byte{f}, nil, false
		}
		g := bytes.Clone(f)
		i := bytes.Index(g, []byte("quick"))
		if i < 0 {
			i = bytes.Index(g, []byte("true"))
		}
		g[i+2] ^= 0x02
		return [][]byte{g}, nil, true
	},
}

// startProxy starts a proxy in front of target.
func startProxy(t *testing.T, target, kind, what string, every int) *proxy {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{url: "http://" + l.Addr().String(), kind: []byte(kind), every: every, do: mischiefs[what]}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			all.Go(func() { _, _ = io.Copy(far, near); far.Close() })
			all.Go(func() { p.pass(near, far); near.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		all.Wait()
	})
	return p
}

// pass copies from the server to the client, frame by frame.
func (p *proxy) pass(near, far net.Conn) {
	var have, held []byte
	upgraded, seen := false, 0
	buf := make([]byte, 32<<10)
	for {
		if len(held) > 0 {
			_ = far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
		n, err := far.Read(buf)
		if isTimeoutError(err) { // no other frame comes that the held one could be swapped with
			_, _ = near.Write(held)
			held = nil
			_ = far.SetReadDeadline(time.Time{})
			continue
		}
		if err != nil {
			return
		}
		_ = far.SetReadDeadline(time.Time{})
		have = append(have, buf[:n]...)
		if !upgraded {
			i := bytes.Index(have, []byte("\r\n\r\n"))
			if i < 0 {
				continue
			}
			upgraded = true
			_, _ = near.Write(have[:i+4])
			have = have[i+4:]
		}
		for {
			f, n, err := cutFirstFrame(have)
			if err != nil || n == 0 {
				break
			}
			whole := have[:n]
			write, did := [][]byte{whole}, false
			if bytes.HasPrefix(f.payload, p.kind) {
				seen++
				write, held, did = p.do(whole, held, seen%p.every == 0)
			}
			if did {
				p.done.Add(1)
			}
			for _, w := range write {
				_, _ = near.Write(w)
			}
			have = have[n:]
		}
		have = append([]byte{}, have...)
	}
}
