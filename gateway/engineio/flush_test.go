package engineio

import (
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests in this file are not parallel: each has the scheduler for itself, with one processor.
func alone(t *testing.T) {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// tcp is both ends of a connection.
func tcp(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	near, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func TestAYielderLetsThoseRunForWhomTheNetworkHasSomething(t *testing.T) {
	alone(t)
	near, far := tcp(t)
	var served atomic.Int32
	go func() {
		for one := make([]byte, 1); ; served.Add(1) {
			if _, err := far.Read(one); err != nil {
				return
			}
		}
	}()
	y := newYielder()
	defer y.close()
	const times = 200
	inTime := 0
	for i := range times {
		_, err := near.Write([]byte{1})
		require.NoError(t, err)
		y.yieldToAll()
		if served.Load() == int32(i)+1 {
			inTime++
		}
		require.Eventually(t, func() bool { return served.Load() == int32(i)+1 }, patience, patience/1e6)
	}
	require.Greater(t, inTime, times*9/10) // the kernel may take its time
}

func TestAYielderWithoutAPipeYields(t *testing.T) {
	(&yielder{}).yieldToAll()
	y := newYielder()
	y.close()
	y.yieldToAll() // does not hang
}

// While one message is written to many connections, data from the network is handled, so that the
// answers join what the remaining connections are about to be sent.
func TestOthersSpeakInTheMidstOfAWideCast(t *testing.T) {
	alone(t)
	s := serve(t, Config{})
	for range 512 {
		s.socket(t)
	}
	var all []*Conn
	s.mu.Lock()
	for _, c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	near, far := tcp(t)
	waiting := make(chan int)
	go func() {
		for one := make([]byte, 1); ; {
			if _, err := far.Read(one); err != nil {
				return
			}
			n := 0
			for _, c := range all {
				c.mu.Lock()
				if c.hasFlusher {
					n++
				}
				c.mu.Unlock()
			}
			waiting <- n
		}
	}()
	// On a busy machine the answer of the network may come late; without the yield it never comes
	// in the midst.
	const enough, casts = 10, 100
	most := 0
	for i := 0; i < casts && most < enough; i++ {
		_, err := near.Write([]byte{1}) // "something was said elsewhere"
		require.NoError(t, err)
		m := NewText().Append("hello")
		for _, c := range all {
			require.True(t, c.Push(m))
		}
		m.Free()
		n := <-waiting
		if n > 0 && n < len(all) {
			most++
		}
	}
	require.Equal(t, enough, most, "others had to wait until all was written")
}
