package logbuffer

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// reader is what stands behind a log.
type reader struct {
	paused chan struct{} // nil, or nothing is taken until it is closed

	mu   sync.Mutex
	got  strings.Builder
	fail error
	take int // bytes that a failing write takes
}

func (r *reader) Write(data []byte) (int, error) {
	if r.paused != nil {
		<-r.paused
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		n := min(r.take, len(data))
		r.got.Write(data[:n])
		return n, r.fail
	}
	return r.got.Write(data)
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

func TestLinesArriveInOrder(t *testing.T) {
	t.Parallel()
	r := &reader{}
	b := New(r, Config{})
	var want strings.Builder
	for i := range 5000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		n, err := b.Write([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(line), n)
	}
	require.NoError(t, b.Sync())
	require.Equal(t, want.String(), r.String())
	b.Close()
	<-b.done
	_, err := b.Write([]byte("too late\n"))
	require.NoError(t, err)
	require.Equal(t, want.String(), r.String())
	require.EqualValues(t, 1, b.Full())
	require.Zero(t, b.Failed())
}

// Nobody waits for a reader that stands still. What does not fit is counted, what fits arrives when
// the reader goes on, and no line is torn.
func TestAReaderThatStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reader{paused: make(chan struct{})}
		lost := make(chan uint64, 1)
		b := New(r, Config{Size: 100, OnResume: func(n uint64) { lost <- n }})
		_, _ = b.Write([]byte("under way\n"))
		synctest.Wait()
		begun := time.Now()
		for range 50 {
			_, _ = b.Write([]byte("123456789\n")) // ten of them fit
		}
		require.Zero(t, time.Since(begun))
		require.EqualValues(t, 40, b.Full())
		require.NoError(t, b.Sync())
		require.Equal(t, flushTimeout, time.Since(begun))

		close(r.paused)
		require.NoError(t, b.Sync())
		require.Equal(t, "under way\n"+strings.Repeat("123456789\n", 10), r.String())
		require.EqualValues(t, 40, <-lost)
		require.Equal(t, flushTimeout, time.Since(begun))
		b.Close()
	})
}

func TestCloseWaitsForASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reader{paused: make(chan struct{})}
		b := New(r, Config{})
		_, _ = b.Write([]byte("under way\n"))
		synctest.Wait()
		_, _ = b.Write([]byte("waits\n"))
		begun := time.Now()
		b.Close()
		require.Equal(t, time.Second, time.Since(begun))
		require.EqualValues(t, 1, b.Full())
		close(r.paused)
		<-b.done
		require.Equal(t, "under way\n", r.String())
	})
}

// Lines are lost while the reader is gone or its disk is full, and arrive whole again after it.
func TestAWriteThatFails(t *testing.T) {
	t.Parallel()
	r := &reader{fail: errors.New("disk full"), take: 3}
	b := New(r, Config{})
	_, _ = b.Write([]byte("one\ntwo\n"))
	require.NoError(t, b.Sync())
	require.EqualValues(t, 2, b.Failed(), "the end of the first line was lost too")
	r.mu.Lock()
	r.fail = nil
	r.mu.Unlock()
	_, _ = b.Write([]byte("three\n"))
	b.Close()
	<-b.done
	require.Equal(t, "one\nthree\n", r.String())
	require.EqualValues(t, 2, b.Failed())
	require.Zero(t, b.Full())
}
