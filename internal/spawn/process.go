package spawn

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Process is a running child.
type Process struct {
	cmd  *exec.Cmd
	out  tail
	done chan struct{}
	err  error // written before done is closed
}

// Start runs program in dir. The child does not get our environment, which may hold secrets.
func Start(program, dir string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = processAttributes()
	p.cmd.WaitDelay = time.Second
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the child dies with this thread
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p, nil
}

// Pid returns the child's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the child has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the child ended, with the last lines that it wrote, and nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v): %s", p.cmd.Path, p.cmd.ProcessState, p.out.String())
	default:
		return nil
	}
}

// Signal sends a signal; to a child that has ended it does nothing.
func (p *Process) Signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // os.ErrProcessDone is the only error for our own child
}

// Stop ends the child with SIGTERM, and after grace with SIGKILL. It returns when the child has
// ended.
func (p *Process) Stop(grace time.Duration) {
	p.Signal(syscall.SIGTERM)
	p.Signal(syscall.SIGCONT)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
	}
}

// Kill ends the child with SIGKILL, and returns when it has ended.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// A tail keeps the last few KB that a child wrote.
type tail struct {
	mu  sync.Mutex
	buf []byte // guarded by mu
}

const tailSize = 4096

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
