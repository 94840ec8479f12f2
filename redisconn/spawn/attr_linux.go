package spawn

import "syscall"

// attr lets the kernel kill the child with us, and keeps a Ctrl-C in the terminal from it:
// we still need the server while we drain.
func attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
