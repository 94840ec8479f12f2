package engineio

import (
	"os"
	"runtime"
	"syscall"
)

// A yielder lets all other goroutines run that can run, also those for which data has arrived from
// the network. runtime.Gosched alone does not do that: the scheduler polls the network only when it
// has nothing to run, and the goroutine that yields is there to be run. So a yielder waits for the
// network itself: for a byte that it has just sent through a pipe of its own. The poll that finds
// this byte also finds what arrived before.
//
// A yielder is for one goroutine. If it could not make a pipe, it only calls Gosched.
type yielder struct {
	r, w    *os.File
	raw     syscall.RawConn // of r
	sent    bool
	tryRead func(fd uintptr) bool
}

func newYielder() *yielder {
	y := &yielder{}
	r, w, err := os.Pipe()
	if err != nil {
		return y
	}
	if y.raw, err = r.SyscallConn(); err != nil {
		_, _ = r.Close(), w.Close() // the pipe is empty
		return &yielder{}
	}
	y.r, y.w = r, w
	var one [1]byte
	y.tryRead = func(fd uintptr) bool {
		if !y.sent {
			y.sent = true
			_, err := y.w.Write(one[:])
			return err != nil // on success, wait until the byte can be read
		}
		_, err := syscall.Read(int(fd), one[:])
		return err != syscall.EAGAIN && err != syscall.EINTR
	}
	return y
}

func (y *yielder) yieldToAll() {
	if y.raw != nil {
		y.sent = false
		_ = y.raw.Read(y.tryRead) // it fails only when the pipe is closed
	}
	runtime.Gosched() // the poll made goroutines runnable, and this one may be ahead of them
}

func (y *yielder) close() {
	if y.r != nil {
		_, _ = y.r.Close(), y.w.Close() // the pipe is empty
	}
}
