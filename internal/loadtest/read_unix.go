//go:build unix

package loadtest

import (
	"errors"
	"syscall"
)

// readAll reads through the raw descriptor, so that a waiting client holds no buffer and one
// wake-up costs one system call. A read that does not fill the buffer has emptied the socket, and
// the poller reports what arrives later. When the server ends the connection together with its last
// bytes, the poller may not report the end again, and only the read deadline notices it. With
// Config.Reconnect the client must notice the end at once, so it reads until EAGAIN.
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
	_ = raw.Read(func(fd uintptr) (done bool) { // any error means that the connection has ended
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
