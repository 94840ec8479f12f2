package spawn

import "syscall"

// processAttributes lets the kernel kill the child with us, and keeps a Ctrl-C in the terminal from it:
// we still need the server while we drain.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
