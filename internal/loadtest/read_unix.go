//go:build unix

package loadtest

import (
	"errors"
	"syscall"
)

// readAll reads through the raw descriptor, so that a waiting client holds no buffer, and one wake-up costs one
// system call: a read that does not fill the buffer has emptied the socket, and the poller tells of what comes after.
// A server that ends the connection in the same instant as its last bytes is noticed by the read deadline; who wants
// to come back looks again.
func (c *client) readAll() {
	sys, ok := c.conn.(syscall.Conn)
	if !ok {
		c.readStream()
		return
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) (done bool) { // its error is the end of the connection, however it came
		sc := getScratch()
		defer sc.release()
		for c.endErr == nil {
			n, err := syscall.Read(int(fd), sc.in)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.EAGAIN):
				return false
			case err != nil || n <= 0:
				return true
			}
			c.handleBytes(sc, sc.in[:n], c.run.now())
			if n < len(sc.in) && c.endErr == nil && !c.run.cfg.Reconnect {
				return false
			}
		}
		return true
	})
}
