package spawn

import "syscall"

// processAttributes makes the kernel kill the child when we end, and keeps a Ctrl-C in the terminal
// from the child: we still need the server while we drain.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
