package engineio

import (
	"os"
	"runtime"
	"syscall"
)

// A yielder lets everything else that can run do so, also those for whom the network has
// something. runtime.Gosched alone does not: the scheduler looks at the network only when
// it has nothing to run, and who yields is there to be run. So a yielder waits for the
// network itself, for a byte that it has just sent through a pipe of its own: the poll that
// finds it finds what came before, too.
//
// It is for one goroutine. One that could not have a pipe only calls Gosched.
type yielder struct {
	r, w *os.File
	raw  syscall.RawConn // of r
	sent bool
	try  func(fd uintptr) bool
}

func newYielder() *yielder {
	y := &yielder{}
	r, w, err := os.Pipe()
	if err != nil {
		return y
	}
	if y.raw, err = r.SyscallConn(); err != nil {
		_, _ = r.Close(), w.Close() // nothing is in it
		return &yielder{}
	}
	y.r, y.w = r, w
	var one [1]byte
	y.try = func(fd uintptr) bool {
		if !y.sent {
			y.sent = true
			_, err := y.w.Write(one[:])
			return err != nil // else wait for it
		}
		_, err := syscall.Read(int(fd), one[:])
		return err != syscall.EAGAIN && err != syscall.EINTR
	}
	return y
}

func (y *yielder) yield() {
	if y.raw != nil {
		y.sent = false
		_ = y.raw.Read(y.try) // it fails when closed
	}
	runtime.Gosched() // what that poll found is next, but who waited last may come first
}

func (y *yielder) close() {
	if y.r != nil {
		_, _ = y.r.Close(), y.w.Close() // nothing is in it
	}
}
